"""The waits of a call's thread: ended at once by any other, and nobody else pays for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from routed import PROMPTLY

from router import Cancelled, Clock
from router.slots import Slots
from router.testing import VirtualClock
from router.waits import Waits


def sleep(waits: Waits) -> None:
    waits.sleep(Clock(), 30.0)


def wait_for_slot(waits: Waits) -> None:
    slots = Slots()
    assert slots.take("one", 1)
    waits.for_slot(slots, "one", 1, 30.0)


@pytest.mark.parametrize("wait", [sleep, wait_for_slot])
def test_a_cancel_ends_the_wait_that_is_under_way_and_those_to_come(
    wait: Callable[[Waits], None],
) -> None:
    waits = Waits()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wait, waits)
        time.sleep(0.05)  # it waits by now; were it not to, the cancel would be easier to obey
        cancelled = time.monotonic()
        waits.cancel()
        with pytest.raises(Cancelled):
            waiting.result(10)
        assert time.monotonic() - cancelled < PROMPTLY
    with pytest.raises(Cancelled):
        wait(waits)
    assert time.monotonic() - cancelled < PROMPTLY


def test_a_wait_that_nobody_ends_takes_its_time() -> None:
    waits, clock = Waits(), VirtualClock()
    waits.sleep(clock, 3.0)
    waits.sleep(clock, -1.0)
    assert clock.sleeps == [3.0, 0.0]
    began = time.monotonic()
    waits.sleep(Clock(), 0.05)
    assert time.monotonic() - began >= 0.05


def test_a_cancelled_wait_takes_no_time_of_a_virtual_clock() -> None:
    waits, clock = Waits(), VirtualClock()
    waits.cancel()
    with pytest.raises(Cancelled):
        waits.sleep(clock, 3.0)
    assert clock.now() == 0.0


def test_a_free_slot_ends_the_wait_for_it() -> None:
    slots = Slots()
    assert slots.take("one", 1)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(Waits().for_slot, slots, "one", 1, 30.0)
        time.sleep(0.05)
        slots.release("one")
        waiting.result(5)


def test_who_is_cancelled_as_a_slot_is_given_to_it_leaves_it_to_the_next() -> None:
    """The next in line would wait for all of its time beside a free slot."""
    slots, waits, woken = Slots(), Waits(), threading.Event()
    assert slots.take("one", 1)

    class Both(Slots):
        """The slot comes free, and the caller goes away, in the same moment."""

        def wait(self, target: str, limit: int, wake: Callable[[], None]) -> bool:
            waited = slots.wait(target, limit, wake)
            assert slots.wait(target, limit, woken.set)
            slots.release(target)
            waits.cancel()
            return waited

        def leave(self, target: str, wake: Callable[[], None]) -> None:
            slots.leave(target, wake)

    with pytest.raises(Cancelled):
        waits.for_slot(Both(), "one", 1, 30.0)
    assert woken.is_set()
