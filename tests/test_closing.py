"""Closing, cancelling and dropping: the upstream's socket is free at once, the trace is kept."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from calling import USER
from routed import PROMPTLY, service, take

from router import (
    AsyncRouter,
    Call,
    Cancelled,
    ConnectionLost,
    HttpRequest,
    Policy,
    Provider,
    RateLimited,
    Router,
    Shared,
    Target,
    Usage,
    Wait,
    WireProvider,
    provider,
)
from router.limit import Limit
from router.testing import Fault, FaultServer, Scene, ScriptedProvider
from router.testing.wire import EVENTS, event, framed, opened
from router.transport.sockets import Exchange


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def server(request: pytest.FixtureRequest) -> Iterator[FaultServer]:
    with FaultServer(Fault.STALL, tls=request.param) as server:
        yield server


def settings(server: FaultServer) -> dict[str, Any]:
    """What a router is made with, so that it reaches the server as `one`."""
    secure = server.url.startswith("https")
    verify = str(server.authority) if secure else True
    return {"plugins": [service("one", server.url)], "allow": [], "verify": verify}


def freed_after(server: FaultServer, moment: float) -> float:
    """Seconds from a moment until the client closed the connection of the only request."""
    [request] = server.requests
    server.wait_for(lambda: request.connection.closed_at is not None)
    assert request.connection.closed_at is not None
    return request.connection.closed_at - moment


def counted(scene: Scene) -> Iterator[bytes | float]:
    """The usage so far, then a piece, then silence: some services count as they go."""
    usage = b'{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":1,"total_tokens":6}}'
    yield opened(EVENTS) + framed(event(usage)) + framed(scene.answer.contents[0])
    yield 60.0


# -- sync


def leave(router: Router) -> Any:
    with router.create_completion("one/model", USER, stream=True) as answer:
        assert next(iter(answer)) == "The"
    return answer


def close(router: Router) -> Any:
    answer = router.create_completion("one/model", USER, stream=True)
    assert next(iter(answer)) == "The"
    answer.close()
    return answer


@pytest.mark.parametrize("end", [leave, close])
def test_ending_a_stream_frees_its_socket_and_keeps_its_usage(
    server: FaultServer, end: Callable[[Router], Any]
) -> None:
    server.script(counted)
    with Router(**settings(server)) as router:
        answer = end(router)
        assert freed_after(server, time.monotonic()) < PROMPTLY
        [attempt] = answer.trace.attempts
    assert attempt.outcome == "cancelled"
    assert attempt.usage == Usage(input_tokens=5, output_tokens=1)
    assert attempt.error is None


def test_a_stream_that_is_closed_is_freed_within_100_ms(server: FaultServer) -> None:
    """A busy machine delays some of five closes, and what the code itself takes all of them."""
    with Router(**settings(server)) as router:

        def late() -> float:
            moment = time.monotonic()
            close(router)
            connection = server.requests[-1].connection
            server.wait_for(lambda: connection.closed_at is not None)
            assert connection.closed_at is not None
            return connection.closed_at - moment

        assert any(late() < 0.1 for _ in range(5))


def test_dropping_a_stream_frees_its_socket(server: FaultServer) -> None:
    with Router(**settings(server)) as router:
        answer = router.create_completion("one/model", USER, stream=True)
        assert next(iter(answer)) == "The"
        gc.disable()
        try:
            del answer  # the last reference: no cycle keeps the socket until a collection
            assert freed_after(server, time.monotonic()) < PROMPTLY
        finally:
            gc.enable()


def test_closing_wakes_the_thread_that_reads(server: FaultServer) -> None:
    with Router(**settings(server)) as router, ThreadPoolExecutor(1) as pool:
        answer = router.create_completion("one/model", USER, stream=True)
        texts: list[str] = []
        reading = threading.Event()

        def read() -> None:
            for text in answer:
                texts.append(text)
                reading.set()

        reader = pool.submit(read)
        assert reading.wait(5)
        while len(texts) < 2:  # then the server is silent, and the thread in its read
            time.sleep(0.01)
        closed = time.monotonic()
        answer.close()
        with pytest.raises(Cancelled) as caught:
            reader.result(5)
        assert freed_after(server, closed) < PROMPTLY
    assert texts == ["The", " sea"]
    [attempt] = caught.value.attempts
    assert attempt.outcome == "cancelled"


def test_closing_while_a_stream_is_mended_begins_no_further_attempt() -> None:
    """What was under way was ended, and the next attempt was begun all the same."""
    back, mended = threading.Event(), threading.Event()

    @provider("first", models=["model"])
    def first(model: str, messages: list[Any], stream: bool) -> Iterator[str]:
        yield "half"
        raise ConnectionLost("cut")

    @provider("second", models=["model"])
    def second(model: str, messages: list[Any], stream: bool) -> Iterator[str]:
        mended.set()
        assert back.wait(5)
        raise RateLimited("slow down")

    third = ScriptedProvider("third")
    targets = ["first/model", "second/model", "third/model"]
    with (
        Router([first, second, third], allow=[], policy={"on_interrupt": "restart"}) as router,
        ThreadPoolExecutor(1) as pool,
    ):
        answer = router.create_completion(targets, USER, stream=True)
        reader = pool.submit(lambda: list(answer.chunks()))
        assert mended.wait(5)
        answer.close()
        back.set()
        with pytest.raises(Cancelled):
            reader.result(5)
    assert not third.calls


def cut(model: str, messages: list[Any], stream: bool) -> Iterator[str]:
    """Half an answer, so that a caller has a stream to close while it is mended."""
    yield "half"
    error = ConnectionLost("cut")
    error.should_retry = False  # else it is tried again after a moment that is drawn
    raise error


def busy(model: str, messages: list[Any], stream: bool) -> Iterator[str]:
    raise RateLimited("slow down", retry_after=5.0)
    yield ""


class Waiting(WireProvider):
    """One whose exchange waits before it sends anything."""

    name = "second"
    models = ("model",)

    def __init__(self, step: Any) -> None:
        self.step = step

    def create_completion(self, model: str, messages: list[Any], stream: bool) -> Iterator[Any]:
        yield self.step


def token(begun: threading.Event, gate: threading.Event) -> Shared:
    """An access token that takes as long as a test likes."""

    def exchange() -> Iterator[Any]:
        yield Call(begun.set)
        yield Call(lambda: gate.wait(10))
        return "token"

    return Shared("token", exchange, ttl=60.0)


SECOND: dict[str, tuple[Any, tuple[str, ...]]] = {
    "back-off": (provider("second", models=["model"])(busy), ("interrupted", "failed")),
    "slot": (ScriptedProvider("second"), ("interrupted",)),
    "wait": (Waiting(Wait(30.0)), ("interrupted", "cancelled")),
    "connect": (Fault.UNREACHABLE, ("interrupted", "cancelled")),
    "handshake": (Fault.TLS_HANG, ("interrupted", "cancelled")),
    "headers": (Fault.SILENCE, ("interrupted", "cancelled")),
}


@pytest.mark.parametrize("wait", SECOND)
def test_closing_wakes_a_thread_in_whichever_wait_it_is(wait: str) -> None:
    """Back-offs, slots and connects were waited out; then an attempt was recorded that never was.

    What mends a stream is in the hands of the thread that reads, and closed by another.
    """
    second, outcomes = SECOND[wait]
    with FaultServer() as server, ThreadPoolExecutor(1) as pool:
        if isinstance(second, Fault):
            second = service("second", server.url_for(second))
        policy = {"on_interrupt": "restart", "connect": 30.0, "queue": 30.0}
        first = provider("first", models=["model"])(cut)
        with Router([first, second], allow=[], policy=policy) as router:
            if wait == "slot":
                assert take(router.state.slots, "second/model", 1)
            targets = [Target("first", "model"), Target("second", "model", max_concurrency=1)]
            answer = router.create_completion(targets, USER, stream=True)
            reader = pool.submit(lambda: list(answer.chunks()))
            time.sleep(0.2)  # it waits by now; were it not to, the close would be easier to obey
            assert not reader.done()
            closed = time.monotonic()
            answer.close()
            with pytest.raises(Cancelled) as caught:
                reader.result(10)
            assert time.monotonic() - closed < PROMPTLY
            assert tuple(each.outcome for each in caught.value.attempts) == outcomes
            assert answer.trace == caught.value.trace
            if wait == "slot":
                router.state.slots.release("second/model")
            assert take(router.state.slots, "second/model", 1), "no slot is lost"


def test_closing_wakes_a_thread_that_waits_for_what_another_fetches() -> None:
    begun, gate = threading.Event(), threading.Event()
    second = Waiting(token(begun, gate))
    first = provider("first", models=["model"])(cut)
    policy = {"on_interrupt": "restart"}
    with (
        Router([first, second], allow=[], policy=policy) as router,
        ThreadPoolExecutor(2) as pool,
    ):
        fetching = pool.submit(router.create_completion, "second/model", USER)
        assert begun.wait(5)
        answer = router.create_completion(["first/model", "second/model"], USER, stream=True)
        reader = pool.submit(lambda: list(answer.chunks()))
        time.sleep(0.1)
        closed = time.monotonic()
        answer.close()
        with pytest.raises(Cancelled):
            reader.result(10)
        assert time.monotonic() - closed < PROMPTLY
        gate.set()
        fetching.result(10)


def test_closing_cuts_a_blocking_provider_at_its_next_piece() -> None:
    at_piece, closed = threading.Event(), threading.Event()
    ended: list[str] = []

    @provider("one", models=["model"])
    def one(model: str, messages: list[Any], stream: bool) -> Iterator[str]:
        try:
            yield "a"
            at_piece.set()
            assert closed.wait(5)
            yield "b"
        finally:
            ended.append("one")

    with Router([one], allow=[]) as router, ThreadPoolExecutor(1) as pool:
        target = Target("one", "model", max_concurrency=1)
        answer = router.create_completion(target, USER, stream=True)
        reader = pool.submit(lambda: [next(answer), next(answer)])
        assert at_piece.wait(5)
        answer.close()
        closed.set()
        with pytest.raises(Cancelled):
            reader.result(5)
        assert ended == ["one"]
        assert take(router.state.slots, "one/model", 1)


# -- async


def in_a_loop(test: Callable[[AsyncRouter], Any], server: FaultServer) -> None:
    async def main() -> None:
        async with AsyncRouter(**settings(server)) as router:
            await test(router)

    asyncio.run(main())


async def begin(router: AsyncRouter) -> Any:
    answer = await router.create_completion("one/model", USER, stream=True)
    assert await anext(answer) == "The"
    return answer


async def freed(server: FaultServer, moment: float) -> float:
    return await asyncio.to_thread(freed_after, server, moment)


async def rest(answer: Any) -> list[str]:
    return [text async for text in answer]


def test_closing_an_async_stream_frees_its_socket_and_keeps_its_usage(server: FaultServer) -> None:
    server.script(counted)

    async def test(router: AsyncRouter) -> None:
        answer = await begin(router)
        closed = time.monotonic()
        await answer.close()
        assert await freed(server, closed) < PROMPTLY
        [attempt] = answer.trace.attempts
        assert attempt.outcome == "cancelled"
        assert attempt.usage == Usage(input_tokens=5, output_tokens=1)

    in_a_loop(test, server)


def test_dropping_an_async_stream_frees_its_socket(server: FaultServer) -> None:
    async def test(router: AsyncRouter) -> None:
        answer = await begin(router)
        gc.disable()
        try:
            del answer
            assert await freed(server, time.monotonic()) < PROMPTLY
        finally:
            gc.enable()

    in_a_loop(test, server)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_cancelling_a_task_frees_its_socket(server: FaultServer, stream: bool) -> None:
    async def call(router: AsyncRouter) -> None:
        answer = await router.create_completion("one/model", USER, stream)
        async for _ in answer:
            continue

    async def test(router: AsyncRouter) -> None:
        task = asyncio.create_task(call(router))
        await asyncio.to_thread(server.wait_for, lambda: server.requests)
        await asyncio.sleep(0.05)  # it may read by now, or yet wait for its headers: both are shown
        cancelled = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await freed(server, cancelled) < PROMPTLY

    in_a_loop(test, server)


def test_closing_wakes_the_task_that_reads(server: FaultServer) -> None:
    """It raised a RuntimeError of asyncio's, and the other task read on."""

    async def test(router: AsyncRouter) -> None:
        answer = await begin(router)

        reader = asyncio.create_task(rest(answer))
        await asyncio.sleep(0.05)
        closed = time.monotonic()
        await answer.close()
        await answer.close()
        with pytest.raises(Cancelled):
            await reader
        assert reader.cancelling() == 0
        assert await freed(server, closed) < PROMPTLY
        [attempt] = answer.trace.attempts
        assert attempt.outcome == "cancelled"

    in_a_loop(test, server)


def test_a_task_that_is_cancelled_too_is_told_so(server: FaultServer) -> None:
    async def test(router: AsyncRouter) -> None:
        answer = await begin(router)
        reader = asyncio.create_task(rest(answer))
        await asyncio.sleep(0.05)
        await answer.close()
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader

    in_a_loop(test, server)


class Counting(Provider):
    """A blocking provider of two pieces; waits for its gate between them."""

    name = "one"
    models = ("model",)

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.begun = 0
        self.ended = threading.Semaphore(0)

    def create_completion(self, model: str, messages: list[Any], stream: bool) -> Iterator[str]:
        self.begun += 1
        try:
            yield "a"
            assert self.gate.wait(10)
            yield "b"
            yield "c"
        finally:
            self.ended.release()


def test_cancelling_ends_a_blocking_provider_at_its_next_piece() -> None:
    one = Counting()

    async def main() -> None:
        async with AsyncRouter([one], allow=[]) as router:
            answer = await router.create_completion("one/model", USER, stream=True)
            await answer.close()
            one.gate.set()
            assert await asyncio.to_thread(one.ended.acquire, timeout=5)

    asyncio.run(main())


def test_a_blocking_provider_that_nobody_waits_for_is_not_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A call that was cancelled while it waited for a thread was made all the same."""
    monkeypatch.setattr("router.client.BLOCKING_THREADS", 1)
    one = Counting()
    one.max_concurrency = 2

    async def main() -> None:
        async with AsyncRouter([one], allow=[]) as router:
            first = await router.create_completion("one/model", USER, stream=True)
            second = asyncio.create_task(router.create_completion("one/model", USER))
            await asyncio.sleep(0.02)  # it stands in line for the only thread
            second.cancel()
            with pytest.raises(asyncio.CancelledError):
                await second
            one.gate.set()
            assert await rest(first) == ["a", "b", "c"]
            third = await router.create_completion("one/model", USER)
            assert third.text == "abc"
            assert one.begun == 2
            assert take(router.state.slots, "one/model", 2), "the cancelled call's slot is free"
            assert take(router.state.slots, "one/model", 2)

    asyncio.run(main())


# -- the process


INTERRUPTED = """
import signal, sys
from routed import service
from router import Router
signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a shell's foreground
with Router([service("one", sys.argv[1])], allow=[], verify=sys.argv[2]) as router:
    print("ready", flush=True)
    try:
        answer = router.create_completion("one/model", [{"role": "user", "content": "x"}], %s)
        for text in answer:
            continue
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        sys.stdin.read()
"""


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_keyboard_interrupt_passes_through_and_frees_the_socket(
    server: FaultServer, stream: bool
) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED % stream, server.url, str(server.authority)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        server.wait_for(lambda: server.requests, timeout=10)
        time.sleep(0.05)  # it reads by now
        interrupted = time.monotonic()
        child.send_signal(signal.SIGINT)
        assert child.stdout.readline() == "interrupted\n"
        assert freed_after(server, interrupted) < PROMPTLY
        assert child.stdin is not None
        child.stdin.close()
        assert child.wait(10) == 0


def test_a_slot_is_free_when_a_call_is_cancelled_while_its_connection_is_saved() -> None:
    """Cancelled in the moment given to the end marker, a call kept its slot for ever."""
    draining = asyncio.Event()

    async def main(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
        async with AsyncRouter([service("one", server.url)], allow=[]) as router:
            finish = router.async_transport.finish

            async def watched(*arguments: Any, **named: Any) -> None:
                draining.set()
                await finish(*arguments, **named)

            monkeypatch.setattr(router.async_transport, "finish", watched)
            target = Target("one", "model", max_concurrency=1)
            answer = await router.create_completion(target, USER, stream=True)
            reader = asyncio.create_task(rest(answer))
            await draining.wait()
            reader.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reader
            assert take(router.state.slots, "one/model", 1)

    def unended(scene: Scene) -> Iterator[bytes | float]:
        yield opened(EVENTS) + b"".join(framed(each) for each in scene.answer.events)
        yield 5.0

    with pytest.MonkeyPatch.context() as monkeypatch, FaultServer(unended) as server:
        asyncio.run(main(server, monkeypatch))


def test_a_call_that_is_cancelled_as_a_slot_is_given_to_it_leaves_it_to_the_next() -> None:
    """The next in line was not woken, and waited for all of `queue` beside a free slot."""

    async def main() -> None:
        async with AsyncRouter([ScriptedProvider("one", ["ok"])], allow=[]) as router:
            target = Target("one", "model", max_concurrency=1)
            assert take(router.state.slots, "one/model", 1)
            first, second = (
                asyncio.create_task(router.create_completion(target, USER, policy={"queue": 30.0}))
                for _ in range(2)
            )
            await asyncio.sleep(0.02)  # both stand in line
            router.state.slots.release("one/model")
            await asyncio.sleep(0)  # the first is woken, but has not run
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            assert (await asyncio.wait_for(second, 5)).text == "ok"

    asyncio.run(main())


def test_a_late_cancel_leaves_a_connection_to_the_next_request() -> None:
    """Closing a stream in a back-off cut the call that had got the attempt's connection."""
    with FaultServer() as server, Router([service("one", server.url)], allow=[]) as router:
        exchanges = []
        for _ in range(2):
            limit = Limit(Policy(), time.monotonic(), None, first_token=False, idle=False)
            exchanges.append(Exchange(limit))
            request = HttpRequest("POST", f"{server.url}/chat/completions", json={"model": "m"})
            assert router.transport.send(request, exchanges[-1]).status == 200
            exchanges[-1].cancel()
        assert server.opened == 1
