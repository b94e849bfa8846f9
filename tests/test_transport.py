"""Both transports over real sockets: what holds beyond the single fault of the matrix."""

from __future__ import annotations

import asyncio
import errno
import gc
import socket
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from calling import USER
from routed import Kind, Routed, Sending, service

from router import (
    AsyncRouter,
    ConnectFailed,
    ConnectionLost,
    StreamInterrupted,
    Timeout,
    UpstreamError,
)
from router.testing import End, Fault, FaultServer, Scene

DESCRIPTORS = Path("/proc/self/fd")


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


def reset(scene: Scene) -> Iterator[bytes | float | End]:
    """Headers, then a reset."""
    yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    yield 0.01  # else the reset would overtake them
    yield End.RESET


def close(scene: Scene) -> Iterator[bytes | End]:
    """Headers, then a close."""
    yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    yield End.CLOSE


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("play", [reset, close])
def test_a_kept_connection_that_is_cut_after_the_headers_is_not_stale(
    server: FaultServer, kind: Kind, stream: bool, play: type
) -> None:
    """It passed for one, so the same target was asked again at once and nothing held against it."""
    server.script(Fault.OK, play)
    with Routed(kind, [service("one", server.url)], policy={"retries": 0}) as routed:
        assert routed.call("one/model", stream=stream).completion is not None
        error = routed.call("one/model", stream=stream).error
        assert isinstance(error, ConnectionLost)
        assert not error.stale
        [row] = routed.router.health()
        assert (row.scope, row.consecutive_failures) == ("host", 1)
    assert server.opened == 1


def count_descriptors() -> int:
    gc.collect()
    return len(list(DESCRIPTORS.iterdir()))


@pytest.mark.skipif(not DESCRIPTORS.is_dir(), reason="counts descriptors as Linux shows them")
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_event_loops_one_after_another_leave_no_connection_open(
    server: FaultServer, stream: bool
) -> None:
    """Each loop's idle connections stayed open for as long as the router lived."""
    router = AsyncRouter([service("one", server.url)], allow=[])

    async def call() -> None:
        answer = await router.create_completion("one/model", USER, stream)
        if stream:
            assert [text async for text in answer]

    asyncio.run(call())
    before = count_descriptors()
    for _ in range(5):
        asyncio.run(call())
    assert count_descriptors() == before
    server.wait_for(lambda: server.closed == server.opened == 6)


def test_event_loops_at_the_same_time_have_connections_of_their_own(server: FaultServer) -> None:
    router = AsyncRouter([service("one", server.url)], allow=[])

    async def calls() -> set[str]:
        return {(await router.create_completion("one/model", USER)).text for _ in range(5)}

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: asyncio.run(calls()), range(8)))
    assert all(len(each) == 1 for each in answers)
    server.wait_for(lambda: server.closed == server.opened == 8)
    assert {request.connection.requests for request in server.requests} == {5}


@pytest.mark.skipif(not DESCRIPTORS.is_dir(), reason="counts descriptors as Linux shows them")
def test_a_connection_whose_request_is_not_taken_is_ended_with_it(server: FaultServer) -> None:
    """It was kept until all was sent, and the server read nothing: the descriptor was lost."""
    unread = Sending("one", server.url_for(Fault.UNREAD), bytes(20 * 2**20))

    async def main() -> None:
        policy = {"total": 0.1, "retries": 0}
        async with AsyncRouter([unread], allow=[], policy=policy) as router:
            counts = []
            for _ in range(3):
                with pytest.raises(Timeout):
                    await router.create_completion("one/m", USER)
                await asyncio.sleep(0.01)  # asyncio closes a socket in the next round
                counts.append(count_descriptors())
            assert counts[2] == counts[1] == counts[0]

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_name_that_this_machine_cannot_look_up_is_not_the_hosts_fault(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out of descriptors, the resolver fails as well, and its host was cooled."""

    def exhausted(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(socket, "getaddrinfo", exhausted)
    with Routed(kind, [service("one", "http://up.invalid/v1")], policy={"retries": 0}) as routed:
        error = routed.call("one/model").error
        assert isinstance(error, ConnectFailed)
        assert error.code == "local"
        assert routed.router.health() == []


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # that loop's own, which it left open
def test_a_loop_that_is_closed_unasked_is_forgotten_by_the_next(server: FaultServer) -> None:
    router = AsyncRouter([service("one", server.url)], allow=[])
    loop = asyncio.new_event_loop()
    loop.run_until_complete(router.create_completion("one/model", USER))
    loop.close()
    del loop
    asyncio.run(call_once(router))
    gc.collect()
    server.wait_for(lambda: server.closed == server.opened == 2)


async def call_once(router: AsyncRouter) -> None:
    await router.create_completion("one/model", USER)


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_an_attempt_that_failed_is_gone_with_its_trace(
    server: FaultServer, kind: Kind, stream: bool
) -> None:
    """Its error held the frames of the call, and these the error: a fallback left garbage."""
    broken, good = service("one", server.url_for(Fault.HTTP_500)), service("two", server.url)
    with Routed(kind, [broken, good]) as routed:
        gc.collect()
        gc.disable()
        try:
            result = routed.call(["one/model", "two/model"], stream=stream)
            assert result.completion is not None
            failed = weakref.ref(result.completion.trace.attempts[0].error)
            assert isinstance(failed(), UpstreamError)
            del result
            assert failed() is None
        finally:
            gc.enable()


def trickle(scene: Scene) -> Iterator[bytes | float]:
    """A piece, then one that never comes to its end, though something always does."""
    yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    event = b'data: {"choices": [{"delta": {"content": "Once"}}]}\n\ndata: '
    yield b"%x\r\n%b\r\n" % (len(event), event)
    while True:
        yield 0.01
        yield b"1\r\n \r\n"


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_bytes_that_make_no_piece_do_not_count_as_a_sign_of_life(
    server: FaultServer, kind: Kind
) -> None:
    server.script(trickle)
    policy = {"idle": 0.2, "total": 5.0}
    with Routed(kind, [service("one", server.url)], policy=policy) as routed:
        error = routed.call("one/model", stream=True).error
    assert isinstance(error, StreamInterrupted)
    assert isinstance(error.cause, Timeout)
    assert error.cause.phase == "idle"
