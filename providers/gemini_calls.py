"""The tool calls of Gemini's wire: whole, or with their arguments in pieces.

A call may have no id. One that comes in pieces begins with its name, goes on in parts that tell a
path in the arguments and what stands there, and ends with a part that does not announce another.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import msgspec
from msgspec import UNSET, Struct

from router import ProtocolError, ToolCallDelta

_STEP = r"""\.([^.\[\]'"]+)|\[(\d{1,9})\]|\['([^']*)'\]|\["([^"]*)"\]"""
_STEPS = re.compile(_STEP)
_PATH = re.compile(rf"\$(?:{_STEP})+")


class PartialArg(Struct, rename="camel"):
    """What stands at a path of the arguments, or the next piece of a text that stands there."""

    json_path: str
    string_value: str | None = None
    number_value: int | float | None = None
    bool_value: bool | None = None
    null_value: Any = UNSET  # it is null itself

    @property
    def value(self) -> Any:
        if self.null_value is not UNSET:
            return None
        values = (self.string_value, self.number_value, self.bool_value)
        return next((value for value in values if value is not None), "")


class FunctionCall(Struct, rename="camel"):
    """A call, or a piece of one."""

    name: str | None = None
    id: str | None = None
    args: msgspec.Raw = msgspec.Raw()
    partial_args: list[PartialArg] | None = None
    will_continue: bool | None = None

    @property
    def arguments(self) -> str:
        """The arguments as they came, or "" when they come in pieces, or not at all."""
        arguments = bytes(self.args).decode()
        return "" if arguments == "null" else arguments


class Calls:
    """The calls of one choice.

    Args:
        new_id: Makes an id for a call that has none.
    """

    def __init__(self, new_id: Callable[[], str]) -> None:
        self._new_id = new_id
        self._coming: dict[str, Any] | None = None
        self.count = 0

    def take(self, call: FunctionCall, signature: str | None) -> list[ToolCallDelta]:
        """The pieces that a part brings: name and id at once, arguments when they are whole.

        Raises:
            ProtocolError: A path is none, or leads where nothing can be.
        """
        deltas: list[ToolCallDelta] = []
        if call.name:
            deltas += self.end()
            self._coming = {}
            deltas.append(
                ToolCallDelta(
                    index=self.count,
                    id=call.id or self._new_id(),
                    name=call.name,
                    arguments=call.arguments,
                    signature=signature,
                )
            )
            self.count += 1
        if self._coming is None:
            return deltas
        for argument in call.partial_args or ():
            _put(self._coming, argument)
        if call.arguments:
            self._coming = None
        return deltas if call.will_continue else [*deltas, *self.end()]

    def end(self) -> list[ToolCallDelta]:
        """The arguments of the call that came in pieces, if there is one."""
        if self._coming is None:
            return []
        arguments = msgspec.json.encode(self._coming).decode()
        self._coming = None
        return [ToolCallDelta(index=self.count - 1, arguments=arguments)]


def _put(arguments: dict[str, Any], argument: PartialArg) -> None:
    """Set what stands at a path, or go on with the text that does."""
    path = argument.json_path
    if not _PATH.fullmatch(path):
        raise ProtocolError("an argument of a tool call with a path that is none")
    steps: list[str | int] = [
        int(number) if number else name or single or double
        for name, number, single, double in _STEPS.findall(path)
    ]
    place: Any = arguments
    for step, following in pairwise(steps):
        _enter(place, step, [] if isinstance(following, int) else {})
        place = place[step]
    value = argument.value
    _enter(place, steps[-1], "" if isinstance(value, str) else value)
    if isinstance(value, str) and isinstance(place[steps[-1]], str):
        place[steps[-1]] += value
    else:
        place[steps[-1]] = value


def _enter(place: Any, step: str | int, default: Any) -> None:
    """Have something stand at a step: a list grows by one at most."""
    if isinstance(place, dict) and isinstance(step, str):
        place.setdefault(step, default)
    elif isinstance(place, list) and isinstance(step, int) and step <= len(place):
        if step == len(place):
            place.append(default)
    else:
        raise ProtocolError("an argument of a tool call with a path that leads nowhere")
