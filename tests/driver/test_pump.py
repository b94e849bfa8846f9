"""A blocking provider in a thread: not far ahead of its reader, and gone when that is gone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from calling import USER

from router import AsyncRouter, Cancelled, Overloaded, Provider, Target
from router.driver.pump import AHEAD

PIECES = 20 * AHEAD


class Eager(Provider):
    """One that has its whole answer at once, and tells how far it came."""

    name = "one"
    models = ("model",)
    max_concurrency = 1

    def __init__(self, pieces: int = PIECES) -> None:
        self.pieces = pieces
        self.far = threading.Event()
        self.ended = threading.Event()

    def create_completion(self, model: str, messages: list[Any], stream: bool) -> Iterator[str]:
        try:
            for number in range(self.pieces):
                if number == 3 * AHEAD:
                    self.far.set()
                yield f"{number} "
        finally:
            self.ended.set()


WHOLE = "".join(f"{number} " for number in range(PIECES))


def in_a_loop(one: Any, test: Any, **policy: Any) -> None:
    async def main() -> None:
        async with AsyncRouter([one], allow=[], policy=policy) as router:
            await test(router)

    asyncio.run(main())


async def begin(router: AsyncRouter) -> Any:
    return await router.create_completion("one/model", USER, stream=True)


def test_a_thread_runs_no_further_ahead_than_its_bound() -> None:
    """All of an answer without end was kept for a reader that took a piece now and then."""
    one = Eager()

    async def test(router: AsyncRouter) -> None:
        answer = await begin(router)
        first = await anext(answer)
        assert not await asyncio.to_thread(one.far.wait, 0.2)
        assert first + "".join([text async for text in answer]) == WHOLE
        assert one.far.is_set()

    in_a_loop(one, test)


def test_a_thread_that_waits_for_its_reader_ends_with_the_stream() -> None:
    one = Eager()

    async def test(router: AsyncRouter) -> None:
        answer = await begin(router)
        await asyncio.sleep(0.05)  # the thread waits by now
        await answer.close()
        assert await asyncio.to_thread(one.ended.wait, 5)
        assert (await router.create_completion("one/model", USER)).text == WHOLE

    in_a_loop(one, test)


def test_a_thread_ends_though_its_loop_was_closed_without_a_word(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("router.driver.pump.LOOK", 0.05)
    one = Eager()
    router = AsyncRouter([one], allow=[])
    loop = asyncio.new_event_loop()
    answer = loop.run_until_complete(begin(router))
    loop.close()
    assert one.ended.wait(5)
    del answer


def test_a_thread_waits_for_no_reader_beyond_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """There are but a few threads, for all readers."""
    monkeypatch.setattr("router.driver.pump.LOOK", 0.05)
    one = Eager()

    async def test(router: AsyncRouter) -> None:
        answer = await begin(router)
        assert await asyncio.to_thread(one.ended.wait, 5)
        await answer.close()

    in_a_loop(one, test, total=0.2)


def test_a_reader_that_takes_its_time_is_not_the_providers_silence() -> None:
    one = Eager()

    async def test(router: AsyncRouter) -> None:
        texts = []
        async for text in await begin(router):
            texts.append(text)
            if len(texts) % (4 * AHEAD) == 1:
                await asyncio.sleep(0.2)
        assert "".join(texts) == WHOLE

    in_a_loop(one, test, idle=0.1)


def test_a_thread_that_cannot_be_begun_is_nobodys_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was a RuntimeError of Python's, and the target's slot was gone."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def test(router: AsyncRouter) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            with pytest.raises(Overloaded) as caught:
                await router.create_completion("one/model", USER)
        assert caught.value.code == "local"
        assert caught.value.target == "one/model"
        assert router.health() == []
        assert (await router.create_completion("one/model", USER)).text == WHOLE

    in_a_loop(Eager(), test)


def test_a_router_that_is_closed_leaves_nobody_waiting_for_a_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A call that stood in line waited for all of its limit."""
    monkeypatch.setattr("router.client.BLOCKING_THREADS", 1)
    one = Eager()

    async def main() -> None:
        router = AsyncRouter([one], allow=[], policy={"total": 60.0})
        two = Target("one", "model", max_concurrency=2)
        first = await router.create_completion(two, USER, stream=True)
        second = asyncio.create_task(router.create_completion(two, USER))
        await asyncio.sleep(0.05)  # it stands in line for the only thread
        await router.close()
        with pytest.raises(Cancelled):
            await asyncio.wait_for(second, 5)
        await first.close()
        assert await asyncio.to_thread(one.ended.wait, 5)

    asyncio.run(main())
