"""The answers of Anthropic's wire: events and whole messages, read into the router's pieces.

A message is a list of blocks. In a stream each has a beginning, pieces and an end; a whole message
has blocks that began with all that they hold, so that both are read by the same code. The terminal
marker of a stream is `message_stop`; the reason came before it, with `message_delta`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Raw, Struct

from router import Chunk, Event, ProtocolError, RouterError, Usage, decode_json

from .anthropic_blocks import BLOCKS, Block, OpaqueBlock, Piece, ToolBlock
from .anthropic_errors import Problem
from .openai_answers import FinishReason

FINISH_REASONS: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "refusal",
    "pause_turn": "other",  # send the answer back, and the model goes on
}
"""The wire's words in the router's vocabulary; others are `other`."""

ALIVE = Chunk()


class Kind(Struct):
    """What every block has."""

    type: str


class Told(Struct):
    """An event, as far as its kind is known; an error may come without a type."""

    type: str = ""
    index: int = -1
    content_block: Raw = Raw()
    delta: Raw = Raw()
    error: Any = None


class Stop(Struct):
    """Why a message ended."""

    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: Any = None

    def pieces(self) -> list[Piece]:
        """The last ones of the answer.

        Raises:
            ProtocolError: There is no reason.
        """
        if self.stop_reason is None:
            raise ProtocolError("the message ended without a stop reason", code="no_finish_reason")
        details = self.stop_details if isinstance(self.stop_details, dict) else {}
        told = {"stop_sequence": self.stop_sequence, "stop_details": self.stop_details}
        finish = Chunk(
            finish_reason=FINISH_REASONS.get(self.stop_reason, "other"),
            native_finish_reason=self.stop_reason,
            raw={name: value for name, value in told.items() if value} or None,
        )
        explanation = details.get("explanation")
        return [Chunk(refusal=explanation), finish] if isinstance(explanation, str) else [finish]


class MessageDelta(Struct):
    """`message_delta`; the last one says why the message ended."""

    delta: Stop
    usage: dict[str, Any] | None = None


class Reply(Stop):
    """A whole message, or an error in its place; in `message_start`, what of it is known."""

    id: str | None = None
    model: str | None = None
    usage: dict[str, Any] | None = None
    content: list[Raw] | None = None
    error: Any = None


class MessageStart(Struct):
    """`message_start`."""

    message: Reply


class Reader:
    """Reads one answer, whole or event by event.

    Args:
        overlap: White space that is left out where the answer begins with it: it stands at the
            end of the text that is continued, where the wire does not take it.

    Attributes:
        done: Whether the message has ended: nothing behind it is to be read.
    """

    def __init__(self, overlap: str = "") -> None:
        self._overlap = overlap
        self._blocks: dict[int, Block] = {}
        self._calls = 0
        self._told = 0
        self._usage: dict[str, Any] = {}
        self._stop = Stop()
        self._began = False
        self._readers: dict[str, Callable[[Told, bytes], list[Piece]]] = {
            "message_start": self._message_start,
            "content_block_start": self._block_start,
            "content_block_delta": self._block_delta,
            "content_block_stop": self._block_stop,
            "message_delta": self._message_delta,
            "message_stop": self._message_stop,
            "ping": lambda *_: [],
        }
        self.done = False

    def whole(self, body: bytes) -> list[Piece]:
        """The pieces of a whole message.

        Raises:
            ProtocolError: It is malformed, or has no content or no stop reason.
            RouterError: It is an error.
        """
        reply: Reply = decode_json(body, Reply)
        raw = decode_json(body, unique=True)
        if reply.error is not None or reply.content is None:
            raise _error(raw)
        return [*self._known(reply), *reply.pieces(), Chunk(raw=raw)]

    def event(self, event: Event) -> Sequence[Piece]:
        """The pieces that an event of a stream brings; an empty chunk when it brings none.

        Raises:
            ProtocolError: It is malformed, or ends the message without a stop reason.
            RouterError: It is an error.
        """
        self._began = True
        data = event.data
        if not data:
            return (ALIVE,)
        told: Told = decode_json(data, Told)
        if told.error is not None:
            raise _error(decode_json(data))
        read = self._readers.get(told.type)
        if read is None:
            return (Chunk(raw=decode_json(data)),)
        return read(told, data) or (ALIVE,)

    def end(self) -> None:
        """Take note that the stream has ended.

        Raises:
            ProtocolError: It brought no event at all: it was none.
        """
        if not self._began:
            raise ProtocolError("a body that is no stream of events")

    def _message_start(self, told: Told, data: bytes) -> list[Piece]:
        start: MessageStart = decode_json(data, MessageStart)
        # One that goes on with a tool's run may begin with content, and even with its reason.
        self._stop = start.message
        return self._known(start.message, decode_json(data))

    def _block_start(self, told: Told, data: bytes) -> list[Piece]:
        return self._begin(told.index, bytes(told.content_block))

    def _block_delta(self, told: Told, data: bytes) -> list[Piece]:
        block = self._blocks.get(told.index)
        if block is None:
            raise ProtocolError("a piece of a block that did not begin")
        return self._counted(block.take(bytes(told.delta)))

    def _block_stop(self, told: Told, data: bytes) -> list[Piece]:
        return self._end(told.index) if told.index in self._blocks else []

    def _message_delta(self, told: Told, data: bytes) -> list[Piece]:
        last: MessageDelta = decode_json(data, MessageDelta)
        if last.delta.stop_reason is not None:
            self._stop = last.delta
        return [Chunk(usage=self._spent(last.usage), raw=decode_json(data))]

    def _message_stop(self, told: Told, data: bytes) -> list[Piece]:
        self.done = True
        unended = [piece for index in list(self._blocks) for piece in self._end(index)]
        return [*unended, *self._stop.pieces()]

    def _begin(self, index: int, start: bytes) -> list[Piece]:
        kind: Kind = decode_json(start, Kind)
        if kind.type == "tool_use":
            block: Block = ToolBlock(start, self._told, self._calls)
            self._calls += 1
        else:
            block = BLOCKS.get(kind.type, OpaqueBlock)(start, self._told)
        self._blocks[index] = block
        return self._counted(block.begin())

    def _end(self, index: int) -> list[Piece]:
        return self._blocks.pop(index).end()

    def _known(self, reply: Reply, raw: Any = None) -> list[Piece]:
        """What a message says at once: what it is, what it used, and the blocks that it has."""
        used = self._spent(reply.usage)
        pieces: list[Piece] = [Chunk(id=reply.id, model=reply.model, usage=used, raw=raw)]
        for index, block in enumerate(reply.content or ()):
            pieces += self._begin(index, bytes(block))
            pieces += self._end(index)
        return pieces

    def _spent(self, usage: Mapping[str, Any] | None) -> Usage | None:
        """The usage so far: the counts of each event stand for the whole message."""
        if not usage:
            return None
        self._usage |= {name: count for name, count in usage.items() if count is not None}
        return read_usage(self._usage)

    def _counted(self, pieces: list[Piece]) -> list[Piece]:
        """The pieces without the overlap, once their text is counted."""
        for place, piece in enumerate(pieces):
            if isinstance(piece, str):
                told = pieces[place] = self._untold(piece)
                self._told += len(told)
        return pieces

    def _untold(self, text: str) -> str:
        if not self._overlap:
            return text
        while self._overlap and text.startswith(self._overlap[0]):
            text, self._overlap = text[1:], self._overlap[1:]
        if text:
            self._overlap = ""
        return text


def read_usage(usage: Mapping[str, Any]) -> Usage:
    """The router's usage from the wire's, which counts cached tokens beside the input."""
    fresh, read, written = (
        _count(usage, f"{kind}input_tokens") for kind in ("", "cache_read_", "cache_creation_")
    )
    kept, tools, details = (
        _fields(usage, name)
        for name in ("cache_creation", "server_tool_use", "output_tokens_details")
    )
    tier, place = usage.get("service_tier"), usage.get("inference_geo")
    return Usage(
        input_tokens=None if fresh is None else fresh + (read or 0) + (written or 0),
        output_tokens=_count(usage, "output_tokens"),
        cached_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=_count(details, "thinking_tokens"),
        priced_otherwise=bool(kept.get("ephemeral_1h_input_tokens"))
        or any(tools.values())
        or tier not in (None, "standard")
        or place not in (None, "global", "not_available"),
    )


def _fields(usage: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = usage.get(name)
    return value if isinstance(value, dict) else {}


def _count(fields: Mapping[str, Any], name: str) -> int | None:
    value = fields.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _error(body: Any) -> RouterError:
    """The error that a body that is no message stands for."""
    problem = Problem.of(body)
    return ProtocolError("a message without content") if problem is None else problem.error()
