"""The bodies of answers: a stream where one was asked for, or a whole in its place."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Protocol, TypeAlias

from router import SSE, Chunk, Event, Exchange, HttpResponse, ProtocolError

MAX_BODY_BYTES = 64 * 1024 * 1024
"""The largest whole body where a stream was asked for: what the host allows elsewhere."""

BLANK = b" \t\r\n\xef\xbb\xbf"
"""What may stand before a body's first character: keep-alives, and a byte order mark."""

Reading: TypeAlias = Generator[HttpResponse, bytes, bytes]


class Reader(Protocol):
    """What reads one answer of a wire whose streams are server-sent events.

    Attributes:
        done: Whether nothing behind the last event is to be read.
    """

    done: bool

    def whole(self, body: bytes) -> Iterable[str | Chunk]:
        """The pieces of an answer that came at once."""

    def event(self, event: Event) -> Iterable[str | Chunk]:
        """The pieces that an event brings."""

    def end(self) -> None:
        """Take note that the stream has ended."""


def read_answer(response: HttpResponse, reader: Reader) -> Exchange:
    """The pieces of an answer: streamed, or whole, be it where a stream was asked for.

    Raises:
        ProtocolError: The body is empty, or too large to be whole.
        RouterError: What the reader makes of it.
    """
    if not response.streamed:
        yield from reader.whole(filled(response.body))
        return
    data = yield from beginning(response)
    if data.lstrip(BLANK)[:1] in (b"{", b"[", b"<"):
        yield from reader.whole((yield from rest(response, data)))
        return
    sse = SSE()
    while data:
        for event in sse.feed(data):
            yield from reader.event(event)
            if reader.done:
                return
        data = yield response
    for event in sse.end():
        yield from reader.event(event)
    reader.end()


def beginning(response: HttpResponse) -> Reading:
    """A streamed body's first bytes, up to one that is not blank: it tells what the body is.

    Raises:
        ProtocolError: There is none.
    """
    data = b""
    while not data.strip(BLANK) and (more := (yield response)):
        data += more
    return filled(data)


def rest(response: HttpResponse, data: bytes) -> Reading:
    """The whole of a streamed body that turned out to be no stream.

    Raises:
        ProtocolError: It is larger than `MAX_BODY_BYTES` (`code="too_large"`).
    """
    pieces, size = [data], len(data)
    while more := (yield response):
        pieces.append(more)
        size += len(more)
        if size > MAX_BODY_BYTES:
            raise ProtocolError(f"the body is larger than {MAX_BODY_BYTES} bytes", code="too_large")
    return b"".join(pieces)


def filled(body: bytes) -> bytes:
    """The body.

    Raises:
        ProtocolError: It is empty, or blank.
    """
    if not body.strip(BLANK):
        raise ProtocolError("an empty body where an answer was expected")
    return body


def shown(response: HttpResponse) -> str:
    """What a body that nobody can read is, for a message."""
    if response.body.lstrip(BLANK).startswith(b"<"):
        return "a page of HTML"
    return response.excerpt or "no body"
