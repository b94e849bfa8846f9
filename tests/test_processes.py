"""One router in many threads, event loops and processes: nothing lost, hung, leaked or shared."""

from __future__ import annotations

import asyncio
import gc
import json
import multiprocessing
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog
from calling import USER
from routed import Routed, service, take

from router import (
    AsyncRouter,
    Cancelled,
    Chunk,
    Cleanup,
    ConnectFailed,
    HttpRequest,
    RateLimited,
    Router,
    StreamInterrupted,
    Target,
    WireProvider,
)
from router.testing import Fault, FaultServer, Request, ScriptedProvider

DESCRIPTORS = Path("/proc/self/fd")
HERE = Path(__file__).parent

PATIENCE = 20.0
"""Seconds after which a process counts as hung; it takes well under one."""

# Python 3.12 warns of every fork beside threads. That it works is what is shown here.
forks = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


def said(request: Request) -> list[str]:
    """An answer that its asker knows again: the prompt, in pieces."""
    text: str = request.json["messages"][0]["content"]
    return [text[at : at + 4] for at in range(0, len(text), 4)]


def ask(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


# -- threads


def test_64_threads_get_each_its_own_answer_and_all_is_counted() -> None:
    calls_each, threads = 8, 64
    with FaultServer(answer=said) as first, FaultServer(answer=said) as second:
        limited = Target("one", "http-503", max_concurrency=16)
        targets = [limited, "two/m"]

        def work(thread: int) -> Counter[str]:
            counts: Counter[str] = Counter()
            for number in range(calls_each):
                text = f"thread {thread}, call {number}, and some more to make it long"
                faulty = number % 4 == 0
                model: Any = targets if faulty else ["one/m", "two/m"]
                answer = router.create_completion(model, ask(text), bool(number % 2))
                assert "".join(answer) == text if number % 2 else answer.text == text
                counts.update(attempt.provider for attempt in answer.trace.attempts)
                counts["failed"] += sum(a.outcome == "failed" for a in answer.trace.attempts)
            return counts

        providers = [service("one", first.url), service("two", second.url)]
        with Router(providers, allow=[]) as router, ThreadPoolExecutor(threads) as pool:
            total: Counter[str] = sum(pool.map(work, range(threads)), Counter())
        assert total["one"] == len(first.requests)
        assert total["two"] == len(second.requests)
        assert total["one"] + total["two"] == threads * calls_each + total["failed"]
        faults = Counter(request.fault for request in first.requests)
        assert total["failed"] == faults["http-503"] > 0
        first.wait_for(lambda: first.closed == first.opened <= threads)
        second.wait_for(lambda: second.closed == second.opened <= threads)


def test_a_stream_is_collected_in_the_midst_of_whatever_its_thread_does(
    server: FaultServer,
) -> None:
    """It gave its slot back, which waited for ever for the lock that its own thread held."""
    server.script(*[Fault.STALL] * 20)
    target = Target("one", "m", max_concurrency=20)
    gc.disable()
    try:
        with Router([service("one", server.url)], allow=[]) as router:
            for lock in locks_of(router):
                cycle: list[Any] = [router.create_completion(target, USER, stream=True)]
                cycle.append(cycle)
                del cycle

                def collect(lock: Any) -> None:
                    with lock:
                        gc.collect()

                thread = threading.Thread(target=collect, args=[lock], daemon=True)
                thread.start()
                thread.join(5)
                assert not thread.is_alive()
            assert all(take(router.state.slots, "one/m", 20) for _ in range(20))
    finally:
        gc.enable()


# -- forks


def in_a_fork(work: Callable[[], Any]) -> Any:
    """What a function returns in a forked child; its errors are raised here."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            told = json.dumps({"result": work()})
        except BaseException as error:  # noqa: BLE001  # told to the parent; the child ends here
            told = json.dumps({"error": repr(error)})
        os.write(writing, told.encode())
        os._exit(0)
    os.close(writing)
    try:
        if not select.select([reading], [], [], PATIENCE)[0]:
            os.kill(child, signal.SIGKILL)
            raise TimeoutError("the child hangs")
        with open(reading, closefd=False) as pipe:
            told = json.loads(pipe.read())
    finally:
        os.close(reading)
        os.waitpid(child, 0)
    if "error" in told:
        raise AssertionError(f"in the child: {told['error']}")
    return told["result"]


@forks
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_forked_child_has_connections_of_its_own(server: FaultServer, kind: Any) -> None:
    routed = Routed(kind, [service("one", server.url)])
    with routed:
        routed.call("one/m")

        def call() -> str:
            again = routed if kind == "sync" else Again(routed.router)
            return str(again.call("one/m").completion)

        assert in_a_fork(call) == in_a_fork(call) == str(routed.call("one/m").completion)
    numbers = [request.connection.number for request in server.requests]
    assert numbers == [1, 2, 3, 1]


class Again(Routed):
    """An async router in an event loop of its own."""

    def __init__(self, router: AsyncRouter) -> None:
        self.router = router
        self._runner = asyncio.Runner()


LOCKS = (type(threading.Lock()), type(threading.RLock()))


def locks_of(router: Router) -> list[Any]:
    """Every lock that hangs on a router, as far as the package's own objects hold it."""
    found: list[Any] = []
    seen: set[int] = set()
    queue: list[Any] = [router]
    while queue:
        thing = queue.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, LOCKS):
            found.append(thing)
        own = type(thing).__module__.partition(".")[0] == "router"
        if own or isinstance(thing, dict | list | tuple | deque):
            queue += gc.get_referents(thing)
    return found


@contextmanager
def held_elsewhere(locks: list[Any]) -> Iterator[None]:
    """Another thread holds them."""
    done = threading.Event()

    def hold(held: threading.Event) -> None:
        with ExitStack() as stack:
            for lock in locks:
                stack.enter_context(lock)
            held.set()
            assert done.wait(2 * PATIENCE)

    held = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        holding = pool.submit(hold, held)
        assert held.wait(5)
        try:
            yield
        finally:
            done.set()
            holding.result(5)


@forks
def test_a_lock_that_was_held_at_the_fork_stops_no_child(server: FaultServer) -> None:
    """The thread that held it is not in the child, which waited for it for ever."""
    target = Target("one", "m", max_concurrency=4)
    with Router([service("one", server.url)], allow=[]) as router:
        router.create_completion(target, USER)
        locks = locks_of(router)
        assert len(locks) >= 5
        with held_elsewhere(locks):
            assert in_a_fork(lambda: call(router, target)) == "The sea is 🌊 and deep."
        assert call(router, target) == "The sea is 🌊 and deep."


@forks
def test_a_process_with_busy_threads_may_fork(server: FaultServer) -> None:
    target = Target("one", "m", max_concurrency=64)
    with Router([service("one", server.url)], allow=[]) as router, ThreadPoolExecutor(8) as pool:
        done = threading.Event()

        def busy(_: int) -> int:
            answered = 0
            while not done.is_set():
                answered += call(router, target) == "The sea is 🌊 and deep."
            return answered

        def calls() -> list[str]:
            return [call(router, target) for _ in range(2)]

        working = [pool.submit(busy, number) for number in range(8)]
        try:
            answers = [in_a_fork(calls) for _ in range(6)]
        finally:
            done.set()
        assert all(future.result(PATIENCE) for future in working)
    assert answers == [["The sea is 🌊 and deep."] * 2] * 6


@forks
def test_a_forked_child_begins_without_the_parents_health_and_slots() -> None:
    first = ScriptedProvider("first", ["a", "b"], [RateLimited("slow", retry_after=60.0)], ["c"])
    held = Target("first", "model", max_concurrency=1)
    with Router([first], allow=[], policy={"queue": 0.0, "longest_wait": 0.0}) as router:
        with router.create_completion(held, USER, stream=True):
            # In the child the slot of the parent's stream is free, and the next script is played.
            assert in_a_fork(lambda: refused(router, held)) == "first/model: slow"
        assert refused(router, held)
        assert router.health()
        assert in_a_fork(lambda: [str(each) for each in router.health()]) == []
        assert in_a_fork(lambda: call(router, held)) == "c"
        assert router.health()


def call(router: Router, target: Any) -> str:
    return router.create_completion(target, USER).text


def refused(router: Router, target: Any) -> str:
    with pytest.raises(RateLimited) as caught:
        call(router, target)
    return str(caught.value)


@forks
def test_a_stream_belongs_to_the_process_that_began_it(server: FaultServer) -> None:
    """A child read its parent's socket, and told of the end of its parent's call."""
    server.script(Fault.OK(seconds=0.02))
    one, told = Tidy(service("one", server.url)), list[str]()
    structlog.configure(processors=[lambda _, __, event: told.append(event["event"]) or ""])
    try:
        with Router([one], allow=[]) as router:
            answer = router.create_completion("one/m", USER, stream=True)
            texts = iter(answer)
            assert next(texts) == "The"

            def go_on() -> list[str]:
                told.clear()
                with pytest.raises(Cancelled):
                    next(texts)
                answer.close()
                return told + one.tidied

            in_the_child = in_a_fork(go_on)
            assert "".join(texts) == " sea is 🌊 and deep."
            assert answer.completion.text == "The sea is 🌊 and deep."
        assert one.tidied == ["m"]
    finally:
        structlog.reset_defaults()
    assert "completion_cancelled" not in in_the_child
    assert "m" not in in_the_child


@forks
@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("ending", ["read", "close", "drop"])
def test_a_stream_of_the_parents_is_left_though_its_locks_were_held(
    server: FaultServer, kind: Any, ending: str
) -> None:
    """A child waited for ever for the lock of the parent's health, to say that it had left."""
    server.script(Fault.OK(seconds=0.02))
    target = Target("one", "m", max_concurrency=4)
    with Routed(kind, [service("one", server.url)]) as routed:
        answers = [routed.run(routed.router.create_completion, **streamed(target))]

        def leave() -> None:
            answer = answers.pop()
            if ending == "close":
                asyncio.run(answer.close()) if kind == "async" else answer.close()
            elif ending == "read":
                with pytest.raises(Cancelled):
                    asyncio.run(rest(answer)) if kind == "async" else "".join(answer)
            del answer
            gc.collect()

        with held_elsewhere(locks_of(routed.router)):
            in_a_fork(leave)


def streamed(target: Target) -> dict[str, Any]:
    return {"model": target, "messages": USER, "stream": True}


async def rest(answer: Any) -> str:
    return "".join([text async for text in answer])


class Tidy(WireProvider):
    """Another provider, which leaves a note of what it would clean up."""

    name = "one"
    models = ("m",)

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.tidied: list[str] = []

    def create_completion(self, model: str, messages: list[Any], stream: bool) -> Iterator[Any]:
        yield Cleanup(partial(self.tidied.append, model))
        yield from self.inner.create_completion(model, messages, stream)


@forks
def test_a_child_sends_its_own_cleanups() -> None:
    """The threads that send them are the parent's, and what is left to them is never sent."""

    class Messy(WireProvider):
        name = "messy"
        models = ("m",)

        def create_completion(self, model: str, messages: list[Any], stream: bool) -> Any:
            yield Cleanup(lambda: HttpRequest("POST", server.url, json={"model": "cleanup"}))
            yield "text"
            yield Chunk(finish_reason="stop")

    with FaultServer() as server, Router([Messy()], allow=[]) as router:
        router.create_completion("messy/m", USER)
        server.wait_for(lambda: len(server.requests) == 1)
        time.sleep(0.05)  # its thread is idle again, and so is thought to be in the child

        def clean_up() -> None:
            router.create_completion("messy/m", USER)
            router.close()

        in_a_fork(clean_up)
        assert len(server.requests) == 2
        router.create_completion("messy/m", USER)
        server.wait_for(lambda: len(server.requests) == 3)


@forks
def test_ending_a_stream_frees_its_socket_though_a_child_holds_it_too(server: FaultServer) -> None:
    server.script(Fault.STALL)
    with Router([service("one", server.url)], allow=[]) as router:
        answer = router.create_completion("one/m", USER, stream=True)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.read(reading, 1)
            os._exit(0)
        try:
            answer.close()
            server.wait_for(lambda: server.requests[0].connection.closed_at is not None)
        finally:
            os.write(writing, b".")
            os.waitpid(child, 0)
            os.close(reading)
            os.close(writing)


@forks
def test_children_draw_their_back_offs_by_themselves() -> None:
    with Router([ScriptedProvider()], allow=[]) as router:
        draws = [in_a_fork(router.state.draw) for _ in range(3)]
        assert len({*draws, router.state.draw()}) == 4


@forks
def test_a_child_may_fork_again(server: FaultServer) -> None:
    with Router([service("one", server.url)], allow=[]) as router:

        def twice() -> list[str]:
            return [call(router, "one/m"), in_a_fork(lambda: call(router, "one/m"))]

        assert in_a_fork(twice) == ["The sea is 🌊 and deep."] * 2
    assert sorted(request.connection.number for request in server.requests) == [1, 2]


@forks
def test_an_event_loop_goes_on_though_its_process_forks(server: FaultServer) -> None:
    """The child has the selector in common with it: closing the parent's sockets would show."""
    server.script(Fault.OK(seconds=0.05))

    async def main() -> tuple[str, str]:
        async with AsyncRouter([service("one", server.url)], allow=[]) as router:
            answer = await router.create_completion("one/m", USER, stream=True)
            told = await asyncio.to_thread(in_a_fork, lambda: str(asyncio.run(once(router))))
            gc.collect()
            return "".join([text async for text in answer]), told

    assert asyncio.run(main()) == ("The sea is 🌊 and deep.",) * 2


async def once(router: AsyncRouter) -> str:
    text = (await router.create_completion("one/m", USER)).text
    gc.collect()
    return text


@forks
def test_a_pool_of_forked_processes_shares_a_router(server: FaultServer) -> None:
    with Router([service("one", server.url)], allow=[]) as router:
        call(router, "one/m")
        with multiprocessing.get_context("fork").Pool(
            2, initializer=setattr, initargs=(sys.modules[__name__], "ROUTER", router)
        ) as pool:
            answers = pool.map_async(pooled, range(8)).get(PATIENCE)
        call(router, "one/m")
    assert answers == ["The sea is 🌊 and deep."] * 8
    assert server.requests[-1].connection.number == 1


def pooled(_: int) -> str:
    return call(sys.modules[__name__].ROUTER, "one/m")


# -- many streams


def count() -> tuple[int, int]:
    """Descriptors and threads of this process."""
    gc.collect()
    descriptors = len(list(DESCRIPTORS.iterdir())) if DESCRIPTORS.is_dir() else 0
    return descriptors, threading.active_count()


BEFORE_CONTENT = ("http-503", "reset", "html-200", "cut-chunked;chunks=0", "error-first")
AFTER_CONTENT = (
    *("cut-reset", "cut-length", "error-event", "done-no-finish", "truncated-json;chunks=2"),
)
STREAMS = 1_000


async def stream(router: AsyncRouter, number: int, model: str, all_begun: asyncio.Barrier) -> str:
    """One of many: how it ended, its answer being its own and whole, or told to be broken."""
    text = f"stream {number} has an answer of its own"
    answer = await router.create_completion([f"one/{model}", "two/m"], ask(text), stream=True)
    await all_begun.wait()
    got, broken = "", None
    try:
        async for piece in answer:
            got += piece
    except StreamInterrupted as error:
        broken = error
    assert text.startswith(got)
    if broken is not None:
        assert broken.partial.text == got != text
        return "interrupted"
    assert got == answer.completion.text == text
    return answer.completion.target.partition("/")[0]


def test_a_thousand_streams_at_once_lose_hang_and_leak_nothing() -> None:
    """One in forty fails before its content and is answered elsewhere, one in forty after it."""
    models = ["ok;seconds=0.01"] * STREAMS
    for position, model in enumerate((BEFORE_CONTENT + AFTER_CONTENT) * (STREAMS // 200)):
        models[position * 20] = model

    async def main(models: list[str]) -> Counter[str]:
        all_begun = asyncio.Barrier(len(models))
        async with AsyncRouter(providers, allow=[]) as router:
            streams = (stream(router, *each, all_begun) for each in enumerate(models))
            ends = Counter(await asyncio.gather(*streams))
        assert len(asyncio.all_tasks()) == 1
        return ends

    with FaultServer(answer=said) as first, FaultServer(answer=said) as second:
        providers = [service("one", first.url), service("two", second.url)]
        asyncio.run(main(["http-503"]))  # what is made but once is made
        first.wait_for(lambda: first.closed == 1)
        second.wait_for(lambda: second.closed == 1)
        before = count()
        ends = asyncio.run(main(models))
        first.wait_for(lambda: first.closed == first.opened)
        second.wait_for(lambda: second.closed == second.opened)
        assert count() == before
        assert first.opened + second.opened > STREAMS, "all were open at once"
        faults = Counter(request.fault for request in first.requests[1:])
    assert sum(ends.values()) == STREAMS
    assert ends["interrupted"] == sum(faults[each] for each in AFTER_CONTENT) > 0
    assert ends["two"] >= sum(faults[each] for each in BEFORE_CONTENT) > 0


# -- descriptors


EXHAUSTED = """
import asyncio, json, os, resource, sys
from routed import Routed, service
from router import RouterError

kind, state, url, other = sys.argv[1:]
held, told = [], []
with Routed(kind, [service("one", url), service("two", other)], policy={"retries": 0}) as routed:
    if state == "warm":
        routed.call("two/m")
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    try:
        while True:
            held.append(os.dup(0))
    except OSError:
        pass
    for stream in (False, True):
        error = routed.call("one/m", stream=stream).error
        told.append([type(error).__name__, error and error.code, error and error.possibly_billed])
    told.append(len(routed.router.health()))
    while held:
        os.close(held.pop())
    told.append(str(routed.call("one/m").completion))
    told.append(routed.call("one/m", stream=True).text)
print(json.dumps(told))
"""


@pytest.mark.skipif(not DESCRIPTORS.is_dir(), reason="the limit is that of Linux")
@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize(
    ("state", "host"), [("cold", "127.0.0.1"), ("warm", "127.0.0.1"), ("warm", "localhost")]
)
def test_descriptors_that_run_out_are_nobodys_fault_and_pass(
    server: FaultServer, kind: str, state: str, host: str
) -> None:
    """Even where the transport's own modules are yet to be read. A look-up finds no name then,
    which was held against the host."""
    url = server.url.replace("127.0.0.1", host)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with FaultServer() as other:
        ran = subprocess.run(
            [sys.executable, "-W", "error", "-c", EXHAUSTED, kind, state, url, other.url],
            capture_output=True,
            env=environment,
            text=True,
            timeout=PATIENCE,
        )
    assert ran.returncode == 0, ran.stderr
    whole, stream, cooling, *answers = json.loads(ran.stdout)
    assert whole == stream == ["ConnectFailed", "local", False]
    assert cooling == 0
    assert answers == ["The sea is 🌊 and deep."] * 2


def test_threads_that_run_out_are_nobodys_fault_and_pass(server: FaultServer) -> None:
    """The host was held to be ill when no thread was left that could look its name up."""
    full = ThreadPoolExecutor(1)
    full.shutdown()  # takes no more work, as one that can begin no thread
    url = server.url.replace("127.0.0.1", "localhost")

    async def main() -> None:
        async with AsyncRouter([service("one", url)], allow=[], policy={"retries": 0}) as router:
            loop = asyncio.get_running_loop()
            loop.set_default_executor(full)
            with pytest.raises(ConnectFailed) as told:
                await router.create_completion("one/m", USER)
            assert told.value.code == "local"
            assert not router.health()
            loop.set_default_executor(ThreadPoolExecutor(1))
            assert (await router.create_completion("one/m", USER)).text

    asyncio.run(main())
