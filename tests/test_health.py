"""What is remembered of failures: breakers, cooldowns, probes. Time is an argument throughout."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import pytest
from calling import USER
from hypothesis import given
from hypothesis import strategies as st

from router import (
    BadRequest,
    ConnectFailed,
    ModelNotFound,
    Overloaded,
    Provider,
    QuotaExhausted,
    RateLimited,
    Router,
    RouterError,
    UpstreamError,
)
from router.health import (
    CONSECUTIVE,
    EJECTION,
    EJECTION_CAP,
    RATE_MINIMUM,
    RATE_WINDOW,
    SWEEP,
    Health,
    HealthRow,
    Subject,
)
from router.rules import LONG, RULES, rule_for
from router.testing import ScriptedProvider, VirtualClock

FAILED = UpstreamError("broken")
LIMITED = RateLimited("slow down")


def subject(target: str = "one/model", quota: str | None = None) -> Subject:
    """A new object each time: it stands for one attempt."""
    return Subject(target=target, provider=target.partition("/")[0], quota=quota)


def fail(
    health: Health, now: float = 0.0, error: RouterError = FAILED, attempt: Subject | None = None
) -> None:
    health.fail(attempt or subject(), error, rule_for(error, RULES), now)


def eject(health: Health, now: float = 0.0) -> float:
    """Fail until the target cools; when it comes back."""
    for _ in range(CONSECUTIVE):
        fail(health, now)
    return until(health, now)


def until(health: Health, now: float) -> float:
    found = health.cooling(subject(), now)
    assert found is not None
    return found.until


def row(health: Health, now: float = 0.0) -> HealthRow:
    [found] = health.rows(now)
    return found


@pytest.fixture
def health() -> Health:
    """One that draws the longest ejections."""
    return Health(lambda: 1.0)


# -- the breaker opens


def test_failures_in_a_row_open_a_breaker(health: Health) -> None:
    for _ in range(CONSECUTIVE - 1):
        fail(health)
    assert health.cooling(subject(), 0.0) is None
    assert row(health).state == "closed"
    fail(health)
    assert until(health, 0.0) == EJECTION
    assert row(health).state == "open"
    assert row(health).reason == "UpstreamError"
    assert not row(health).commanded


def test_a_success_in_between_starts_the_count_anew(health: Health) -> None:
    """Too few outcomes for a share of failures: that is counted by the next test."""
    assert 2 * CONSECUTIVE - 1 < RATE_MINIMUM
    for _ in range(CONSECUTIVE - 1):
        fail(health)
    health.succeed(subject(), 0.0)
    for _ in range(CONSECUTIVE - 1):
        assert health.cooling(subject(), 0.0) is None
        fail(health)
    assert health.cooling(subject(), 0.0) is None
    assert row(health).consecutive_failures == CONSECUTIVE - 1


@pytest.mark.parametrize("now", [0.0, 1000.0])
def test_half_of_enough_outcomes_failing_opens_a_breaker_too(health: Health, now: float) -> None:
    outcomes = "FS" + "SF" * (RATE_MINIMUM // 2 - 1)
    for outcome in outcomes:
        assert health.cooling(subject(), now) is None
        fail(health, now) if outcome == "F" else health.succeed(subject(), now)
    assert until(health, now) == now + EJECTION


def test_less_than_half_failing_opens_none(health: Health) -> None:
    for outcome in "FS" + "SSF" * RATE_MINIMUM:
        fail(health) if outcome == "F" else health.succeed(subject(), 0.0)
    assert health.cooling(subject(), 0.0) is None


def test_a_breaker_that_closes_forgets_the_failures_that_opened_it(health: Health) -> None:
    back = eject(health)
    for _ in range(RATE_MINIMUM):
        fail(health, 1.0)
    health.succeed(subject(), back)
    fail(health, back)
    assert health.cooling(subject(), back) is None


def test_failures_of_long_ago_count_for_no_share(health: Health) -> None:
    for _ in range(RATE_MINIMUM // 2):
        fail(health)
        health.succeed(subject(), 0.0)
    later = RATE_WINDOW + 1
    for _ in range(3):
        fail(health, later)
        health.succeed(subject(), later)
    assert health.cooling(subject(), later) is None


def test_each_further_ejection_lasts_twice_as_long_up_to_the_cap(health: Health) -> None:
    now, lengths = 0.0, []
    for _ in range(10):
        back = eject(health, now) if not lengths else fail_probe(health, now)
        lengths.append(back - now)
        now = back
    doubled = [EJECTION * 2**n for n in range(10)]
    assert lengths == pytest.approx([min(EJECTION_CAP, each) for each in doubled])


def fail_probe(health: Health, now: float) -> float:
    attempt = subject()
    assert health.begin(attempt, now)
    fail(health, now, attempt=attempt)
    return until(health, now)


def test_after_as_long_in_health_ejections_begin_anew(health: Health) -> None:
    back = eject(health)
    health.succeed(subject(), back)
    again = back + EJECTION_CAP + 1
    assert eject(health, again) - again == EJECTION


def test_a_relapse_soon_after_lasts_longer_than_the_first_time(health: Health) -> None:
    back = eject(health)
    health.succeed(subject(), back)
    assert eject(health, back + 1) - (back + 1) == 2 * EJECTION


@given(st.floats(0, 1, exclude_max=True), st.integers(1, 12))
def test_half_of_an_ejection_is_drawn(draw: float, ejections: int) -> None:
    health, now = Health(lambda: draw), 0.0
    back = eject(health)
    for _ in range(ejections - 1):
        now = back
        back = fail_probe(health, now)
    longest = min(EJECTION_CAP, EJECTION * 2 ** (ejections - 1))
    assert longest / 2 <= back - now <= longest


# -- probes


def test_a_target_that_is_half_open_admits_exactly_one_probe(health: Health) -> None:
    back = eject(health)
    attempts = [subject() for _ in range(3)]
    assert health.cooling(attempts[0], back) is None
    assert [health.begin(each, back) for each in attempts] == [True, False, False]
    assert health.cooling(subject(), back) is not None
    assert row(health, back).state == "half_open"


def test_an_attempt_from_before_the_ejection_is_no_probe(health: Health) -> None:
    """However long it lasts, it keeps nobody from probing."""
    assert health.begin(subject(), 0.0)
    fail(health)
    assert health.begin(subject(), 0.0)
    assert health.begin(subject(), eject(health))


def test_threads_that_come_at_once_get_one_probe_between_them(health: Health) -> None:
    """The look at health and the begin were two steps, and each of several calls probed."""
    back, start = eject(health), threading.Barrier(32)

    def begin(_: int) -> bool:
        start.wait()
        return health.begin(subject(), back)

    with ThreadPoolExecutor(32) as pool:
        assert sum(pool.map(begin, range(32))) == 1


def test_a_probe_that_succeeds_closes_the_breaker(health: Health) -> None:
    back, probe = eject(health), subject()
    assert health.begin(probe, back)
    health.succeed(probe, back)
    assert row(health, back).state == "closed"
    assert health.begin(subject(), back)
    assert health.begin(subject(), back)


def test_after_a_probe_the_next_ejection_has_a_probe_of_its_own(health: Health) -> None:
    back, probe = eject(health), subject()
    assert health.begin(probe, back)
    health.succeed(probe, back)
    again = eject(health, back)
    assert health.begin(subject(), again)


def test_a_probe_that_tells_nothing_makes_room_for_another(health: Health) -> None:
    back, probe = eject(health), subject()
    assert health.begin(probe, back)
    health.release(probe)
    assert row(health, back).state == "half_open"
    assert health.begin(subject(), back)


def test_a_probe_that_begins_to_answer_lets_others_in(health: Health) -> None:
    """A probe that streamed for minutes kept all others away until its end."""
    back, probe = eject(health), subject()
    assert health.begin(probe, back)
    health.answers(probe)
    assert row(health, back).state == "closed"
    assert health.begin(subject(), back)


@pytest.mark.parametrize("by_rate", [False, True])
def test_a_probe_that_breaks_off_ejects_again_for_longer(health: Health, by_rate: bool) -> None:
    """Its first content is no success yet: one failure is enough, of whatever opened it."""
    if by_rate:
        for _ in range(RATE_MINIMUM // 2):
            fail(health)
            health.succeed(subject(), 0.0)
        fail(health)
        back = until(health, 0.0)
    else:
        back = eject(health)
    probe = subject()
    assert health.begin(probe, back)
    health.answers(probe)
    fail(health, back, attempt=probe)
    assert until(health, back) == back + 2 * EJECTION


def test_only_a_probes_content_lets_others_in(health: Health) -> None:
    older = subject()
    health.begin(older, 0.0)
    back = eject(health)
    assert health.begin(subject(), back)
    health.answers(older)
    assert not health.begin(subject(), back)


def test_an_older_attempt_that_ends_does_not_make_room_for_a_second_probe(health: Health) -> None:
    """Any attempt's end let the next probe in, though the first was still under way."""
    older, probe = subject(), subject()
    health.begin(older, 0.0)
    back = eject(health)
    assert health.begin(probe, back)
    health.release(older)
    assert not health.begin(subject(), back)
    assert health.begin(subject(), back, forced=True)
    health.release(probe)
    assert health.begin(subject(), back)


def test_a_probe_ends_also_where_its_host_is_another_by_then(health: Health) -> None:
    """The end was looked for at the new host, and the old one's breaker never closed."""
    health.learn(subject(), "a.example", None)
    back, probe = eject(health), subject()
    assert health.begin(probe, back)
    health.learn(probe, "b.example", None)
    health.release(probe)
    health.learn(probe, "a.example", None)
    assert health.begin(subject(), back)


class Gated(Provider):
    """Fails until its breaker opens, then holds every answer until the gate opens."""

    name = "first"
    models = ("model",)

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.calls = 0

    def create_completion(self, model: str, messages: list[Any], stream: bool) -> Iterator[str]:
        self.calls += 1
        if self.calls <= CONSECUTIVE:
            raise FAILED
        assert self.gate.wait(10)
        yield "back"


def test_of_many_calls_one_probes_and_the_others_go_elsewhere() -> None:
    clock, first, second = VirtualClock(), Gated(), ScriptedProvider("second")
    targets = ["first/model", "second/model"]
    with Router([first, second], allow=[], clock=clock) as router, ThreadPoolExecutor(16) as pool:
        for _ in range(CONSECUTIVE):
            router.create_completion(targets, USER)
        clock.advance(EJECTION)
        calls = [pool.submit(router.create_completion, targets, USER) for _ in range(16)]
        ended = as_completed(calls, timeout=10)
        assert {next(ended).result().target for _ in range(15)} == {"second/model"}
        first.gate.set()
        assert next(ended).result().target == "first/model"
    assert first.calls == CONSECUTIVE + 1


# -- commands


def test_what_the_server_asked_for_is_a_command(health: Health) -> None:
    fail(health, error=RateLimited("slow down", retry_after=7.0))
    found = row(health)
    assert (found.commanded, found.cooling_s, found.reason) == (True, 7.0, "RateLimited")
    assert health.cooling(subject(), 7.0) is None


def test_a_command_stands_before_a_longer_inference(health: Health) -> None:
    eject(health)
    health.learn(subject(), None, "secret#a1b2c3")
    fail(health, error=QuotaExhausted("no money", retry_after=1.0))
    found = health.cooling(subject(), 0.0)
    assert found is not None
    assert (found.commanded, found.until) == (True, 1.0)


@pytest.mark.parametrize("first", [3.0, 30.0])
def test_the_longer_of_two_commands_holds(health: Health, first: float) -> None:
    for seconds in (first, 33.0 - first):
        fail(health, error=RateLimited("slow down", retry_after=seconds))
    assert until(health, 0.0) == 30.0


def test_a_success_does_not_take_a_command_back(health: Health) -> None:
    fail(health, error=RateLimited("slow down", retry_after=30.0))
    health.succeed(subject(), 1.0)
    assert until(health, 1.0) == 30.0


STEPS = st.one_of(
    st.tuples(st.just("pass"), st.floats(0, 400)),
    st.tuples(
        st.just("fail"),
        st.sampled_from(
            [
                FAILED,
                LIMITED,
                RateLimited("slow down", retry_after=3.0),
                RateLimited("slow down", retry_after=300.0),
                QuotaExhausted("no money"),
                ConnectFailed("refused"),
                UpstreamError("broken", retry_after=20.0),
            ]
        ),
    ),
    st.tuples(st.just("begin"), st.booleans()),
    st.tuples(st.just("succeed"), st.none()),
    st.tuples(st.just("answers"), st.none()),
    st.tuples(st.just("release"), st.none()),
)


@given(st.lists(STEPS, max_size=60), st.floats(0, 1, exclude_max=True))
def test_whatever_happens_cooling_only_lengthens_and_one_probe_is_under_way(
    steps: list[tuple[str, Any]], draw: float
) -> None:
    health, now = Health(lambda: draw), 0.0
    running: list[Subject] = []
    probes: list[Subject] = []
    for step, given_ in steps:
        before = health.cooling(subject(), now)
        if step == "pass":
            now += given_
            continue
        if step == "begin":
            attempt, half_open = subject(), "half_open" in states(health, now)
            if health.begin(attempt, now, forced=given_):
                running.append(attempt)
                if half_open and not given_:
                    probes.append(attempt)
            else:
                assert before is not None
        elif step == "succeed":
            health.succeed(subject(), now)
            probes.clear()  # it is open to all again
        elif step == "answers":
            attempt = running[-1] if running else subject()
            health.answers(attempt)
            if attempt in probes:
                probes.clear()  # likewise
        else:
            attempt = running.pop() if running else subject()
            probes = [each for each in probes if each is not attempt]
            if step == "fail":
                health.fail(attempt, given_, rule_for(given_, RULES), now)
                assert_not_shorter(before, health, now)
            else:
                health.release(attempt)
        if "half_open" in states(health, now):
            assert len(probes) <= 1
        for each in health.rows(now):
            assert 0 <= each.cooling_s <= LONG + 1e-6


def states(health: Health, now: float) -> set[str]:
    return {each.state for each in health.rows(now)}


def assert_not_shorter(before: Any, health: Health, now: float) -> None:
    if before is not None and before.until > now:
        after = health.cooling(subject(), now)
        assert after is not None
        assert after.commanded >= before.commanded
        assert after.until >= before.until or not before.commanded


# -- scopes


def test_a_host_that_fails_is_passed_over_for_all_its_models(health: Health) -> None:
    health.learn(subject(), "down.example", None)
    eject(health)
    assert health.cooling(subject("one/other"), 0.0) is not None
    assert health.cooling(subject("two/model"), 0.0) is None
    assert (row(health).scope, row(health).name) == ("host", "down.example")


def test_targets_of_one_provider_at_two_hosts_do_not_fail_together(health: Health) -> None:
    """The last attempt of the provider said where all its targets were."""
    here, there = subject("one/here"), subject("one/there")
    for _ in range(CONSECUTIVE):
        health.learn(there, "up.example", None)
        health.learn(here, "down.example", None)
        fail(health, attempt=here)
    assert health.cooling(here, 0.0) is not None
    assert health.cooling(there, 0.0) is None
    assert (row(health).scope, row(health).name) == ("host", "down.example")


def test_an_attempt_that_went_nowhere_does_not_change_where_a_target_is(health: Health) -> None:
    health.learn(subject(), "down.example", None)
    health.learn(subject(), None, None)
    eject(health)
    assert row(health).scope == "host"


def test_a_key_without_money_is_passed_over_for_all_its_models(health: Health) -> None:
    health.learn(subject(), "up.example", "secret#a1b2c3")
    fail(health, error=QuotaExhausted("no money"))
    assert until(health, 0.0) == LONG
    assert health.cooling(subject("one/other"), 0.0) is not None
    assert (row(health).scope, row(health).name) == ("key", "one:secret#a1b2c3")


def test_targets_of_a_quota_group_cool_together_and_no_others(health: Health) -> None:
    attempt = subject("one/model", quota="shared")
    fail(health, error=LIMITED, attempt=attempt)
    assert health.cooling(subject("two/model", quota="shared"), 0.0) is not None
    assert health.cooling(subject("one/model"), 0.0) is None
    assert (row(health).scope, row(health).name) == ("quota", "shared")


def test_an_attempt_that_is_the_callers_mistake_is_not_remembered(health: Health) -> None:
    fail(health, error=BadRequest("wrong"))
    assert health.rows(0.0) == []


# -- what is told


def test_rows_are_sorted_and_forgotten_by_name(health: Health) -> None:
    for target in ("b/model", "a/model"):
        fail(health, error=LIMITED, attempt=subject(target))
    assert [each.name for each in health.rows(0.0)] == ["a/model", "b/model"]
    health.reset("a/model")
    assert [each.name for each in health.rows(0.0)] == ["b/model"]
    health.reset()
    assert health.rows(0.0) == []


def test_a_command_is_remembered_for_a_while_after_it_is_over(health: Health) -> None:
    fail(health, error=RateLimited("slow down", retry_after=30.0))
    health.succeed(subject(), 30.0 + EJECTION_CAP - 1.0)
    assert len(health.rows(0.0)) == 1
    health.succeed(subject(), 30.0 + EJECTION_CAP)
    assert health.rows(0.0) == []


def test_names_that_nobody_serves_do_not_pile_up(health: Health) -> None:
    """Each left a breaker behind for good, and a name is whatever somebody asks for."""
    for number in range(3 * SWEEP):
        fail(health, 10.0 * number, ModelNotFound("gone"), subject(f"one/{number}"))
        fail(health, 10.0 * number, Overloaded("full"), subject(f"two/{number}"))
        if number % 100 == 0:
            assert len(health.rows(10.0 * number)) <= SWEEP
    latest = {each.name for each in health.rows(30.0 * SWEEP)}
    assert f"one/{3 * SWEEP - 1}" in latest


def test_what_is_long_over_is_forgotten_at_the_next_success(health: Health) -> None:
    fail(health)
    health.succeed(subject(), 1.0)
    assert len(health.rows(1.0)) == 1
    health.succeed(subject(), EJECTION_CAP + 1.0)
    assert health.rows(EJECTION_CAP + 1.0) == []


def test_what_is_forced_on_an_ejected_target_obeys_a_command_that_came_meanwhile() -> None:
    """A call that waited for a slot at an ejected target was sent after its Retry-After."""
    health = Health(lambda: 0.0)
    eject(health)
    assert health.begin(subject(), 0.0, forced=True)
    fail(health, 1.0, RateLimited("slow down", retry_after=30.0))
    assert not health.begin(subject(), 2.0, forced=True)
    assert health.begin(subject(), 31.0, forced=True)
