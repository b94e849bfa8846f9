"""Places at a target: never more than its limit, and to those who have waited longest."""

from __future__ import annotations

import asyncio
import math
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from calling import USER
from hypothesis import given
from hypothesis import strategies as st
from routed import take

from router import AsyncRouter, Target, Wait
from router.slots import Slots, Turn
from router.testing import ScriptedProvider


def turn(limit: int = 1, until: float = math.inf) -> Turn:
    return Turn("one", limit, until)


def test_a_target_gives_out_as_many_as_its_limit() -> None:
    slots = Slots()
    assert [bool(take(slots, "one", 2)) for _ in range(3)] == [True, True, False]
    assert take(slots, "other", 1)
    slots.release("one")
    assert take(slots, "one", 2)


def test_a_slot_is_given_back_once() -> None:
    slots = Slots()
    first, second = take(slots, "one", 2), take(slots, "one", 2)
    assert first is not None
    assert second is not None
    first.release()
    first.release()
    assert take(slots, "one", 2)
    assert not take(slots, "one", 2)


def test_a_free_slot_wakes_the_one_who_has_waited_longest_once() -> None:
    slots, woken = Slots(), list[str]()
    assert take(slots, "one", 1)
    first, second = turn(), turn()
    assert slots.wait(first, partial(woken.append, "a"))
    assert slots.wait(second, partial(woken.append, "b"))
    slots.release("one")
    assert woken == ["a"]
    assert slots.take(first, 0.0)
    slots.release("one")
    assert woken == ["a", "b"]
    assert slots.take(second, 0.0)
    slots.release("one")
    assert woken == ["a", "b"]


def test_a_free_slot_is_kept_for_the_one_who_has_waited_longest() -> None:
    """Who gave a slot back and asked again had it before the woken one came to take it."""
    slots = Slots()
    assert take(slots, "one", 1)
    first = turn()
    assert slots.wait(first, lambda: None)
    slots.release("one")
    assert not take(slots, "one", 1)
    assert slots.wait(turn(), lambda: None)
    assert slots.take(first, 0.0)


def test_nobody_waits_for_what_is_free_already() -> None:
    slots, woken, first = Slots(), list[str](), turn()
    assert not slots.wait(first, partial(woken.append, "a"))
    assert slots.take(first, 0.0)
    slots.release("one")
    assert not woken


def test_who_leaves_is_not_woken() -> None:
    slots, woken, first = Slots(), list[str](), turn()
    assert take(slots, "one", 1)
    assert slots.wait(first, partial(woken.append, "a"))
    assert slots.wait(turn(), partial(woken.append, "b"))
    slots.leave(first)
    slots.release("one")
    assert woken == ["b"]


def test_who_was_woken_and_leaves_wakes_the_next() -> None:
    slots, woken, first, second = Slots(), list[str](), turn(), turn()
    assert take(slots, "one", 1)
    assert slots.wait(first, partial(woken.append, "a"))
    assert slots.wait(second, partial(woken.append, "b"))
    slots.release("one")
    slots.leave(first)
    slots.leave(first)
    assert woken == ["a", "b"]
    slots.leave(second)
    assert take(slots, "one", 1)


def test_one_that_did_not_leave_holds_nobody_up_for_longer_than_it_would_have_waited() -> None:
    """An event loop that stopped in the middle of a call never comes back to leave."""
    slots, woken = Slots(), list[str]()
    assert take(slots, "one", 1)
    assert slots.wait(turn(until=10.0), partial(woken.append, "gone"))
    assert slots.wait(turn(until=20.0), partial(woken.append, "there"))
    slots.release("one")
    assert not slots.take(turn(), 10.0)
    assert not slots.take(turn(), 10.1)
    assert woken == ["gone", "there"]
    assert slots.take(turn(), 20.1)


@given(st.lists(st.sampled_from(["take", "come", "release", "wait", "leave"]), max_size=60))
def test_whatever_happens_the_limit_holds_and_slots_are_taken_in_turn(steps: list[str]) -> None:
    slots, limit, taken = Slots(), 2, 0
    line: list[Turn] = []
    woken: list[Turn] = []
    for step in steps:
        if step == "take":
            new = bool(take(slots, "one", limit))
            assert new == (taken + len(line) < limit)
            taken += new
        elif step == "come" and line:
            came = bool(slots.take(line[-1], 0.0))
            assert came == (taken + len(line) <= limit)
            taken, line = taken + came, line[: len(line) - came]
        elif step == "release" and taken:
            slots.release("one")
            taken -= 1
        elif step == "wait":
            line.append(turn(limit))
            assert slots.wait(line[-1], partial(woken.append, line[-1])) == (
                taken + len(line) > limit
            )
        elif step == "leave" and line:
            slots.leave(line.pop(0))
        assert taken <= limit
        assert all(each.wake is None for each in line[: limit - taken])
        assert all(each.wake is not None for each in line[limit - taken :])
    assert len(set(map(id, woken))) == len(woken)


def test_threads_never_hold_more_than_the_limit_and_all_get_their_turn() -> None:
    slots, lock = Slots(), threading.Lock()
    running = most = 0

    def work(_: int) -> None:
        nonlocal running, most
        mine = turn(3)
        while not slots.take(mine, 0.0):
            woken = threading.Event()
            if slots.wait(mine, woken.set):
                assert woken.wait(10)
        with lock:
            running += 1
            most = max(most, running)
        with lock:
            running -= 1
        slots.release("one")

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(work, range(500)))
    assert most <= 3
    assert [bool(take(slots, "one", 3)) for _ in range(4)] == [True, True, True, False]


def test_calls_that_follow_one_another_leave_their_slot_to_those_who_wait() -> None:
    """A task that called again and again kept the slot, and the others failed as busy."""
    provider = ScriptedProvider("one", [Wait(0.001), "ok"])
    target = Target("one", "model", max_concurrency=1)
    calls: Counter[int] = Counter()

    async def work(router: AsyncRouter, number: int) -> None:
        while sum(calls.values()) < 80:
            await router.create_completion(target, USER)
            calls[number] += 1

    async def main() -> None:
        async with AsyncRouter([provider], allow=[]) as router:
            await asyncio.gather(*(work(router, number) for number in range(8)))

    asyncio.run(main())
    assert max(calls.values()) - min(calls.values()) <= 1
