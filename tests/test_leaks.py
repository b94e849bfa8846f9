"""However a call ends, nothing of it stays: no socket, thread, task, slot, turn or probe."""

from __future__ import annotations

import asyncio
import gc
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from calling import USER
from routed import PROMPTLY, service, take

from router import (
    AsyncRouter,
    Call,
    Chunk,
    Provider,
    RateLimited,
    Router,
    RouterError,
    Shared,
    Target,
    Wait,
    WireProvider,
)
from router.testing import Fault, FaultServer, ScriptedProvider

DESCRIPTORS = Path("/proc/self/fd")
SEED = 20261122

FAULTS = (
    *("ok", "ok;seconds=0.003", "http-503", "cut-reset", "stall", "silence", "html-200"),
    *("error-event", "done-no-finish", "truncated-json;chunks=2"),
)
LIMITS = dict.fromkeys(["connect", "first_token", "idle"], 0.3)
POLICY = {**LIMITS, "total": 1.0, "deadline": 3.0, "queue": 0.1, "backoff_cap": 0.05}
LIMIT = 10


def fetched() -> Iterator[Any]:
    """A value that is shared, and soon too old."""
    yield Wait(0.003)
    return "value"


class Waits(WireProvider):
    """One that waits in every way that a wire provider can."""

    name = "waits"
    models = ("m",)

    def create_completion(self, model: str, messages: list[Any], stream: bool) -> Iterator[Any]:
        yield Shared("value", fetched, ttl=0.005)
        yield Call(lambda: time.sleep(0.001))
        yield Wait(0.005)
        yield from "waited"
        yield Chunk(finish_reason="stop")


class Blocks(Provider):
    """One in a thread, with more pieces than a pump takes at once."""

    name = "blocks"
    models = ("m",)

    def create_completion(self, model: str, messages: list[Any], stream: bool) -> Iterator[str]:
        for number in range(200):
            if number % 50 == 0:
                time.sleep(0.002)
            yield "x"


class Twin(Blocks):
    """One that brings an async function."""

    name = "twin"

    async def create_completion_async(self, model: str, messages: list[Any], stream: bool) -> Any:
        for _ in range(8):
            await asyncio.sleep(0.002)
            yield "x"


def targets(draw: random.Random) -> list[Target]:
    names = draw.sample(["one", "two", "nobody", "waits", "blocks", "twin"], 3)
    models = {"one": draw.choice(FAULTS), "two": draw.choice(FAULTS)}
    return [Target(name, models.get(name, "m"), max_concurrency=LIMIT) for name in names]


def asked(draw: random.Random) -> dict[str, Any]:
    ways = ["raise", "restart", "continue", "buffer"]
    return {"messages": USER, "policy": {"on_interrupt": draw.choice(ways)}}


@contextmanager
def served() -> Iterator[list[Any]]:
    """Providers; at the end their servers have no connection left, and the process nothing new."""
    before = held_by_the_process()
    with FaultServer() as first, FaultServer() as second:
        nobody = service("nobody", first.url_for(Fault.UNREACHABLE))
        wires = [service("one", first.url), service("two", second.url), nobody]
        yield [*wires, Waits(), Blocks(), Twin()]
        first.wait_for(lambda: first.closed == first.opened)
        second.wait_for(lambda: second.closed == second.opened)
    comes_to(held_by_the_process, before)


def held_by_the_process() -> tuple[int, int]:
    """Threads and descriptors."""
    gc.collect()
    descriptors = len(list(DESCRIPTORS.iterdir())) if DESCRIPTORS.is_dir() else 0
    return threading.active_count(), descriptors


def held_by_the_router(router: Any) -> tuple[dict[str, int], list[Any]]:
    """Slots that are taken, and breakers that wait for their probe."""
    gc.collect()
    state = router.state
    taken = {name: count for name, count in state.slots._taken.items() if count}
    return taken, [key for key, each in state.health._breakers.items() if each.prober]


def comes_to(tell: Callable[[], Any], expected: Any) -> None:
    """What threads hold that are about to end, they hold for a moment."""
    latest = time.monotonic() + PROMPTLY
    while (told := tell()) != expected:
        assert time.monotonic() < latest, told
        time.sleep(0.01)


# -- threads


def test_64_threads_whose_streams_others_close_leave_nothing() -> None:
    ends: Counter[str] = Counter()
    running: list[Any] = []
    done = threading.Event()

    def close(number: int) -> None:
        draw = random.Random(SEED + number)
        while not done.wait(draw.random() * 0.004):
            with suppress(IndexError):  # none is running
                draw.choice(running).close()

    def read(number: int) -> None:
        draw = random.Random(SEED * number)
        for _ in range(6):
            try:
                answer = router.create_completion(targets(draw), stream=True, **asked(draw))
            except RouterError as error:
                ends[type(error).__name__] += 1
                continue
            running.append(answer)
            try:
                for _ in answer.chunks() if draw.random() < 0.5 else answer:
                    continue
                ends["whole"] += 1
            except RouterError as error:
                ends[type(error).__name__] += 1
            finally:
                running.remove(answer)
                assert all(each.outcome != "running" for each in answer.trace.attempts)

    with served() as providers, Router(providers, allow=[], policy=POLICY) as router:
        with ThreadPoolExecutor(64) as readers, ThreadPoolExecutor(4) as closers:
            closing = [closers.submit(close, number) for number in range(4)]
            try:
                for reading in [readers.submit(read, number) for number in range(64)]:
                    reading.result(60)
            finally:
                done.set()
            assert [each.result(5) for each in closing] == [None] * 4
            del reading
        comes_to(lambda: held_by_the_router(router), ({}, []))
    assert ends["Cancelled"] > 0 < ends["whole"]


# -- signals


class Slow(Waits):
    """One that waits for longer than anybody would."""

    def create_completion(self, model: str, messages: list[Any], stream: bool) -> Iterator[Any]:
        yield Wait(30.0)


PHASES: dict[str, Any] = {
    "connect": Fault.UNREACHABLE,
    "handshake": Fault.TLS_HANG,
    "headers": Fault.SILENCE,
    "body": Fault.STALL(chunks=0),
    "stream": Fault.STALL,
    "wait": Slow(),
    "back-off": ScriptedProvider("waits", [RateLimited("slow", retry_after=9.0)], models=["m"]),
    "slot": ScriptedProvider("waits", models=["m"]),
}


@pytest.mark.parametrize("phase", PHASES)
def test_a_keyboard_interrupt_leaves_nothing_in_whichever_phase(phase: str) -> None:
    main = threading.main_thread().ident
    assert main == threading.get_ident()
    interrupt = threading.Timer(0.15, lambda: signal.pthread_kill(main, signal.SIGINT))
    target, limits = Target("waits", "m", max_concurrency=1), {"connect": 30.0, "queue": 30.0}
    with served(), FaultServer() as server:
        one = PHASES[phase]
        if not isinstance(one, Provider | WireProvider):
            one = service("waits", server.url_for(one))
        with Router([one], allow=[], policy=limits) as router:
            taken = take(router.state.slots, "waits/m", 1) if phase == "slot" else None
            interrupt.start()
            try:
                with pytest.raises(KeyboardInterrupt):
                    list(router.create_completion(target, USER, stream=True))
            finally:
                interrupt.cancel()
                interrupt.join()
            if taken is not None:
                taken.release()
            free = take(router.state.slots, "waits/m", 1)
            assert free is not None
            free.release()
            server.wait_for(lambda: server.closed == server.opened)


# -- tasks


async def read(router: AsyncRouter, draw: random.Random, running: list[Any]) -> str:
    """One call, of any kind, to its end or to where it is left."""
    stream = draw.random() < 0.8
    try:
        answer = await router.create_completion(targets(draw), stream=stream, **asked(draw))
        if not stream or draw.random() < 0.1:  # then it is dropped
            return "whole" if not stream else "dropped"
        running.append(answer)
        try:
            async for _ in answer.chunks() if draw.random() < 0.5 else answer:
                continue
        finally:
            running.remove(answer)
    except RouterError as error:
        return type(error).__name__
    return "whole"


async def read_in_time(router: AsyncRouter, number: int, running: list[Any]) -> str:
    draw = random.Random(SEED * number)
    if draw.random() < 0.6:
        return await read(router, draw, running)
    try:
        async with asyncio.timeout(draw.random() * 0.1):
            return await read(router, draw, running)
    except TimeoutError:
        return "late"


async def every(seconds: Callable[[], float], act: Callable[[], Any]) -> None:
    while True:
        await asyncio.sleep(seconds())
        with suppress(IndexError):  # nothing is running
            await act()


def test_tasks_that_are_cancelled_timed_out_closed_and_dropped_leave_nothing() -> None:
    ends: Counter[str] = Counter()
    complaints: list[Any] = []

    async def main(providers: list[Any]) -> None:
        draw, running = random.Random(SEED), list[Any]()
        asyncio.get_running_loop().set_exception_handler(lambda _, each: complaints.append(each))
        async with AsyncRouter(providers, allow=[], policy=POLICY) as router:
            tasks = [
                asyncio.create_task(read_in_time(router, number, running)) for number in range(300)
            ]

            async def cancel() -> None:
                draw.choice(tasks).cancel()

            others = [
                asyncio.create_task(every(lambda: draw.random() * 0.01, act))
                for act in (cancel, lambda: draw.choice(running).close())
            ]
            for end in await asyncio.gather(*tasks, return_exceptions=True):
                ends["cancelled" if isinstance(end, asyncio.CancelledError) else str(end)] += 1
            for other in others:
                other.cancel()
            await asyncio.wait(others)
            tasks.clear()
            nothing: Any = ({}, [])
            await asyncio.to_thread(comes_to, lambda: held_by_the_router(router), nothing)
            assert not any(
                lock.locked() for locks in router.locks._loops.values() for lock in locks.values()
            )
            assert len(asyncio.all_tasks()) == 1

    with served() as providers:
        asyncio.run(main(providers))
    assert not complaints
    known = {"whole", "dropped", "late", "cancelled", "Cancelled", "StreamInterrupted"}
    assert known <= set(ends)
