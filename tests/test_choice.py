"""Which target a call asks next, what it waits for, and what it is charged for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from calling import USER
from routed import take

from router import (
    Completion,
    ConnectionLost,
    RateLimited,
    Router,
    RouterError,
    Target,
    UpstreamError,
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
