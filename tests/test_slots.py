"""Places at a target: never more than its limit, and who waits is woken once and in turn."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from router.slots import Slots


def test_a_target_gives_out_as_many_as_its_limit() -> None:
    slots = Slots()
    assert [bool(slots.take("one", 2)) for _ in range(3)] == [True, True, False]
    assert slots.take("other", 1)
    slots.release("one")
    assert slots.take("one", 2)


def test_a_slot_is_given_back_once() -> None:
    slots = Slots()
    first, second = slots.take("one", 2), slots.take("one", 2)
    assert first is not None
    assert second is not None
    first.release()
    first.release()
    assert slots.take("one", 2)
    assert not slots.take("one", 2)


def test_a_free_slot_wakes_the_one_who_has_waited_longest_once() -> None:
    slots, woken = Slots(), list[str]()
    assert slots.take("one", 1)
    for name in ("a", "b"):
        assert slots.wait("one", 1, partial(woken.append, name))
    slots.release("one")
    assert woken == ["a"]
    assert slots.take("one", 1)
    slots.release("one")
    assert woken == ["a", "b"]
    assert slots.take("one", 1)
    slots.release("one")
    assert woken == ["a", "b"]


def test_nobody_waits_for_what_is_free_already() -> None:
    slots, woken = Slots(), list[str]()
    assert not slots.wait("one", 1, partial(woken.append, "a"))
    assert slots.take("one", 1)
    slots.release("one")
    assert not woken


def test_who_leaves_is_not_woken() -> None:
    slots, woken = Slots(), list[str]()
    slots.take("one", 1)
    first, second = partial(woken.append, "a"), partial(woken.append, "b")
    slots.wait("one", 1, first)
    slots.wait("one", 1, second)
    slots.leave("one", first)
    slots.release("one")
    assert woken == ["b"]


def test_who_was_woken_and_leaves_wakes_the_next() -> None:
    slots, woken = Slots(), list[str]()
    slots.take("one", 1)
    first, second = partial(woken.append, "a"), partial(woken.append, "b")
    slots.wait("one", 1, first)
    slots.wait("one", 1, second)
    slots.release("one")
    slots.leave("one", first)
    assert woken == ["a", "b"]
    slots.leave("one", second)
    assert woken == ["a", "b"]


@given(st.lists(st.sampled_from(["take", "release", "wait", "leave"]), max_size=60))
def test_whatever_happens_the_limit_holds_and_each_free_slot_wakes_the_next(
    steps: list[str],
) -> None:
    slots, limit, taken = Slots(), 2, 0
    waiting: list[int] = []
    woken: list[int] = []
    expected: list[int] = []
    wakes = [partial(woken.append, number) for number in range(len(steps))]
    for number, step in enumerate(steps):
        if step == "take":
            assert bool(slots.take("one", limit)) == (taken < limit)
            taken = min(limit, taken + 1)
        elif step == "release" and taken:
            slots.release("one")
            taken -= 1
            expected += [waiting.pop(0)] if waiting else []
        elif step == "wait":
            assert slots.wait("one", limit, wakes[number]) == (taken >= limit)
            waiting += [number] if taken >= limit else []
        elif step == "leave" and waiting:
            slots.leave("one", wakes[waiting.pop()])
        assert woken == expected


def test_threads_never_hold_more_than_the_limit_and_all_get_their_turn() -> None:
    slots, lock = Slots(), threading.Lock()
    running = most = 0

    def work(_: int) -> None:
        nonlocal running, most
        while not slots.take("one", 3):
            woken = threading.Event()
            if slots.wait("one", 3, woken.set):
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
    assert [bool(slots.take("one", 3)) for _ in range(4)] == [True, True, True, False]
