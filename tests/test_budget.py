"""The budget of extra attempts, against a plain count of the same window."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.budget import FLOOR, SHARE, WINDOW, Budget

MOVES = st.lists(
    st.tuples(
        st.sampled_from(["request", "withdraw", "debit"]),
        st.integers(1, 40),
        st.sampled_from([0.0, 0.0, 0.01, 0.4, 1.0, 3.0, 12.0]),
    ),
    max_size=60,
)


def test_the_floor_is_granted_without_any_requests() -> None:
    budget = Budget()
    granted = sum(budget.withdraw(0.0) for _ in range(1000))
    assert granted == FLOOR * WINDOW


def test_above_the_floor_a_share_of_the_requests_is_granted() -> None:
    budget = Budget()
    for _ in range(10_000):
        budget.request(0.0)
    assert sum(budget.withdraw(0.0) for _ in range(10_000)) == SHARE * 10_000


def test_what_was_free_is_counted_against_what_is_charged() -> None:
    budget = Budget()
    for _ in range(int(FLOOR * WINDOW)):
        budget.debit(0.0)
    assert not budget.withdraw(0.0)


def test_what_is_older_than_the_window_is_forgotten() -> None:
    budget = Budget()
    while budget.withdraw(0.5):
        continue
    assert not budget.withdraw(WINDOW - 0.5)
    assert budget.withdraw(WINDOW + 0.5)


def test_requests_older_than_the_window_earn_nothing() -> None:
    budget = Budget(floor=0.0)
    assert not budget.withdraw(0.0)
    for now in (0.0, WINDOW - 1):
        for _ in range(10):
            budget.request(now)
    assert sum(budget.withdraw(WINDOW) for _ in range(10)) == SHARE * 10


@given(MOVES, st.sampled_from([0.0, 0.2, 1.0]), st.sampled_from([0.0, 0.5, 10.0]))
def test_within_any_window_no_more_is_granted_than_share_or_floor(
    moves: list[tuple[str, int, float]], share: float, floor: float
) -> None:
    budget, now = Budget(share, floor), 100.0
    requests: list[float] = []
    extra: list[float] = []
    for move, times, seconds in moves:
        now += seconds
        for _ in range(times):
            if move == "request":
                budget.request(now)
                requests.append(now)
            elif move == "debit":
                budget.debit(now)
                extra.append(now)
            else:
                # Whole seconds are looked back on: nine of them, and what has passed of this one.
                since = now // 1 - WINDOW + 1
                begun = min(WINDOW, now - requests[0] + 1) if requests else WINDOW
                allowed = max(floor * begun, share * sum(at >= since for at in requests))
                granted = budget.withdraw(now)
                assert granted == (sum(at >= since for at in extra) + 1 <= allowed)
                extra += [now] * granted


@pytest.mark.parametrize("requests", [0, 5_000])
def test_threads_together_get_no_more_than_one_would(requests: int) -> None:
    budget = Budget()

    def work(_: int) -> int:
        for _ in range(requests // 50):
            budget.request(0.0)
        return 0

    def withdraw(_: int) -> int:
        return sum(budget.withdraw(0.0) for _ in range(200))

    with ThreadPoolExecutor(50) as pool:
        list(pool.map(work, range(50)))
        granted = sum(pool.map(withdraw, range(50)))
    assert granted == max(FLOOR * WINDOW, SHARE * requests)


def test_a_clock_read_late_by_another_thread_loses_nothing() -> None:
    """A thread that read the clock before another one may come after it."""
    budget = Budget()
    budget.request(0.0)
    for now in (11.0, 10.9, 11.1, 10.99):
        budget.request(now)
        assert budget.withdraw(now)
    for _ in range(int(FLOOR * WINDOW) - 4):
        assert budget.withdraw(11.2)
    assert not budget.withdraw(11.2)
    assert budget.withdraw(30.0)


def test_a_start_in_the_middle_of_an_outage_is_no_burst() -> None:
    budget = Budget()
    budget.request(50.0)
    assert sum(budget.withdraw(50.0) for _ in range(1000)) == FLOOR
    assert sum(budget.withdraw(52.0) for _ in range(1000)) == 2 * FLOOR
