"""What a fault puts on the wire, step by step. No I/O.

A *play* is a function from a `Scene` (a request, and the good answer to it) to steps: bytes to
send, a number of seconds to be silent, or an `End` of the connection. After a play without an `End`
the connection waits for its next request.
"""

from __future__ import annotations

import gzip
import re
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from email.utils import formatdate
from enum import Enum
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any

from router.testing.wire import (
    DONE,
    EVENTS,
    JSON,
    LAST_CHUNK,
    Answer,
    Request,
    error,
    event,
    framed,
    head,
    opened,
    to_json,
    whole,
)

if TYPE_CHECKING:
    from router.testing.catalog import Case

MIB = 2**20


class End(Enum):
    """How a play ends the connection."""

    CLOSE = "a close in good order (FIN), after all that was sent"
    RESET = "a reset (RST)"
    FREEZE = "nothing more: not even the client's close is answered, as if the cable were cut"


@dataclass(frozen=True, slots=True)
class Scene:
    """What a play is given.

    Attributes:
        request: The request to answer.
        answer: The good answer to it.
        case: The fault with its parameters.
        elsewhere: The URL of another host, `http://localhost:<another port>`, for redirects.
    """

    request: Request
    answer: Answer
    case: Case
    elsewhere: str

    @property
    def good(self) -> bytes:
        """The good HTTP response: a stream or a whole, as was asked."""
        return self.answer.as_stream if self.request.stream else self.answer.as_whole

    @property
    def kind(self) -> str:
        """The content type of the good response."""
        return EVENTS if self.request.stream else JSON

    @property
    def body(self) -> bytes:
        """The body of the good response, without its framing."""
        return b"".join(self.answer.events) if self.request.stream else self.answer.json

    @property
    def begun(self) -> bytes:
        """The body up to where the fault strikes: after `chunks` with content, or in the middle."""
        if not self.request.stream:
            return self.answer.json[: len(self.answer.json) // 2]
        return b"".join((self.answer.roles, *self.answer.contents[: self.case.chunks]))

    @property
    def rest(self) -> bytes:
        """The body from where the fault strikes."""
        return self.body[len(self.begun) :]


Step = bytes | float | End
Play = Callable[[Scene], Iterable[Step]]


def steps(*steps: Step) -> Play:
    """The same steps for every request."""
    return lambda scene: steps


def misused(why: str) -> bytes:
    """The response that says that a fault cannot be shown to such a request."""
    return whole(501, "text/plain", why.encode())


# Good answers.


def good(scene: Scene) -> Iterator[Step]:
    """The good answer, `seconds` before each chunk with content."""
    answer, seconds = scene.answer, scene.case.seconds
    if not seconds:
        yield scene.good
        return
    if not scene.request.stream:
        yield seconds
        yield scene.good
        return
    yield opened(EVENTS) + framed(answer.roles)
    for content in answer.contents:
        yield seconds
        yield framed(content)
    yield framed(answer.finishes + answer.counts + DONE) + LAST_CHUNK


def answered(change: Callable[[Scene], Answer]) -> Play:
    """Another answer, in good order."""

    def play(scene: Scene) -> Iterator[Step]:
        answer = change(scene)
        yield answer.as_stream if scene.request.stream else answer.as_whole

    return play


def changed(**fields: Any) -> Play:
    """The good answer with other fields."""
    return answered(lambda scene: replace(scene.answer, **fields))


def filtered(scene: Scene) -> Answer:
    """Some chunks, then the finish reason of a content filter."""
    pieces = [delta["content"] for _, delta in scene.answer.deltas[: scene.case.chunks]]
    answer = Answer.of(scene.answer.model, pieces, usage=scene.answer.usage)
    return replace(answer, finish="content_filter")


def doubled(scene: Scene) -> Answer:
    """Two choices, their chunks in turn; the second is the first in capitals."""
    deltas: list[tuple[int, dict[str, Any]]] = []
    texts = ["", ""]
    for _, delta in scene.answer.deltas:
        for index, piece in enumerate((delta["content"], delta["content"].upper())):
            deltas.append((index, {"content": piece}))
            texts[index] += piece
    messages = tuple({"content": text} for text in texts)
    return replace(scene.answer, deltas=tuple(deltas), messages=messages)


def calling(*calls: tuple[int, str, list[str]]) -> Play:
    """Tool calls, each with its index, name and pieces of arguments; the pieces come in turn."""
    starts = [
        {"index": index, "id": f"call_{index}", "type": "function"}
        | {"function": {"name": name, "arguments": ""}}
        for index, name, _ in calls
    ]
    turns = zip_longest(
        *(
            [{"index": index, "function": {"arguments": piece}} for piece in pieces]
            for index, _, pieces in calls
        )
    )
    whole_calls = [
        {"id": f"call_{index}", "type": "function"}
        | {"function": {"name": name, "arguments": "".join(pieces)}}
        for index, name, pieces in calls
    ]
    return changed(
        deltas=tuple((0, {"tool_calls": [call]}) for call in chain(starts, *turns) if call),
        messages=({"content": None, "tool_calls": whole_calls},),
        finish="tool_calls",
    )


# Connections.


def on_reuse(end: End) -> Play:
    """A good answer to the first request of a connection; the end of it to the next."""
    return lambda scene: [end if scene.request.connection.requests > 1 else scene.good]


def stale(scene: Scene) -> Iterator[Step]:
    """A good answer, then an unannounced close."""
    yield scene.good
    yield End.CLOSE


def silence(scene: Scene) -> Iterator[Step]:
    """Nothing for a while, then a good answer."""
    yield scene.case.seconds
    yield scene.good


def silence_after_headers(scene: Scene) -> Iterator[Step]:
    """The headers; nothing for a while; the body."""
    yield opened(scene.kind)
    yield scene.case.seconds
    yield framed(scene.body) + LAST_CHUNK


def trickled_headers(scene: Scene) -> Iterator[Step]:
    """The headers byte by byte, then the body."""
    yield from _trickled(opened(scene.kind), scene.case.seconds)
    yield framed(scene.body) + LAST_CHUNK


def trickled_body(scene: Scene) -> Iterator[Step]:
    """The headers, then the body byte by byte."""
    start, blank, body = scene.good.partition(b"\r\n\r\n")
    yield start + blank
    yield from _trickled(body, scene.case.seconds)


def _trickled(data: bytes, seconds: float) -> Iterator[Step]:
    for at in range(len(data)):
        yield data[at : at + 1]
        yield seconds


def stall(scene: Scene) -> Iterator[Step]:
    """A part of the body; nothing for a while; the rest."""
    yield opened(scene.kind) + framed(scene.begun)
    yield scene.case.seconds
    yield framed(scene.rest) + LAST_CHUNK


def cut(end: End) -> Play:
    """A part of a chunked body, without the last chunk."""
    return lambda scene: [opened(scene.kind) + framed(scene.begun), end]


def cut_short(scene: Scene) -> Iterator[Step]:
    """A part of a body whose length was told."""
    length = ("Content-Length", str(len(scene.body)))
    yield head(200, ("Content-Type", scene.kind), length) + scene.begun
    yield End.CLOSE


def cut_unseen(scene: Scene) -> Iterator[Step]:
    """A part of a body that the close ends: HTTP cannot tell that it is a part."""
    yield head(200, ("Content-Type", scene.kind), ("Connection", "close")) + scene.begun
    yield End.CLOSE


# Responses.


def page(status: int, kind: str, body: str) -> Play:
    """A response with that content type and body."""
    return steps(whole(status, kind, body.encode()))


def html(status: int) -> Play:
    """A web page."""
    text = f"<!doctype html><html><body><h1>{status}</h1></body></html>"
    return page(status, "text/html; charset=utf-8", text)


def always_whole(scene: Scene) -> Iterator[Step]:
    """The good answer as a whole."""
    yield scene.answer.as_whole


def always_stream(scene: Scene) -> Iterator[Step]:
    """The good answer as a stream."""
    yield scene.answer.as_stream


def redirect(status: int) -> Play:
    """A redirect to another host."""

    def play(scene: Scene) -> Iterator[Step]:
        location = ("Location", f"{scene.elsewhere}/v1/chat/completions")
        yield head(status, location, ("Content-Length", "0"))

    return play


def refused(status: int, kind: str, message: str, *headers: tuple[str, str]) -> Play:
    """An error response; with a Retry-After where the case has `seconds`."""

    def play(scene: Scene) -> Iterator[Step]:
        body = error(kind, scene.case.code or None, message)
        wait = retry_after(scene.case.seconds) if scene.case.seconds else ()
        yield whole(status, JSON, body, *headers, *wait)

    return play


def limited(headers: Callable[[float], Iterable[tuple[str, str]]]) -> Play:
    """A 429 whose headers are made from the case's `seconds`."""
    body = error("requests", "rate_limit_exceeded", "Too many requests.")
    return lambda scene: [whole(429, JSON, body, *headers(scene.case.seconds))]


def retry_after(seconds: float) -> Iterator[tuple[str, str]]:
    """A Retry-After in seconds."""
    yield "Retry-After", number(seconds)


def retry_ms(seconds: float) -> Iterator[tuple[str, str]]:
    """OpenAI's own header."""
    yield "retry-after-ms", number(round(seconds * 1000, 3))


def retry_date(seconds: float) -> Iterator[tuple[str, str]]:
    """A Retry-After as a date, with the Date that it counts from."""
    now = time.time()
    yield "Date", formatdate(now, usegmt=True)
    yield "Retry-After", formatdate(now + seconds, usegmt=True)


def resets(seconds: float) -> Iterator[tuple[str, str]]:
    """The headers of OpenAI and those compatible; the tokens are not what is short."""
    minutes, rest = divmod(seconds, 60)
    duration = f"{number(minutes)}m{number(rest)}s" if minutes else f"{number(rest)}s"
    yield "x-ratelimit-remaining-requests", "0"
    yield "x-ratelimit-reset-requests", duration
    yield "x-ratelimit-remaining-tokens", "1000"
    yield "x-ratelimit-reset-tokens", "1ms"


def retry_info(scene: Scene) -> Iterator[Step]:
    """A 429 with Google's RetryInfo in its body."""
    kind = "type.googleapis.com/google.rpc.RetryInfo"
    details = [{"@type": kind, "retryDelay": f"{number(scene.case.seconds)}s"}]
    quota = {"code": 429, "message": "Quota exceeded.", "status": "RESOURCE_EXHAUSTED"}
    yield whole(429, JSON, to_json({"error": quota | {"details": details}}))


def number(value: float) -> str:
    """A number as headers have it: `2`, `0.5`."""
    return str(int(value)) if value == int(value) else str(value)


def with_headers(*lines: str) -> Play:
    """The good answer with more headers."""
    return lambda scene: [_inserted(scene.good, *lines)]


def huge_header(scene: Scene) -> Iterator[Step]:
    """The good answer with a header of `size` bytes more."""
    yield _inserted(scene.good, "x-padding: " + "a" * (scene.case.size - len("x-padding: ")))


def _inserted(response: bytes, *lines: str) -> bytes:
    status, end, rest = response.partition(b"\r\n")
    return end.join((status, *(line.encode() for line in lines), rest))


def lower_case(scene: Scene) -> Iterator[Step]:
    """The good answer, the names of its headers in lower case."""
    start, blank, body = scene.good.partition(b"\r\n\r\n")
    yield re.sub(rb"(?m)^[\w-]+(?=:)", lambda name: name[0].lower(), start) + blank + body


def informed(scene: Scene) -> Iterator[Step]:
    """Informational responses, then the good answer."""
    yield b"HTTP/1.1 100 Continue\r\n\r\n"
    yield b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"
    yield scene.good


# Bodies. What makes one too large is blanks, in a stream comments, so that all else is right: a
# client without a cap gets the good answer.

KIB = 1024
BLANKS = b" " * KIB
COMMENT = b":" + b" " * (KIB - 2) + b"\n"


def _filler(kilobyte: bytes, size: int) -> Iterator[bytes]:
    """The kilobyte over and over, `size` bytes in whole kilobytes."""
    megabytes, kilobytes = divmod(size // KIB, KIB)
    block = kilobyte * KIB
    for _ in range(megabytes):
        yield block
    yield kilobyte * kilobytes


def _padding(scene: Scene) -> Iterator[bytes]:
    return _filler(COMMENT if scene.request.stream else BLANKS, scene.case.size)


def oversized(scene: Scene) -> Iterator[Step]:
    """A body whose length tells that it is too large."""
    size = scene.case.size // KIB * KIB + len(scene.body)
    yield head(200, ("Content-Type", scene.kind), ("Content-Length", str(size)))
    yield from _padding(scene)
    yield scene.body


def endless_body(scene: Scene) -> Iterator[Step]:
    """A body without an end."""
    yield opened(scene.kind)
    yield from map(framed, _padding(scene))
    yield End.CLOSE


def gzip_bomb(scene: Scene) -> Iterator[Step]:
    """A body that is small until it is unpacked."""
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    yield opened(scene.kind, ("Content-Encoding", "gzip"))
    for data in chain(_padding(scene), [scene.body]):
        yield framed(packer.compress(data))
        yield 0.0  # packing takes long and gives little: others have their turn
    yield framed(packer.flush()) + LAST_CHUNK


def gzipped(scene: Scene) -> Iterator[Step]:
    """The good answer, compressed."""
    encoding = ("Content-Encoding", "gzip")
    if not scene.request.stream:
        yield whole(200, JSON, gzip.compress(scene.body, mtime=0), encoding)
        return
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    yield opened(EVENTS, encoding)
    for data in scene.answer.events:
        yield framed(packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))
    yield framed(packer.flush()) + LAST_CHUNK


def spoiled(spoil: Callable[[bytes, int], bytes]) -> Play:
    """The good answer with its JSON spoiled: the whole, or one event with content."""

    def play(scene: Scene) -> Iterator[Step]:
        answer = scene.answer
        if not scene.request.stream:
            yield whole(200, JSON, spoil(answer.json, scene.case.size))
            return
        events = list(answer.events)
        at = 1 + min(scene.case.chunks, len(answer.contents) - 1)
        events[at] = event(spoil(events[at][len(b"data: ") : -2], scene.case.size))
        yield opened(EVENTS) + b"".join(map(framed, events)) + LAST_CHUNK

    return play


def deepened(good: bytes, depth: int) -> bytes:
    """An object with one more member, nested deep."""
    return good[:-1] + b',"padding":' + b"[" * depth + b"]" * depth + b"}"


# Event streams.


def streamed(play: Play) -> Play:
    """A play for event streams alone."""

    def only(scene: Scene) -> Iterable[Step]:
        if scene.request.stream:
            return play(scene)
        return [misused(f"{scene.case.text} is a fault of event streams: ask for one")]

    return only


def stream(events: Callable[[Scene], Iterable[bytes]]) -> Play:
    """A stream of those events, ended in good order as far as HTTP goes."""
    return streamed(lambda scene: [opened(EVENTS), *map(framed, events(scene)), LAST_CHUNK])


def in_pieces(split: Callable[[bytes], list[bytes]]) -> Play:
    """The good body, each piece a chunk; a pause of `seconds` has each sent by itself."""

    def play(scene: Scene) -> Iterator[Step]:
        yield opened(scene.kind)
        for piece in split(scene.body):
            yield framed(piece)
            if scene.case.seconds:
                yield scene.case.seconds
        yield LAST_CHUNK

    return play


def single_bytes(body: bytes) -> list[bytes]:
    """Every byte by itself."""
    return [body[at : at + 1] for at in range(len(body))]


def inside_characters(body: bytes) -> list[bytes]:
    """Split inside every character that has more than one byte."""
    return re.split(rb"(?=[\x80-\xbf])", body)


def inside_line_ends(body: bytes) -> list[bytes]:
    """Lines end in CRLF, and are split before the LF."""
    return re.split(rb"(?<=\r)", body.replace(b"\n", b"\r\n"))


def odd(scene: Scene) -> Iterator[bytes]:
    """All that a parser has to know: a byte order mark, CR, several data lines, other fields."""
    yield b"\xef\xbb\xbf: a comment\rid: 1\rretry: 10\runknown: field\r\r"
    yield scene.body.replace(b',"choices"', b',\ndata:"choices"').replace(b"\n", b"\r")


def with_empty_chunks(scene: Scene) -> Iterator[bytes]:
    """A chunk without choices before every event, as Azure's filter results are."""
    for data in scene.answer.events:
        yield scene.answer.blank
        yield data


def finished_again(scene: Scene) -> Iterator[bytes]:
    """A second finish, with another reason."""
    *events, counts, done = scene.answer.events
    return iter((*events, replace(scene.answer, finish="length").finishes, counts, done))


def going_on(scene: Scene) -> Iterator[bytes]:
    """The content once more, after the finish."""
    *events, counts, done = scene.answer.events
    return iter((*events, *scene.answer.contents, counts, done))


def comments(scene: Scene) -> Iterator[Step]:
    """Comments for ever."""
    yield opened(EVENTS)
    while True:
        yield framed(b": waiting\n\n")
        yield scene.case.seconds


def pinged(scene: Scene) -> Iterator[Step]:
    """A comment before every event."""
    yield opened(EVENTS)
    for data in scene.answer.events:
        yield framed(b": ping\n\n")
        yield scene.case.seconds
        yield framed(data)
    yield LAST_CHUNK


def long_line(scene: Scene) -> Iterator[bytes]:
    """A good stream with one event of `size` bytes of content more."""
    (small,) = Answer.of(scene.answer.model, ["a"]).contents
    content = b'"content":"%b"'
    large = small.replace(content % b"a", content % (b"a" * scene.case.size))
    return iter((scene.begun, large, scene.rest))


def endless_line(scene: Scene) -> Iterator[Step]:
    """An event without an end."""
    yield opened(EVENTS) + framed(scene.begun)
    yield framed(b'data: {"choices":[{"index":0,"delta":{"content":"')
    yield from map(framed, _filler(b"a" * KIB, scene.case.size))
    yield End.CLOSE


def failed_at_once(scene: Scene) -> Iterator[bytes]:
    """An error as the only event."""
    yield event(error(scene.case.code, scene.case.code, "The server failed."))


def failed(scene: Scene) -> Iterator[Step]:
    """An error of the server's as an event, or as the body of a 200."""
    body = error(scene.case.code, scene.case.code, "The server failed.")
    if scene.request.stream:
        yield opened(EVENTS) + framed(scene.begun) + framed(event(body)) + LAST_CHUNK
    else:
        yield whole(200, JSON, body)
