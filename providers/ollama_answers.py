"""The answers of Ollama's own wire: lines of JSON, read into the router's pieces.

A whole answer is one line that is the last. The terminal marker is `done`; servers from before 2024
give no reason beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec
from msgspec import Raw, Struct

from router import (
    Chunk,
    ProtocolError,
    Reasoning,
    ToolCallDelta,
    Usage,
    decode_json,
)

from .ollama_errors import Problem
from .openai_answers import FinishReason

Piece: TypeAlias = str | Chunk

FINISH_REASONS: dict[str, FinishReason] = {"stop": "stop", "length": "length"}
"""The wire's words in the router's vocabulary; others, about loading a model, are `other`."""

ALIVE = Chunk()


class Function(Struct):
    """What is called; the arguments are an object."""

    name: str | None = None
    arguments: Any = None


class Call(Struct):
    """A tool call, which comes whole."""

    function: Function
    id: str | None = None


class Message(Struct):
    """What a line adds to the answer."""

    content: str | None = None
    thinking: str | None = None
    tool_calls: list[Call] | None = None


class Line(Struct):
    """A line, or the whole of an answer."""

    message: Message | None = None
    model: str | None = None
    done: bool = False
    done_reason: str | None = None
    prompt_eval_count: int | None = None
    eval_count: int | None = None
    logprobs: list[Any] | None = None
    error: Any = None


class Reader:
    """Reads one answer, line by line.

    Args:
        new_id: Makes an id for a call that has none, as those of older servers.

    Attributes:
        done: Whether the last line has come.
    """

    def __init__(self, new_id: Callable[[], str]) -> None:
        self._new_id = new_id
        self._thoughts: list[str] = []
        self._calls = 0
        self._identified = False
        self.done = False

    def whole(self, body: bytes) -> list[Piece]:
        """The pieces of a whole answer.

        Raises:
            ProtocolError: It is malformed, or not done.
            RouterError: It is an error.
        """
        pieces = self.line(body)
        if not self.done:
            raise ProtocolError("an answer that is not done", code="no_finish_reason")
        return pieces

    def line(self, data: Raw | bytes) -> list[Piece]:
        """The pieces that a line brings; an empty chunk when it brings none.

        Raises:
            ProtocolError: It is malformed, or holds nothing of an answer.
            RouterError: It is an error.
        """
        data = bytes(data)
        line: Line = decode_json(data, Line)
        if line.error is not None:
            problem = Problem.of(decode_json(data)) or Problem(
                message="the server reports an error"
            )
            raise problem.error()
        if line.message is None and not line.done:
            raise ProtocolError("a line without a message")
        pieces: list[Piece] = []
        if line.model and not self._identified:
            self._identified = True
            pieces.append(Chunk(model=line.model))
        pieces += self._said(line.message or Message(), line.logprobs)
        if line.done:
            self.done = True
            pieces += [*self._thought(), self._finish(line, decode_json(data, unique=True))]
        return pieces or [ALIVE]

    def _said(self, message: Message, logprobs: list[Any] | None) -> list[Piece]:
        pieces: list[Piece] = []
        if message.thinking:
            self._thoughts.append(message.thinking)
            pieces.append(Chunk(reasoning=message.thinking))
        if message.content or message.tool_calls:
            pieces += self._thought()
        if logprobs:
            pieces.append(Chunk(text=message.content or "", logprobs=tuple(logprobs)))
        elif message.content:
            pieces.append(message.content)
        return [*pieces, *map(self._called, message.tool_calls or ())]

    def _thought(self) -> list[Piece]:
        """The thinking as one block, to be sent back, once something else has come."""
        text, self._thoughts = "".join(self._thoughts), []
        return [Chunk(reasoning_block=Reasoning(text=text))] if text else []

    def _called(self, call: Call) -> Chunk:
        index, self._calls = self._calls, self._calls + 1
        arguments = call.function.arguments
        if not isinstance(arguments, str):
            arguments = msgspec.json.encode(arguments or {}).decode()
        id_ = call.id or self._new_id()
        name = call.function.name
        delta = ToolCallDelta(index=index, id=id_, name=name, arguments=arguments)
        return Chunk(tool_call=delta)

    def _finish(self, line: Line, raw: Any) -> Chunk:
        native = line.done_reason
        reason = FINISH_REASONS.get(native or "stop", "other")
        counts = (line.prompt_eval_count, line.eval_count)
        return Chunk(
            finish_reason="tool_calls" if self._calls and reason == "stop" else reason,
            native_finish_reason=native,
            usage=None
            if counts == (None, None)
            else Usage(input_tokens=counts[0], output_tokens=counts[1]),
            raw=raw,
        )
