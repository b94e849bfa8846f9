"""When an attempt is cut, and what that is called. Time is an argument throughout."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from router import Cancelled, DeadlineExceeded, Policy, Timeout
from router.limit import AFTER_FINISH, Limit

POLICY = Policy(connect=5.0, first_token=20.0, idle=10.0, total=100.0)


def limit(
    policy: Policy = POLICY,
    *,
    now: float = 0.0,
    deadline: float | None = None,
    first_token: bool = True,
    idle: bool = True,
) -> Limit:
    return Limit(policy, now, deadline, first_token=first_token, idle=idle)


def phase(found: Limit, **arguments: Any) -> str:
    """What is said when it runs out."""
    error = found.error(found.until, **arguments)
    assert isinstance(error, Timeout)
    return error.phase


def test_a_stream_is_limited_to_its_first_token_then_between_pieces() -> None:
    stream = limit(now=3.0)
    assert (stream.until, phase(stream)) == (23.0, "first_token")
    stream.alive(15.0)
    assert (stream.until, phase(stream)) == (25.0, "idle")
    stream.alive(24.0)
    assert stream.until == 34.0


def test_a_whole_answer_has_its_total_alone() -> None:
    whole = limit(first_token=False, idle=False)
    whole.alive(50.0)
    whole.ping(60.0)
    assert (whole.until, phase(whole)) == (100.0, "total")


def test_the_last_target_has_no_limit_of_its_own_for_its_first_token() -> None:
    patient = limit(first_token=False)
    assert (patient.until, phase(patient)) == (100.0, "total")
    patient.alive(50.0)
    assert (patient.until, phase(patient)) == (60.0, "idle")


def test_a_keep_alive_counts_between_pieces_and_not_before_the_first() -> None:
    stream = limit()
    stream.ping(10.0)
    assert stream.until == 20.0
    stream.alive(15.0)
    stream.ping(20.0)
    assert stream.until == 30.0


def test_the_total_is_never_moved_and_named_where_it_ran_out() -> None:
    """What ran out was called silence between pieces where the total came first."""
    stream = limit()
    stream.alive(95.0)
    assert (stream.until, phase(stream)) == (100.0, "total")
    hasty = limit(Policy(first_token=20.0, total=10.0))
    assert (hasty.until, phase(hasty)) == (10.0, "total")


def test_the_deadline_of_the_call_comes_before_all() -> None:
    stream = limit(deadline=12.0)
    assert stream.until == 12.0
    assert isinstance(stream.error(12.0), DeadlineExceeded)
    assert stream.error(12.0).possibly_billed
    assert not stream.error(12.0, connecting=True).possibly_billed


def test_connecting_has_a_limit_within_the_others() -> None:
    assert limit().connect_until(3.0) == 8.0
    assert limit(deadline=4.0).connect_until(3.0) == 4.0
    assert phase(limit(), connecting=True) == "connect"
    assert not limit().error(5.0, connecting=True).possibly_billed


def test_a_connection_that_another_limit_cut_does_not_name_its_own() -> None:
    """It said "no connection within 10 s" after the 0.1 s of a total."""
    assert str(limit().error(5.0, connecting=True)) == "no connection within 5 s"
    hasty = limit(Policy(first_token=20.0, total=1.0))
    assert str(hasty.error(1.0, connecting=True)) == "no connection within the limit of the attempt"


def test_a_finished_answer_leaves_a_moment_for_its_end() -> None:
    stream = limit()
    stream.alive(15.0)
    stream.finish(16.0)
    assert stream.until == 16.0 + AFTER_FINISH
    late = limit()
    late.finish(99.0)
    assert late.until == 20.0


def test_what_is_cancelled_stays_so() -> None:
    stream = limit()
    stream.cancel()
    assert stream.until == -math.inf
    stream.alive(15.0)
    stream.ping(16.0)
    stream.finish(17.0)
    assert stream.until == -math.inf
    assert isinstance(stream.error(17.0), Cancelled)


MOVES = st.lists(
    st.tuples(st.sampled_from(["alive", "ping", "finish"]), st.floats(0, 5)), max_size=30
)


@given(MOVES, st.one_of(st.none(), st.floats(0.1, 200)), st.booleans(), st.booleans())
def test_whatever_comes_the_end_is_within_total_and_deadline(
    moves: list[tuple[str, float]], deadline: float | None, first_token: bool, idle: bool
) -> None:
    found, now = limit(deadline=deadline, first_token=first_token, idle=idle), 0.0
    for move, seconds in moves:
        now += seconds
        getattr(found, move)(now)
        assert found.until <= POLICY.total
        assert deadline is None or found.until <= deadline
        assert found.connect_until(now) <= found.until
