"""The tool calls of OpenAI's wire, put together from pieces that services number as they like."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from router import ToolCall, ToolCallDelta

from .openai_replies import Call, whole_number, word


class BegunCall:
    """What has come of a tool call."""

    def __init__(self, call: Call) -> None:
        self.id = word(call.id)
        self.name = call.name
        self.is_custom = call.custom is not None
        self.arguments = [call.arguments]

    @property
    def is_whole(self) -> bool:
        """Whether its arguments are an object that has ended; of a text nobody can tell."""
        arguments = "".join(self.arguments)
        return (
            not self.is_custom and ToolCall(id="", name="", arguments=arguments).parse_error is None
        )


class ToolCalls:
    """The tool calls of one choice, numbered so that the pieces of one call share a number.

    A service may give no number, or the same one to several calls. A call without an id is given
    one, since the tool's result has to name it; one that comes late takes its place.
    """

    def __init__(self, new_id: Callable[[], str]) -> None:
        self._new_id = new_id
        self._calls: dict[int, BegunCall] = {}
        self._numbers: dict[int, int] = {}
        self._last = 0

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._calls)

    def take(self, calls: Sequence[Call]) -> list[ToolCallDelta]:
        """The pieces that come together, of one call or of several.

        The id and the name of a call are told once, however often the service does.
        """
        many = len(calls) > 1
        return [self._take(call, place if many else None) for place, call in enumerate(calls)]

    def end(self) -> list[ToolCallDelta]:
        """The arguments of the calls that have had none, where JSON has an empty object."""
        return [
            ToolCallDelta(index=number, arguments="{}")
            for number, begun in self._calls.items()
            if not begun.is_custom and not any(begun.arguments)
        ]

    def _take(self, call: Call, place: int | None) -> ToolCallDelta:
        index = whole_number(call.index)
        number = self._number(call, place) if index is None else self._own_number(call, index)
        self._last = number
        begun = self._calls.get(number)
        if begun is None:
            begun = self._calls[number] = BegunCall(call)
            # 37 characters with a UUID: OpenAI takes 40.
            id_ = begun.id or f"call_{self._new_id().replace('-', '')}"
            return ToolCallDelta(
                index=number,
                id=id_,
                name=call.name,
                arguments=call.arguments,
                custom=begun.is_custom,
            )
        begun.arguments.append(call.arguments)
        late_id = None if begun.id else word(call.id)
        late_name = None if begun.name else call.name
        begun.id, begun.name = begun.id or late_id, begun.name or late_name
        return ToolCallDelta(
            index=number,
            id=late_id,
            name=late_name,
            arguments=call.arguments,
            custom=begun.is_custom,
        )

    def _own_number(self, call: Call, index: int) -> int:
        number = self._numbers.setdefault(index, index)
        if number in self._calls and _is_another(call, self._calls[number]):
            number = self._numbers[index] = self._free_number()
        return number

    def _number(self, call: Call, place: int | None) -> int:
        """That of a piece without one: by its id, or its place among the pieces beside it.

        A piece that names nothing, and stands alone, goes on with the last call.
        """
        if id_ := word(call.id):
            known = (number for number, begun in self._calls.items() if begun.id == id_)
            return next(known, self._free_number())
        if call.name:
            return self._free_number()
        begun = list(self._calls)
        return begun[place] if place is not None and place < len(begun) else self._last

    def _free_number(self) -> int:
        return max(self._calls, default=-1) + 1


def _is_another(call: Call, begun: BegunCall) -> bool:
    """Whether a piece of the number of a call that was begun is the beginning of another."""
    id_ = word(call.id)
    if begun.id and id_ and begun.id != id_:
        return True
    if not (begun.name and call.name):
        return False
    if begun.name != call.name:
        return True
    # The name alone tells nothing: some repeat it with every piece.
    return not (begun.id and id_) and bool(call.arguments) and begun.is_whole
