"""The answers of OpenAI's wire: chunks and whole completions, read into the router's pieces.

What services make of them:

- The terminal marker is a finish reason. `[DONE]` may be missing, and proves nothing alone.
- Usage comes with the finish reason, in a chunk of its own behind it, or in every chunk.
- Reasoning comes as `reasoning_content` or `reasoning` (some send the same text as both), as
  `reasoning_details`, or as parts of the content.
- Sources come as annotations of the message, as parts of the content, or beside the choices.
- A tool call may have no id, and no number.
- An error comes as the body, as an event, or at a choice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, TypeAlias

from router import (
    Chunk,
    Citation,
    Event,
    Overloaded,
    ProtocolError,
    RouterError,
    ToolCallDelta,
    UpstreamError,
    decode_json,
)

from .openai_errors import NO_CODES, Codes, Problem
from .openai_reasoning import Reasoner, ReasoningPlace, detail_text
from .openai_replies import Call, Message, Part, Reply, ReplyChoice, dicts, noted, read_logprobs

Piece: TypeAlias = str | Chunk
FinishReason: TypeAlias = Literal[
    "stop", "length", "tool_calls", "content_filter", "refusal", "other"
]

FINISH_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "eos": "stop",  # Together
    "eos_token": "stop",  # Hugging Face's text generation inference
    "stop_sequence": "stop",  # the same
    "length": "length",
    "model_length": "length",  # Mistral: the window is full
    "model_context_window_exceeded": "length",  # Z.ai
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "sensitive": "content_filter",  # Z.ai
    "refusal": "refusal",
}
"""The wire's words, and those of its services, in the router's vocabulary; others are `other`."""

BROKEN_FINISHES: dict[str, type[RouterError]] = {
    "error": UpstreamError,  # OpenRouter, Mistral
    "network_error": UpstreamError,  # Z.ai
    "abort": UpstreamError,  # vLLM, when it was told to drop the request
    "insufficient_system_resource": Overloaded,  # DeepSeek
}
"""Finish reasons that say that the answer was cut."""

ALIVE = Chunk()


class Speaker:
    """What has to be known of one choice between its pieces."""

    def __init__(self, place: ReasoningPlace | None, new_id: Callable[[], str]) -> None:
        self.reasoning = Reasoner(place)
        self.calls = ToolCalls(new_id)


class Reader:
    """Reads one answer, whole or chunk by chunk.

    Args:
        new_id: Makes ids for the tool calls that have none.
        lenient_done: Whether `[DONE]` after a usage ends an answer that has no finish reason.
        place: Where the service wants its reasoning back; `None` where it does not.
        codes: What error codes mean that are the service's alone.

    Attributes:
        done: Whether `[DONE]` came: nothing behind it is to be read.
    """

    def __init__(
        self,
        new_id: Callable[[], str],
        *,
        lenient_done: bool = False,
        place: ReasoningPlace | None = None,
        codes: Codes = NO_CODES,
    ) -> None:
        self._codes = codes
        self._new_id = new_id
        self._lenient_done = lenient_done
        self._place = place
        self._speakers: dict[int, Speaker] = {}
        self._cited: set[tuple[Any, ...]] = set()
        self._began = False
        self._identified = False
        self._has_usage = False
        self._finished = False
        self.done = False

    def whole(self, body: bytes) -> list[Piece]:
        """The pieces of a whole completion.

        Raises:
            ProtocolError: It is malformed, or has no choices.
            RouterError: It is an error.
        """
        reply: Reply = decode_json(body, Reply)
        raw = decode_json(body)
        if reply.error is not None or not reply.choices:
            raise self._error(raw)
        pieces: list[Piece] = []
        for choice in reply.choices:
            # Azure gives a choice whose text it filtered out no message, but a finish reason.
            if choice.message is None and choice.error is None and choice.finish_reason is None:
                raise ProtocolError("a choice without a message")
            pieces += self._pieces(choice, choice.message or Message())
        pieces += self._new_citations(reply.read_citations())
        ids = Chunk(
            id=reply.id or None, model=reply.model or None, usage=reply.read_usage(), raw=raw
        )
        return [*pieces, ids]

    def event(self, event: Event) -> Sequence[Piece]:
        """The pieces that an event of a stream brings; an empty chunk when it brings none.

        Raises:
            ProtocolError: It is malformed, or `[DONE]` without a finish reason before it.
            RouterError: It is an error.
        """
        self._began = True
        data = event.data
        if not data:
            return (ALIVE,)
        if data.startswith(b"[DONE]"):
            return self._done()
        reply: Reply = decode_json(data, Reply)
        # Behind the finish reason an error changes nothing, and the usage beside it still counts.
        if reply.error is not None and not (self._finished and reply.usage):
            raise self._error(decode_json(data))
        if reply.x_groq is not None and reply.x_groq.error:
            raise self._error({"error": reply.x_groq.error})
        pieces: list[Piece] = []
        if not self._identified and (reply.id or reply.model):
            self._identified = True
            pieces.append(Chunk(id=reply.id or None, model=reply.model or None))
        if reply.choices:
            for choice in reply.choices:
                pieces += self._pieces(choice, choice.delta or Message())
            if any(choice.delta and choice.delta.has_unnamed for choice in reply.choices):
                pieces.append(Chunk(raw=decode_json(data)))
        elif reply.usage is None and (problem := Problem.of(decode_json(data))) is not None:
            raise problem.error(own=self._codes)
        if reply.citations or reply.search_results:
            pieces += self._new_citations(reply.read_citations())
        if (usage := reply.read_usage()) is not None:
            self._has_usage = True
            pieces.append(Chunk(usage=usage, raw=decode_json(data)))
        return pieces or (ALIVE,)

    def end(self) -> None:
        """Take note that the stream has ended.

        Raises:
            ProtocolError: It brought no event at all: it was none.
        """
        if not self._began:
            raise ProtocolError("a body that is no stream of events")

    def _done(self) -> Sequence[Piece]:
        self.done = True
        if self._finished:
            return ()
        if self._lenient_done and self._has_usage:
            return (*self._ended(0), Chunk(finish_reason="other"))
        raise ProtocolError("[DONE] came without a finish reason", code="no_finish_reason")

    def _pieces(self, choice: ReplyChoice, message: Message) -> list[Piece]:
        if choice.error is not None:
            raise self._error({"error": choice.error})
        index = choice.index
        pieces = self._reasoning(message, index)
        content = message.content
        if isinstance(content, list):
            for part in content:
                pieces += self._part(part, index)
            content = None
        if logprobs := read_logprobs(choice.logprobs, content):
            pieces.append(Chunk(text=content or "", logprobs=logprobs, index=index))
        elif content:
            pieces.append(Chunk(text=content, index=index) if index else content)
        if message.refusal:
            pieces.append(Chunk(refusal=message.refusal, index=index))
        if message.tool_calls:
            calls = self._speaker(index).calls
            pieces += [Chunk(tool_call=c, index=index) for c in calls.take(message.tool_calls)]
        elif message.function_call is not None:  # what tool calls were before there were several
            call = Call(index=0, function=message.function_call)
            calls = self._speaker(index).calls
            pieces += [Chunk(tool_call=c, index=index) for c in calls.take([call])]
        if message.annotations:
            pieces += self._new_citations(noted(message.annotations), index)
        if choice.finish_reason:
            pieces += [*self._ended(index), self._finish(choice, choice.finish_reason)]
        elif self._finished and message.reasoning_details:  # a seal may come behind the reason
            pieces += self._blocks(index)
        return pieces

    def _reasoning(self, message: Message, index: int) -> list[Piece]:
        if not (message.reasoning_content or message.reasoning or message.reasoning_details):
            return []
        details = dicts(message.reasoning_details)
        text = message.reasoning_content or message.reasoning or detail_text(details)
        self._speaker(index).reasoning.take(text, details)
        return [Chunk(reasoning=text, index=index)] if text else []

    def _part(self, part: Part, index: int) -> list[Piece]:
        pieces: list[Piece] = []
        if thinking := part.reasoning:
            self._speaker(index).reasoning.take(thinking, ())
            pieces.append(Chunk(reasoning=thinking, index=index))
        if part.text:
            pieces.append(Chunk(text=part.text, index=index))
        documents = [Citation(document=str(id_)) for id_ in part.reference_ids or ()]
        return [*pieces, *self._new_citations(documents, index)]

    def _new_citations(self, citations: Iterable[Citation], index: int = 0) -> list[Piece]:
        """Those that were not told before: Perplexity repeats all of them with every chunk."""
        pieces: list[Piece] = []
        for cited in citations:
            name = (index, cited.url, cited.title, cited.document, cited.start, cited.end)
            if name not in self._cited:
                self._cited.add(name)
                pieces.append(Chunk(citation=cited, index=index))
        return pieces

    def _ended(self, index: int) -> list[Piece]:
        """What is told when a choice ends: the rest of its calls, and its reasoning."""
        if index not in self._speakers:
            return []
        rest = self._speakers[index].calls.end()
        return [*(Chunk(tool_call=delta, index=index) for delta in rest), *self._blocks(index)]

    def _blocks(self, index: int) -> list[Piece]:
        if index not in self._speakers:
            return []
        blocks = self._speakers[index].reasoning.blocks()
        return [Chunk(reasoning_block=block, index=index) for block in blocks]

    def _speaker(self, index: int) -> Speaker:
        if index not in self._speakers:
            self._speakers[index] = Speaker(self._place, self._new_id)
        return self._speakers[index]

    def _error(self, body: Any) -> RouterError:
        """The error that a body that is no completion stands for."""
        problem = Problem.of(body)
        if problem is None:
            return ProtocolError("a completion without choices")
        return problem.error(own=self._codes)

    def _finish(self, choice: ReplyChoice, reason: str) -> Chunk:
        if reason in BROKEN_FINISHES:
            raise BROKEN_FINISHES[reason]("the service broke the answer off", code=reason)
        self._finished = True
        return Chunk(
            finish_reason=FINISH_REASONS.get(reason, "other"),
            native_finish_reason=choice.native_finish_reason or reason,
            index=choice.index,
        )


class ToolCalls:
    """The tool calls of one choice, numbered so that the pieces of one call share a number.

    A service may give no number, or the same one to calls that have ids of their own. A call
    without an id is given one, since the tool's result has to name it.
    """

    def __init__(self, new_id: Callable[[], str]) -> None:
        self._new_id = new_id
        self._ids: dict[int, str | None] = {}
        self._names: dict[int, str] = {}
        self._numbers: dict[int, int] = {}
        self._unargued: set[int] = set()
        self._last = 0

    def take(self, calls: Sequence[Call]) -> list[ToolCallDelta]:
        """The pieces that come together, of one call or of several.

        The id and the name of a call are told once, however often the service does.
        """
        many = len(calls) > 1
        return [self._take(call, place if many else None) for place, call in enumerate(calls)]

    def end(self) -> list[ToolCallDelta]:
        """The arguments of the calls that have had none, where JSON has an empty object."""
        numbers, self._unargued = sorted(self._unargued), set()
        return [ToolCallDelta(index=number, arguments="{}") for number in numbers]

    def _take(self, call: Call, place: int | None) -> ToolCallDelta:
        index = call.index
        number = self._number(call, place) if index is None else self._own_number(call, index)
        self._last = number
        if call.arguments:
            self._unargued.discard(number)
        elif number not in self._ids and call.custom is None:
            self._unargued.add(number)
        if number in self._ids:
            name = None if number in self._names else self._named(number, call)
            return ToolCallDelta(index=number, name=name, arguments=call.arguments)
        self._ids[number] = call.id or None
        self._named(number, call)
        # 37 characters with a UUID: OpenAI takes 40.
        id_ = call.id or f"call_{self._new_id().replace('-', '')}"
        return ToolCallDelta(
            index=number,
            id=id_,
            name=call.name,
            arguments=call.arguments,
            custom=call.custom is not None,
        )

    def _own_number(self, call: Call, index: int) -> int:
        number = self._numbers.setdefault(index, index)
        id_, name = self._ids.get(number), self._names.get(number)
        if (id_ and call.id and call.id != id_) or (name and call.name and call.name != name):
            number = self._numbers[index] = self._free_number()
        return number

    def _named(self, number: int, call: Call) -> str | None:
        """The name that a piece brings, which may be a later one than the first."""
        if call.name:
            self._names[number] = call.name
        return call.name

    def _number(self, call: Call, place: int | None) -> int:
        """That of a piece without one: by its id, or its place among the pieces beside it.

        A piece that names nothing, and stands alone, goes on with the last call.
        """
        if call.id:
            known = (number for number, id_ in self._ids.items() if id_ == call.id)
            return next(known, self._free_number())
        if call.name:
            return self._free_number()
        begun = list(self._ids)
        return begun[place] if place is not None and place < len(begun) else self._last

    def _free_number(self) -> int:
        return max(self._ids, default=-1) + 1
