"""The waits of a call's thread: ended at once by any other, and nobody else pays for it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from routed import PROMPTLY, take

from router import Cancelled, Clock
from router.slots import Slots, Turn
from router.testing import VirtualClock
from router.waits import Waits


def sleep(waits: Waits) -> None:
    waits.sleep(Clock(), 30.0)


def wait_for_slot(waits: Waits) -> None:
    slots = Slots()
    assert take(slots, "one", 1)
    waits.for_slot(slots, Turn("one", 1, math.inf), 30.0)


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
    assert take(slots, "one", 1)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(Waits().for_slot, slots, Turn("one", 1, math.inf), 30.0)
        time.sleep(0.05)
        slots.release("one")
        waiting.result(5)
