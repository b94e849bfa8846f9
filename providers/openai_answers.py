"""The answers of OpenAI's wire: chunks and whole completions, read into the router's pieces.

What services make of them:

- The terminal marker is a finish reason. `[DONE]` may be missing, and proves nothing alone.
- Usage comes with the finish reason, in a chunk of its own behind it, or in every chunk.
- Reasoning comes as `reasoning_content` or `reasoning` (some send the same text as both), or as
  parts of the content.
- An error comes as the body, as an event, or at a choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import Struct

from router import (
    Chunk,
    Event,
    Overloaded,
    ProtocolError,
    RouterError,
    ToolCallDelta,
    UpstreamError,
    Usage,
    decode_json,
)

from .openai_errors import Problem

Piece: TypeAlias = str | Chunk
FinishReason: TypeAlias = Literal[
    "stop", "length", "tool_calls", "content_filter", "refusal", "other"
]

FINISH_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "eos": "stop",  # Together
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


class Function(Struct):
    """What is called; the arguments should be text, and some servers send the object."""

    name: str | None = None
    arguments: Any = None


class CustomTool(Struct):
    """The same for a tool that takes free text."""

    name: str | None = None
    input: str | None = None


class Call(Struct):
    """A tool call, or a piece of one."""

    index: int | None = None
    id: str | None = None
    function: Function | None = None
    custom: CustomTool | None = None

    @property
    def name(self) -> str | None:
        called = self.custom or self.function
        return None if called is None else called.name or None

    @property
    def arguments(self) -> str:
        if self.custom is not None:
            return self.custom.input or ""
        arguments = "" if self.function is None else self.function.arguments
        if isinstance(arguments, str | None):
            return arguments or ""
        return msgspec.json.encode(arguments).decode()


class Part(Struct):
    """A part of a content; Mistral's thinking has parts of its own."""

    text: str | None = None
    thinking: str | list[Part] | None = None

    def pieces(self, index: int) -> list[Chunk]:
        thinking = self.thinking
        if isinstance(thinking, list):
            thinking = "".join(part.text or "" for part in thinking)
        pieces = [Chunk(reasoning=thinking, index=index)] if thinking else []
        return [*pieces, Chunk(text=self.text, index=index)] if self.text else pieces


class Message(Struct):
    """A message, or what a chunk adds to it: they have the same fields."""

    content: str | list[Part] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[Call] | None = None


class ReplyChoice(Struct):
    """One of the answers."""

    index: int = 0
    delta: Message | None = None
    message: Message | None = None
    finish_reason: str | None = None
    native_finish_reason: str | None = None
    logprobs: Any = None
    error: Any = None
    usage: dict[str, Any] | None = None


class GroqExtension(Struct):
    """Groq's own place for the usage of a stream."""

    usage: dict[str, Any] | None = None


class Reply(Struct):
    """A completion, a chunk of one, or an error: whatever a 200 may bring."""

    choices: list[ReplyChoice] | None = None
    usage: dict[str, Any] | None = None
    id: str | None = None
    model: str | None = None
    error: Any = None
    x_groq: GroqExtension | None = None

    def read_usage(self) -> Usage | None:
        """The usage, wherever the service puts it."""
        usage = self.usage
        if usage is None and self.x_groq is not None:
            usage = self.x_groq.usage
        if usage is None and self.choices:
            usage = self.choices[0].usage
        return read_usage(usage) if usage else None


class Reader:
    """Reads one answer, whole or chunk by chunk.

    Args:
        lenient_done: Whether `[DONE]` after a usage ends an answer that has no finish reason.

    Attributes:
        done: Whether `[DONE]` came: nothing behind it is to be read.
    """

    def __init__(self, *, lenient_done: bool = False) -> None:
        self._lenient_done = lenient_done
        self._calls: dict[int, ToolCalls] = {}
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
            raise _error(raw)
        pieces: list[Piece] = []
        for choice in reply.choices:
            if choice.message is None and choice.error is None:
                raise ProtocolError("a choice without a message")
            pieces += self._pieces(choice, choice.message or Message())
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
        if reply.error is not None:
            raise _error(decode_json(data))
        pieces: list[Piece] = []
        if not self._identified and (reply.id or reply.model):
            self._identified = True
            pieces.append(Chunk(id=reply.id or None, model=reply.model or None))
        if reply.choices:
            for choice in reply.choices:
                pieces += self._pieces(choice, choice.delta or Message())
        elif reply.usage is None and (problem := Problem.of(decode_json(data))) is not None:
            raise problem.error()
        if (usage := reply.read_usage()) is not None:
            self._has_usage = True
            pieces.append(Chunk(usage=usage))
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
            return (Chunk(finish_reason="other"),)
        raise ProtocolError("[DONE] came without a finish reason", code="no_finish_reason")

    def _pieces(self, choice: ReplyChoice, message: Message) -> list[Piece]:
        if choice.error is not None:
            raise _error({"error": choice.error})
        index = choice.index
        pieces: list[Piece] = []
        if reasoning := message.reasoning_content or message.reasoning:
            pieces.append(Chunk(reasoning=reasoning, index=index))
        content = message.content
        if isinstance(content, str):
            if choice.logprobs is not None:
                raw = {"logprobs": choice.logprobs}
                pieces.append(Chunk(text=content, index=index, raw=raw))
            elif content:
                pieces.append(Chunk(text=content, index=index) if index else content)
        elif content:
            pieces += [piece for part in content for piece in part.pieces(index)]
        if message.refusal:
            pieces.append(Chunk(refusal=message.refusal, index=index))
        if message.tool_calls:
            calls = self._calls.setdefault(index, ToolCalls())
            pieces += [Chunk(tool_call=calls.take(c), index=index) for c in message.tool_calls]
        if choice.finish_reason:
            pieces.append(self._finish(choice, choice.finish_reason))
        return pieces

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

    A service may give no number, or the same one to calls that have ids of their own.
    """

    def __init__(self) -> None:
        self._ids: dict[int, str | None] = {}
        self._numbers: dict[int, int] = {}
        self._last = 0

    def take(self, call: Call) -> ToolCallDelta:
        """The piece of a call. Its id and name are told once, however often the service does."""
        number = self._number(call) if call.index is None else self._own_number(call, call.index)
        self._last = number
        if number in self._ids:
            return ToolCallDelta(index=number, arguments=call.arguments)
        self._ids[number] = call.id or None
        return ToolCallDelta(
            index=number, id=call.id or None, name=call.name, arguments=call.arguments
        )

    def _own_number(self, call: Call, index: int) -> int:
        number = self._numbers.setdefault(index, index)
        known = self._ids.get(number)
        if known and call.id and call.id != known:
            number = self._numbers[index] = self._free_number()
        return number

    def _number(self, call: Call) -> int:
        """That of a piece without one: by its id; a piece that names nothing goes on."""
        if call.id:
            known = (number for number, id_ in self._ids.items() if id_ == call.id)
            return next(known, self._free_number())
        return self._free_number() if call.name else self._last

    def _free_number(self) -> int:
        return max(self._ids, default=-1) + 1


def read_usage(usage: Mapping[str, Any]) -> Usage:
    """The router's usage from the wire's; what is no number there is unknown here."""
    sent = _mapping(usage, "prompt_tokens_details")
    received = _mapping(usage, "completion_tokens_details")
    input_tokens, output_tokens = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    reasoning_tokens = _count(received, "reasoning_tokens")
    heard, spoken = _count(sent, "audio_tokens"), _count(received, "audio_tokens")
    if input_tokens is not None and output_tokens is not None:
        # A part may be left out of the whole that it belongs to, as the total shows.
        missing = (_count(usage, "total_tokens") or 0) - input_tokens - output_tokens
        if missing == reasoning_tokens:
            output_tokens += missing  # xAI
        elif missing == heard:
            input_tokens += missing  # Mistral
    # The other names are Together's and Moonshot's, DeepSeek's, Mistral's.
    cached_tokens = _count(sent, "cached_tokens")
    if cached_tokens is None:
        cached_tokens = _count(
            usage, "cached_tokens", "prompt_cache_hit_tokens", "num_cached_tokens"
        )
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_tokens=cached_tokens,
        cache_write_tokens=_count(sent, "cache_write_tokens"),
        reasoning_tokens=reasoning_tokens,
        audio_tokens=None if heard is spoken is None else (heard or 0) + (spoken or 0),
    )


def _mapping(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = fields.get(name)
    return value if isinstance(value, dict) else {}


def _count(fields: Mapping[str, Any], *names: str) -> int | None:
    return next((n for name in names if isinstance(n := fields.get(name), int)), None)


def _error(body: Any) -> RouterError:
    """The error that a body that is no completion stands for."""
    problem = Problem.of(body)
    return ProtocolError("a completion without choices") if problem is None else problem.error()
