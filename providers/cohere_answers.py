"""The answers of Cohere's wire: events and whole answers, read into the router's pieces.

An answer is a plan for tools or a list of contents (thinking, text), then tool calls. In a stream
each has a beginning, pieces and an end; a whole answer's are read by the same code. The terminal
marker of a stream is `message-end`, which has the reason and the usage.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from msgspec import Struct

from router import (
    Chunk,
    Citation,
    Event,
    ProtocolError,
    Reasoning,
    RouterError,
    Timeout,
    ToolCallDelta,
    Usage,
    decode_json,
)

from .cohere_errors import Problem
from .cohere_requests import PLAN
from .openai_answers import FinishReason

Piece: TypeAlias = str | Chunk

FINISH_REASONS: dict[str, FinishReason] = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    "ERROR_LIMIT": "length",  # the window is full
    "TOOL_CALL": "tool_calls",
    "ERROR_TOXIC": "content_filter",
}
"""The wire's words in the router's vocabulary; others are `other`."""

ALIVE = Chunk()


class Function(Struct):
    """What is called."""

    name: str | None = None
    arguments: str | None = None


class Call(Struct):
    """A tool call, or a piece of one."""

    id: str | None = None
    function: Function | None = None


class Content(Struct):
    """A part of the content, or a piece of one."""

    text: str | None = None
    thinking: str | None = None


class Message(Struct):
    """A message, or what an event adds to it: one thing where the whole has a list."""

    content: Content | list[Content] | str | None = None
    tool_plan: str | None = None
    tool_calls: Call | list[Call] | None = None
    citations: dict[str, Any] | list[dict[str, Any]] | None = None


class Ending(Struct):
    """How an answer ends."""

    finish_reason: str | None = None
    usage: dict[str, Any] | None = None
    error: str | None = None


class Delta(Ending):
    """What an event brings."""

    message: Message | None = None


class Update(Struct):
    """An event of a stream; an error has a message and no type."""

    type: str = ""
    id: str | None = None
    index: int = 0
    delta: Delta | None = None
    logprobs: Any = None
    message: str | None = None


class Whole(Ending):
    """A whole answer; an error has a text as its message."""

    id: str | None = None
    message: Message | str | None = None
    logprobs: list[Any] | None = None


class Reader:
    """Reads one answer, whole or event by event.

    Attributes:
        done: Whether the answer has ended: nothing behind it is to be read.
    """

    def __init__(self) -> None:
        self._plan: list[str] = []
        self._thoughts: list[str] = []
        self._starts: dict[int, int] = {}
        self._told = 0
        self._unargued: set[int] = set()
        self._began = False
        self._readers: dict[str, Callable[[Update, Message], list[Piece]]] = {
            "message-start": lambda update, _: [Chunk(id=update.id)],
            "content-start": self._content,
            "content-delta": self._content,
            "content-end": lambda *_: self._thought(),
            "tool-plan-delta": lambda _, message: self._planned(message.tool_plan),
            "tool-call-start": self._call_start,
            "tool-call-delta": self._call_delta,
            "tool-call-end": lambda update, _: self._call_end(update.index),
            "citation-start": lambda _, message: self._cited(_listed(message.citations)),
            "citation-end": lambda *_: [],
            "message-end": lambda update, _: self._ending(update.delta or Ending()),
        }
        self.done = False

    def whole(self, body: bytes) -> list[Piece]:
        """The pieces of a whole answer.

        Raises:
            ProtocolError: It is malformed, or has no message or no finish reason.
            RouterError: It is an error.
        """
        reply: Whole = decode_json(body, Whole)
        raw = decode_json(body, unique=True)
        message = reply.message
        if not isinstance(message, Message):
            raise _error(raw)
        pieces = self._planned(message.tool_plan)
        contents = message.content
        for index, content in enumerate(
            [Content(text=contents)] if isinstance(contents, str) else _listed(contents)
        ):
            pieces += self._said(index, content, None)
            pieces += self._thought()
        for index, call in enumerate(_listed(message.tool_calls)):
            pieces += [*self._called(index, call), *self._call_end(index)]
        pieces += self._cited(_listed(message.citations))
        if reply.logprobs:
            pieces.append(Chunk(logprobs=tuple(reply.logprobs)))
        return [*pieces, *self._ending(reply), Chunk(id=reply.id, raw=raw)]

    def event(self, event: Event) -> Sequence[Piece]:
        """The pieces that an event of a stream brings; an empty chunk when it brings none.

        Raises:
            ProtocolError: It is malformed, or ends the answer without a reason.
            RouterError: It is an error.
        """
        self._began = True
        data = event.data
        if not data:
            return (ALIVE,)
        if data.startswith(b"[DONE]"):
            self.done = True
            return ()
        update: Update = decode_json(data, Update)
        if update.message is not None and update.type in ("", "error"):
            raise _error(decode_json(data))
        read = self._readers.get(update.type)
        if read is None:
            return (Chunk(raw=decode_json(data)),)
        message = update.delta.message if update.delta is not None else None
        return read(update, message or Message()) or (ALIVE,)

    def end(self) -> None:
        """Take note that the stream has ended.

        Raises:
            ProtocolError: It brought no event at all: it was none.
        """
        if not self._began:
            raise ProtocolError("a body that is no stream of events")

    def _content(self, update: Update, message: Message) -> list[Piece]:
        pieces = self._planned_out()
        content = message.content
        if isinstance(content, Content):
            pieces += self._said(update.index, content, update.logprobs)
        return pieces

    def _said(self, index: int, content: Content, logprobs: Any) -> list[Piece]:
        self._starts.setdefault(index, self._told)
        pieces: list[Piece] = []
        if content.thinking:
            self._thoughts.append(content.thinking)
            pieces.append(Chunk(reasoning=content.thinking))
        text = content.text or ""
        self._told += len(text)
        if logprobs:
            pieces.append(Chunk(text=text, logprobs=tuple(_listed(logprobs))))
        elif text:
            pieces.append(text)
        return pieces

    def _thought(self) -> list[Piece]:
        """The thinking as one block, to be sent back, once it has ended."""
        text, self._thoughts = "".join(self._thoughts), []
        return [Chunk(reasoning_block=Reasoning(text=text))] if text else []

    def _planned(self, plan: str | None) -> list[Piece]:
        if not plan:
            return []
        self._plan.append(plan)
        return [Chunk(reasoning=plan)]

    def _planned_out(self) -> list[Piece]:
        """The plan as one block, once something else has come: no event says that it ended."""
        text, self._plan = "".join(self._plan), []
        block = Reasoning(text=text, extra={"type": PLAN})
        return [Chunk(reasoning_block=block)] if text else []

    def _call_start(self, update: Update, message: Message) -> list[Piece]:
        return [
            piece
            for call in _listed(message.tool_calls)
            for piece in self._called(update.index, call)
        ]

    def _called(self, index: int, call: Call) -> list[Piece]:
        pieces = self._planned_out()
        function = call.function or Function()
        arguments = function.arguments or ""
        if arguments in ("", "null"):
            arguments = ""
            self._unargued.add(index)
        begun = ToolCallDelta(index=index, id=call.id, name=function.name, arguments=arguments)
        return [*pieces, Chunk(tool_call=begun)]

    def _call_delta(self, update: Update, message: Message) -> list[Piece]:
        functions = [call.function for call in _listed(message.tool_calls) if call.function]
        arguments = "".join(function.arguments or "" for function in functions)
        if not arguments:
            return []
        self._unargued.discard(update.index)
        return [Chunk(tool_call=ToolCallDelta(index=update.index, arguments=arguments))]

    def _call_end(self, index: int) -> list[Piece]:
        """A call without arguments has none on the wire, or null; in JSON it is an empty object."""
        if index not in self._unargued:
            return []
        self._unargued.remove(index)
        return [Chunk(tool_call=ToolCallDelta(index=index, arguments="{}"))]

    def _cited(self, citations: Sequence[Mapping[str, Any]]) -> list[Piece]:
        """A citation for each source of each, its place counted in the whole text."""
        pieces: list[Piece] = []
        for raw in citations:
            place = _place(raw, self._starts)
            pieces += [Chunk(citation=_citation(raw, *place, source)) for source in _sources(raw)]
        return pieces

    def _ending(self, ending: Ending) -> list[Piece]:
        reason = ending.finish_reason
        match reason:
            case None:
                raise ProtocolError("the answer ended without a reason", code="no_finish_reason")
            case "ERROR":
                message = " ".join((ending.error or "the service broke the answer off").split())
                raise Problem(message=message).error()
            case "TIMEOUT":
                raise Timeout("the service took too long", phase="total", code=reason)
        self.done = True
        usage = ending.usage
        finish = Chunk(
            finish_reason=FINISH_REASONS.get(reason, "other"),
            native_finish_reason=reason,
            usage=read_usage(usage) if usage else None,
            raw={"usage": usage} if usage else None,
        )
        return [*self._planned_out(), *self._thought(), finish]


def read_usage(usage: Mapping[str, Any]) -> Usage:
    """The router's usage from the wire's: what the model read and wrote, else what is billed."""
    tokens = _mapping(usage, "tokens") or _mapping(usage, "billed_units")
    return Usage(
        input_tokens=_count(tokens, "input_tokens"),
        output_tokens=_count(tokens, "output_tokens"),
        cached_tokens=_count(usage, "cached_tokens"),
        reasoning_tokens=_count(tokens, "reasoning_tokens"),
    )


def _place(raw: Mapping[str, Any], starts: Mapping[int, int]) -> tuple[int | None, int | None]:
    """From where to where in the answer's text; nowhere for a citation in its reasoning."""
    start, end = raw.get("start"), raw.get("end")
    if raw.get("type") not in (None, "TEXT_CONTENT"):
        return None, None
    index = raw.get("content_index")
    offset = starts.get(index, 0) if isinstance(index, int) else 0
    return (
        offset + start if isinstance(start, int) else None,
        offset + end if isinstance(end, int) else None,
    )


def _sources(raw: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Those of a citation; an empty one where there is none."""
    sources = raw.get("sources")
    listed = sources if isinstance(sources, list) else []
    found: list[Mapping[str, Any]] = [each for each in listed if isinstance(each, dict)]
    return found or [{}]


def _citation(
    raw: Mapping[str, Any], start: int | None, end: int | None, source: Mapping[str, Any]
) -> Citation:
    document = _mapping(source, "document") or _mapping(source, "tool_output")
    return Citation(
        url=_text(document, "url"),
        title=_text(document, "title"),
        document=_text(source, "id"),
        quote=_text(document, "text", "snippet", "content"),
        start=start,
        end=end,
        raw=raw,
    )


def _listed(value: Any) -> list[Any]:
    """What a whole answer has several of, and an event one."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _mapping(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = fields.get(name)
    return value if isinstance(value, dict) else {}


def _text(fields: Mapping[str, Any], *names: str) -> str | None:
    return next((text for name in names if isinstance(text := fields.get(name), str)), None)


def _count(fields: Mapping[str, Any], name: str) -> int | None:
    """A number of tokens; the wire's type for it is a float."""
    value = fields.get(name)
    return int(value) if isinstance(value, int | float) else None


def _error(body: Any) -> RouterError:
    """The error that a body that is no answer stands for."""
    problem = Problem.of(body)
    return ProtocolError("an answer without a message") if problem is None else problem.error()
