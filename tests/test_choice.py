"""Which target a call asks next, what it waits for, and what it is charged for."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from calling import USER
from routed import take

from router import (
    AllTargetsFailed,
    AuthError,
    Completion,
    ConnectionLost,
    RateLimited,
    Router,
    RouterError,
    Target,
    UpstreamError,
    Wait,
    provider,
)
from router.budget import FLOOR
from router.health import CONSECUTIVE, EJECTION
from router.testing import ScriptedProvider, VirtualClock

DOWN = UpstreamError("down")


def routed(*providers: Any, **policy: Any) -> Router:
    """A router under a virtual clock that has run for a while; it backs off for no time."""
    policy = {"retries": 0, **policy}
    clock = VirtualClock()
    clock.advance(1000.0)
    return Router(providers, allow=[], clock=clock, draw=lambda: 0.0, policy=policy)


def left(router: Router) -> int:
    """The extra attempts that the budget grants yet; none is left."""
    return sum(router.state.budget.withdraw(router.clock()) for _ in range(1000))


def ask(router: Router, *names: str | Target) -> Completion | RouterError:
    targets = [f"{name}/model" if isinstance(name, str) else name for name in names]
    try:
        return router.create_completion(targets, USER)
    except RouterError as error:
        return error


def asked(answer: Completion | RouterError) -> list[str]:
    assert answer.trace is not None
    return [attempt.provider for attempt in answer.trace.attempts]


def passed_over(answer: Completion | RouterError) -> list[tuple[str, str]]:
    assert answer.trace is not None
    return [(each.target, each.reason) for each in answer.trace.passed_over]


# -- the budget


def test_a_fallback_to_a_target_in_health_is_free() -> None:
    with routed(ScriptedProvider("first", [DOWN]), ScriptedProvider("second")) as router:
        left(router)
        assert asked(ask(router, "first", "second")) == ["first", "second"]


def test_a_fallback_to_a_target_that_fails_is_charged() -> None:
    shaky = ScriptedProvider("shaky", [DOWN], ["ok"])
    with routed(ScriptedProvider("first", [DOWN]), shaky) as router:
        ask(router, "shaky")
        left(router)
        answer = ask(router, "first", "shaky")
        assert asked(answer) == ["first"]
        assert passed_over(answer) == [("shaky/model", "budget")]


def test_a_fallback_to_an_ejected_target_is_charged() -> None:
    """It is the last resort of a call; without a charge it would be one of every call."""
    ejected = ScriptedProvider("ejected", [DOWN])
    with routed(ScriptedProvider("first", [DOWN]), ejected) as router:
        for _ in range(CONSECUTIVE):
            ask(router, "ejected")
        left(router)
        answer = ask(router, "first", "ejected")
        assert asked(answer) == ["first"]
        assert passed_over(answer) == [("ejected/model", "budget"), ("ejected/model", "cooling")]


def test_the_first_attempt_of_a_call_is_free() -> None:
    shaky = ScriptedProvider("shaky", [DOWN], ["ok"])
    with routed(shaky) as router:
        ask(router, "shaky")
        left(router)
        assert asked(ask(router, "shaky")) == ["shaky"]


def test_the_first_attempt_after_a_wait_is_free() -> None:
    limited = ScriptedProvider("limited", [RateLimited("slow down", retry_after=2.0)], ["back"])
    with routed(limited, deadline=None) as router:
        ask(router, "limited")
        left(router)
        assert asked(ask(router, "limited")) == ["limited"]
        assert router.clock() == 1002.0


@pytest.mark.parametrize(
    "error", [DOWN, ConnectionLost("cut", stale=True)], ids=["back-off", "at once"]
)
def test_a_retry_is_charged(error: RouterError) -> None:
    with routed(ScriptedProvider("one", [error], ["ok"]), retries=1) as router:
        left(router)
        answer = ask(router, "one")
        assert asked(answer) == ["one"]
        assert passed_over(answer) == [("one/model", "budget")]


def test_an_extra_attempt_is_counted_once_charged_or_free() -> None:
    with routed(ScriptedProvider("one", [DOWN]), retries=1) as router:
        assert asked(ask(router, "one")) == ["one", "one"]
        assert left(router) == FLOOR - 1
    first, second, third = (ScriptedProvider(name, [DOWN]) for name in ("first", "second", "third"))
    with routed(first, second, third) as router:
        assert asked(ask(router, "first", "second", "third")) == ["first", "second", "third"]
        assert left(router) == FLOOR - 2


# -- the order


def test_a_retry_at_once_comes_before_the_other_targets() -> None:
    stale = ScriptedProvider("first", [ConnectionLost("cut", stale=True)], ["ok"])
    with routed(stale, ScriptedProvider("second"), retries=1) as router:
        assert asked(ask(router, "first", "second")) == ["first", "first"]


def test_a_target_that_was_ejected_by_a_call_is_retried_by_it() -> None:
    one = ScriptedProvider("one", *[[DOWN]] * CONSECUTIVE, ["ok"])
    with routed(one) as router:
        for _ in range(CONSECUTIVE - 1):
            ask(router, "one")
        answer = router.create_completion("one/model", USER, policy={"retries": 1})
        assert asked(answer) == ["one", "one"]


# -- what is passed over


def test_an_ejected_target_is_told_where_a_later_one_is_asked() -> None:
    with routed(ScriptedProvider("first", [DOWN]), ScriptedProvider("second")) as router:
        for _ in range(CONSECUTIVE):
            ask(router, "first")
        answer = ask(router, "first", "second")
        assert asked(answer) == ["second"]
        assert answer.trace is not None
        [told] = answer.trace.passed_over
        assert told.detail == f"cooling for {EJECTION / 2:.1f} s after UpstreamError"


# -- waits


def test_a_wait_as_long_as_the_longest_is_waited_and_no_longer_one() -> None:
    scripts = [[RateLimited("slow down", retry_after=seconds)] for seconds in (3.0, 3.1)]
    with routed(ScriptedProvider("one", *scripts), retries=1, longest_wait=3.0) as router:
        answer = ask(router, "one")
        assert asked(answer) == ["one", "one"]
        assert router.clock() == 1003.0
        assert asked(ask(router, "one")) == []


def test_a_wait_up_to_the_very_deadline_is_not_begun() -> None:
    limited = ScriptedProvider("one", [RateLimited("slow down", retry_after=3.0)])
    with routed(limited, retries=1, deadline=3.0) as router:
        assert asked(ask(router, "one")) == ["one"]
        assert router.clock() == 1000.0


def test_a_retry_waits_for_what_was_asked_of_another_call() -> None:
    calls = 0

    @provider("one", models=["model"])
    def one(model: str, messages: list[Any], stream: bool) -> Iterator[str]:
        nonlocal calls
        calls += 1
        if calls == 1:
            ask(router, "one")  # another call, which is told to wait
            raise DOWN
        if calls == 2:
            raise RateLimited("slow down", retry_after=5.0)
        yield "back"

    with routed(one) as router:
        answer = router.create_completion("one/model", USER, policy={"retries": 1})
        assert asked(answer) == ["one", "one"]
        assert router.clock() == 1005.0


def test_a_full_target_is_waited_for_where_the_others_are_full_too() -> None:
    """What was passed over as busy is none that could be asked instead."""
    targets = [Target(name, "model", max_concurrency=1) for name in ("first", "second")]
    providers = [ScriptedProvider(name) for name in ("first", "second")]
    with Router(providers, allow=[], policy={"queue": 0.05}) as router:
        for target in targets:
            assert take(router.state.slots, str(target), 1)
        began = router.clock()
        assert passed_over(ask(router, *targets)) == [
            ("first/model", "busy"),
            ("second/model", "busy"),
        ]
        assert router.clock() - began >= 0.05


@pytest.mark.parametrize(
    ("policy", "asked_before"),
    [({}, "away"), ({"attempts": 1}, "calm"), ({"idempotency": "none"}, "calm")],
    ids=["the other stays away", "one attempt", "side effects"],
)
def test_a_first_token_has_no_limit_where_nobody_else_would_be_asked(
    policy: dict[str, Any], asked_before: str
) -> None:
    """The call failed after `first_token`, although nothing was won by giving up."""
    slow = ScriptedProvider("slow", [Wait(70.0), "late"])
    away = ScriptedProvider("away", [AuthError("refused")])
    with routed(slow, away, ScriptedProvider("calm"), **policy) as router:
        ask(router, asked_before)
        names = ["slow/model", f"{asked_before}/model"]
        assert "".join(router.create_completion(names, USER, stream=True)) == "late"


def test_a_first_token_has_its_limit_where_another_is_back_soon() -> None:
    slow = ScriptedProvider("slow", [Wait(70.0), "late"])
    soon = ScriptedProvider("soon", [RateLimited("wait", retry_after=100.0)], ["at last"])
    with routed(slow, soon) as router:
        ask(router, "soon")
        names = ["slow/model", "soon/model"]
        assert "".join(router.create_completion(names, USER, stream=True)) == "at last"


def test_a_full_target_is_waited_for_where_the_others_stay_away() -> None:
    """The call failed at once, as if the other one could be asked instead."""
    full = Target("full", "model", max_concurrency=1)
    away = ScriptedProvider("away", [AuthError("refused")])
    with Router([ScriptedProvider("full"), away], allow=[]) as router:
        ask(router, "away")
        slot = take(router.state.slots, "full/model", 1)
        assert slot is not None
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(ask, router, full, "away")
            with pytest.raises(TimeoutError):
                answer.result(0.05)
            slot.release()
            assert asked(answer.result(5)) == ["full"]


def test_who_is_explained_to_be_next_is_next() -> None:
    """Those that stay away stood before those that are only thought to be ill."""
    providers = [
        ScriptedProvider("long", [RateLimited("wait", retry_after=30.0)], [DOWN]),
        ScriptedProvider("ejected", [DOWN]),
        ScriptedProvider("short", [RateLimited("wait", retry_after=10.0)], [DOWN]),
        ScriptedProvider("calm", [DOWN]),
    ]
    with routed(*providers) as router:
        for name in ("long", "short", *["ejected"] * CONSECUTIVE):
            ask(router, name)
        names = [provider.name for provider in providers]
        explained = router.explain([f"{name}/model" for name in names], USER).targets
        answer = ask(router, *names)
    order = ["calm", "ejected", "short", "long"]
    assert [each.target for each in explained] == [f"{name}/model" for name in order]
    assert asked(answer) == order


def test_a_cooling_target_is_told_once_however_often_it_is_looked_at() -> None:
    away = ScriptedProvider("away", [RateLimited("wait", retry_after=100.0)])
    with routed(away, ScriptedProvider("down", [DOWN]), retries=2) as router:
        ask(router, "away")
        answer = ask(router, "away", "down")
    assert asked(answer) == ["down"] * 3
    assert passed_over(answer) == [("away/model", "cooling")]


def test_a_target_with_other_parameters_is_another() -> None:
    """Two of one name were one in the trace and in what was raised."""
    warm, hot, endless = (
        Target("down", "model", parameters=each)
        for each in ({"temperature": 1}, {"temperature": 9}, {"max_tokens": 0})
    )
    with routed(ScriptedProvider("down", [DOWN])) as router:
        answer = ask(router, hot, endless, warm, "down")
        explained = router.explain([hot, endless, warm, "down/model"], USER)
    assert asked(answer) == ["down", "down"]
    assert isinstance(answer, AllTargetsFailed)
    assert answer.trace is not None
    assert answer.trace.passed_over == explained.passed_over
    assert [each.reason for each in explained.passed_over] == ["value", "value"]
