"""The codec's rows of the fault matrix, for each wire: over a socket, through both routers.

What a transport does is shown once, in test_fault_matrix.py. H2o's wire has an emulator, and its
faults are shown in tests/providers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from calling import Result
from emitted import check_trace
from msgspec import Struct
from routed import Kind, Routed
from wires import PIECES, TEXT, WIRES, Wire

from router import (
    AuthError,
    BadRequest,
    ConnectionLost,
    ModelNotFound,
    Overloaded,
    PayloadTooLarge,
    PermissionDenied,
    ProtocolError,
    RateLimited,
    RouterError,
    StreamInterrupted,
    UpstreamError,
)
from router.testing import End, FaultServer, Scene, ScriptedProvider
from router.testing.wire import JSON, LAST_CHUNK, framed, opened, whole

CUT = (ConnectionLost, ProtocolError)
POLICY = {"retries": 0}


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> Kind:
    kind: Kind = request.param
    return kind


@pytest.fixture(params=WIRES)
def wire(request: pytest.FixtureRequest) -> Wire:
    return WIRES[request.param]


def ask(server: FaultServer, wire: Wire, kind: Kind, *, stream: bool = True) -> Result:
    """A call to the wire's service, with a healthy target behind it."""
    one = wire.make(server.url)
    providers = [one, ScriptedProvider("two", ["elsewhere"])]
    with Routed(kind, providers, policy=POLICY) as routed:
        result = routed.call([f"{one.name}/m", "two/model"], stream=stream)
    check_trace(result.trace)
    return result


def body(wire: Wire, *pieces: bytes) -> Callable[[Scene], Iterator[bytes]]:
    """A stream of these bytes, each piece a chunk, ended in good order as far as HTTP goes."""

    def play(scene: Scene) -> Iterator[bytes]:
        yield opened(wire.media_type) + b"".join(map(framed, pieces)) + LAST_CHUNK

    return play


def assert_good(result: Result) -> None:
    assert result.error is None
    assert result.completion is not None
    assert (result.completion.text, result.completion.finish_reason) == (TEXT, "stop")
    assert len(result.outcomes) == 1


def assert_elsewhere(result: Result, errors: Any) -> None:
    """It failed before its content, and the next target was asked in silence."""
    assert result.completion is not None
    assert result.completion.text == "elsewhere"
    assert [outcome for _, outcome in result.outcomes] == ["failed", "succeeded"]
    assert result.trace is not None
    assert isinstance(result.trace.attempts[0].error, errors)


def assert_interrupted(result: Result, errors: Any) -> None:
    """It failed after its content, which the caller was told."""
    assert isinstance(result.error, StreamInterrupted)
    assert isinstance(result.error.cause, errors)
    assert result.error.partial.text == result.text == PIECES[0]
    assert [outcome for _, outcome in result.outcomes] == ["interrupted"]


# -- good answers


def test_a_good_answer_is_read_whole_and_streamed(
    server: FaultServer, wire: Wire, kind: Kind
) -> None:
    server.script(body(wire, wire.good), lambda _: [whole(200, JSON, wire.whole)])
    assert_good(ask(server, wire, kind))
    assert_good(ask(server, wire, kind, stream=False))


def test_bytes_that_come_one_by_one_are_the_same_answer(
    server: FaultServer, wire: Wire, kind: Kind
) -> None:
    server.script(body(wire, *(bytes([each]) for each in wire.good)))
    result = ask(server, wire, kind)
    assert_good(result)
    assert result.text == TEXT


# Not gemini: early models said with every piece that they had finished.
@pytest.mark.parametrize("wire", [name for name in WIRES if name != "gemini"], indirect=True)
def test_what_comes_behind_the_end_is_ignored(server: FaultServer, wire: Wire, kind: Kind) -> None:
    server.script(body(wire, wire.good, wire.stream(*wire.contents, *wire.end)))
    assert_good(ask(server, wire, kind))


def test_a_cut_behind_the_end_is_no_failure(server: FaultServer, wire: Wire, kind: Kind) -> None:
    server.script(lambda _: [opened(wire.media_type) + framed(wire.good), End.CLOSE])
    assert_good(ask(server, wire, kind))


def test_a_whole_answer_to_a_call_for_a_stream_is_taken(
    server: FaultServer, wire: Wire, kind: Kind
) -> None:
    server.script(lambda _: [whole(200, JSON, wire.whole)])
    assert_good(ask(server, wire, kind))


# -- what breaks a stream, before its content and after it


class Break(Struct, frozen=True, kw_only=True):
    """What comes in place of the rest of the stream.

    Attributes:
        rest: Its bytes.
        errors: What it may be called.
    """

    rest: Callable[[Wire], bytes]
    errors: tuple[type[RouterError], ...] = (ProtocolError,)


BREAKS = {
    "a clean end": Break(rest=lambda wire: b"", errors=CUT),
    "an end in the middle of an event": Break(
        rest=lambda wire: wire.frame(wire.contents[1])[:-12], errors=CUT
    ),
    "JSON that is cut": Break(rest=lambda wire: wire_frame(wire, wire.contents[1][:-5])),
    "a NaN": Break(rest=lambda wire: wire_frame(wire, b'{"a":NaN,' + wire.contents[1][1:])),
    "bytes that are no UTF-8": Break(
        rest=lambda wire: wire_frame(wire, wire.contents[1].replace(b"calm", b"c\xfflm"))
    ),
    "a value of another type": Break(rest=lambda wire: wire_frame(wire, b'["nothing", 7]')),
    "a page": Break(rest=lambda wire: b"<html>busy</html>\n\n" * 2 + b"<p>\n", errors=CUT),
    "an event without an end": Break(
        rest=lambda wire: wire_frame(wire, b'{"a":"' + b"a" * 9_000_000 + b'"}')
    ),
    "an error": Break(rest=lambda wire: wire.frame(wire.broken), errors=(UpstreamError,)),
}


def wire_frame(wire: Wire, data: bytes) -> bytes:
    """An event with data that is no JSON, and so has no name of its own to be framed by."""
    good = wire.frame(wire.contents[1])
    return good.replace(wire.contents[1], data)


@pytest.mark.parametrize("name", BREAKS)
def test_a_stream_that_breaks_goes_elsewhere_before_its_content_and_is_told_after_it(
    server: FaultServer, wire: Wire, kind: Kind, name: str
) -> None:
    broken = BREAKS[name]
    begun, rest = wire.stream(*wire.begin), broken.rest(wire)
    server.script(body(wire, begun, rest), body(wire, begun, wire.frame(wire.contents[0]), rest))
    assert_elsewhere(ask(server, wire, kind), broken.errors)
    assert_interrupted(ask(server, wire, kind), broken.errors)


# -- answers that are none


NO_ANSWERS: dict[str, Callable[[Wire], bytes]] = {
    "a page": lambda wire: whole(200, "text/html", b"<html>busy</html>"),
    "a text": lambda wire: whole(200, "text/plain", b"busy"),
    "nothing": lambda wire: whole(200, JSON, b""),
    "no content": lambda wire: whole(204, JSON, b""),
    "an empty object": lambda wire: whole(200, JSON, b"{}"),
    "a list": lambda wire: whole(200, JSON, b"[]"),
    "half of it": lambda wire: whole(200, JSON, wire.whole[: len(wire.whole) // 2]),
    "a NaN": lambda wire: whole(200, JSON, b'{"a":NaN,' + wire.whole[1:]),
    "a key twice": lambda wire: whole(200, JSON, b'{"a":1,"a":1,' + wire.whole[1:]),
    "no UTF-8": lambda wire: whole(200, JSON, wire.whole.replace(b"calm", b"c\xfflm")),
    "an error": lambda wire: whole(200, JSON, wire.error(500)),
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("name", NO_ANSWERS)
def test_an_answer_that_is_none_goes_elsewhere(
    server: FaultServer, wire: Wire, kind: Kind, name: str, stream: bool
) -> None:
    server.script(lambda _: [NO_ANSWERS[name](wire)])
    result = ask(server, wire, kind, stream=stream)
    errors = (UpstreamError,) if name == "an error" else CUT
    assert_elsewhere(result, errors)


# -- refusals in the wire's own words

STATUSES: dict[int, type[RouterError]] = {
    400: BadRequest,
    401: AuthError,
    403: PermissionDenied,
    404: ModelNotFound,
    413: PayloadTooLarge,
    429: RateLimited,
    500: UpstreamError,
    529: Overloaded,
}


@pytest.mark.parametrize("status", STATUSES)
def test_a_refusal_is_called_by_its_status_and_its_words(
    server: FaultServer, wire: Wire, kind: Kind, status: int
) -> None:
    retry = ("Retry-After", "7") if status == 429 else ("x-nothing", "0")
    server.script(lambda _: [whole(status, JSON, wire.error(status), retry)])
    result = ask(server, wire, kind)
    assert result.trace is not None
    error: Any = result.trace.attempts[0].error
    assert type(error) is STATUSES[status]
    assert (error.status, error.request_id is not None) == (status, True)
    assert error.retry_after == (7.0 if status == 429 else None)
    assert not error.possibly_billed
    stopped = status in (400, 413)
    assert (result.completion is None) == stopped
