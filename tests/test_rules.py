"""The table of errors: every error has its row, and the flow does what the row says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import pytest
from calling import Caller

from router import (
    AllTargetsFailed,
    AuthError,
    BadRequest,
    ConnectFailed,
    ConnectionLost,
    Model,
    Overloaded,
    ProtocolError,
    RouterError,
    Rule,
    StreamInterrupted,
    Timeout,
    UpstreamError,
    errors,
)
from router.health import Health, Subject
from router.rules import RULES, Again, Elsewhere, RuleKey, Scope, rule_for
from router.testing import ScriptedProvider

WITHOUT_A_ROW = {
    AllTargetsFailed: "what a call ends with, never an attempt",
    StreamInterrupted: "likewise; its cause has a row",
    errors.PluginLoadError: "as PluginError",
    errors.TransportError: "as RouterError: nobody knows what it was",
}


def kinds(base: type[RouterError] = RouterError) -> Iterator[type[RouterError]]:
    """All errors of the package's own tree."""
    yield base
    for kind in base.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield from kinds(kind)


def test_every_error_has_a_row_or_a_reason_to_have_none() -> None:
    rows = {key for key in RULES if isinstance(key, type)}
    assert rows | WITHOUT_A_ROW.keys() == set(kinds())
    assert not rows & WITHOUT_A_ROW.keys()


def made(key: RuleKey) -> RouterError:
    """An error whose row is that of a key."""
    kind, detail = key if isinstance(key, tuple) else (key, None)
    if kind is Timeout:
        phase: Any = detail if detail in get_args(errors.Phase) else "total"
        return Timeout("slow", phase=phase)
    if detail == "stale":
        return ConnectionLost("closed", stale=True)
    if isinstance(detail, int):
        return kind("failed", status=detail)
    return kind("failed", code=detail)


def name(key: Any) -> str:
    return f"{key[0].__name__}-{key[1]}" if isinstance(key, tuple) else key.__name__


KEYS = pytest.mark.parametrize("key", RULES, ids=name)


@KEYS
def test_each_row_is_found_by_its_error(key: RuleKey) -> None:
    assert rule_for(made(key), RULES) is RULES[key]


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Caller:
    return Caller(request.param)


@KEYS
def test_the_next_target_is_asked_where_the_row_says_so(call: Caller, key: RuleKey) -> None:
    rule = RULES[key]
    first = ScriptedProvider("first", [made(key)], models=[Model(id="model", context_window=10)])
    same = ScriptedProvider("same", models=[Model(id="model", context_window=10)])
    larger = ScriptedProvider("larger", models=[Model(id="model", context_window=100)])
    everyone = [first, same, larger]
    result = call(everyone, [f"{each.name}/model" for each in everyone], policy={"retries": 1})
    asked = {each.name: len(each.calls) for each in everyone}
    if rule.elsewhere == "yes":
        again = rule.again == "at_once"
        assert asked == {"first": 1 + again, "same": 1, "larger": 0}
    else:
        assert asked == {"first": 1, "same": 0, "larger": int(rule.elsewhere == "larger_window")}
    assert (result.error is None) == (rule.elsewhere in ("yes", "larger_window"))


@KEYS
def test_the_same_target_is_asked_again_as_the_row_says(call: Caller, key: RuleKey) -> None:
    rule = RULES[key]
    lonely = ScriptedProvider("lonely", [made(key)], ["back"])
    draws = iter([1.0])
    result = call([lonely], "lonely/model", router={"draw": lambda: next(draws, 0.0)})
    assert len(lonely.calls) == (1 if rule.again == "never" else 2)
    assert (result.error is None) == (rule.again != "never")
    waited = sum(call.clock.sleeps)
    if rule.again in ("once", "last"):
        # One that the rule has kept away for some seconds is not asked before they are over.
        commanded = (rule.seconds or 0.0) if rule.cools != "nothing" else 0.0
        assert waited == pytest.approx(max(rule.base, commanded))
    else:
        assert waited == 0


@KEYS
def test_what_cools_is_what_the_row_says(key: RuleKey) -> None:
    rule, health = RULES[key], Health(lambda: 0.0)
    subject = Subject(target="one/model", provider="one", quota="shared")
    health.learn(subject, "host.example", "secret#a1b2c3")
    health.fail(subject, made(key), rule, 0.0)
    names = {
        "target": "one/model",
        "quota": "shared",
        "host": "host.example",
        "key": "one:secret#a1b2c3",
    }
    rows = [(row.scope, row.name, row.cooling_s, row.commanded) for row in health.rows(0.0)]
    if rule.cools == "nothing":
        assert rows == []
        return
    scope = rule.cools
    assert rows == [(scope, names[scope], rule.seconds or 0.0, rule.seconds is not None)]


def test_a_code_goes_before_a_status_and_both_before_the_class() -> None:
    def rule(base: float) -> Rule:
        return Rule(again="last", elsewhere="yes", cools="nothing", base=base)

    rules: dict[RuleKey, Rule] = {
        (UpstreamError, "mine"): rule(1.0),
        (UpstreamError, 500): rule(2.0),
        UpstreamError: rule(3.0),
        RouterError: rule(4.0),
    }
    found = [
        rule_for(UpstreamError("x", code="mine", status=500), rules),
        rule_for(UpstreamError("x", code="other", status=500), rules),
        rule_for(UpstreamError("x", status=502), rules),
        rule_for(Overloaded("x", status=500), rules),
    ]
    assert [each.base for each in found] == [1.0, 2.0, 3.0, 4.0]


def test_a_class_of_a_plugins_own_has_the_row_of_its_base() -> None:
    class Strange(ProtocolError):
        pass

    assert rule_for(Strange("x"), RULES) is RULES[ProtocolError]
    assert rule_for(Strange("x", code="redirect"), RULES) is RULES[ProtocolError, "redirect"]


def test_a_table_without_a_row_falls_back_to_the_last_one() -> None:
    assert rule_for(BadRequest("x"), {}) is RULES[RouterError]


def test_no_row_says_what_makes_no_sense() -> None:
    for rule in RULES.values():
        assert rule.again in get_args(Again)
        assert rule.elsewhere in get_args(Elsewhere)
        assert rule.cools in get_args(Scope)
        assert rule.seconds is None or (rule.seconds > 0 and rule.cools != "nothing")
        assert rule.base > 0


def test_a_key_that_is_missing_is_not_one_that_was_refused() -> None:
    """It may be set at any time, and nothing was sent."""
    assert rule_for(AuthError("x", code="missing_key"), RULES).cools == "nothing"
    assert rule_for(AuthError("x", code="invalid_api_key"), RULES).cools == "key"


def test_once_is_once_however_many_retries_the_policy_has(call: Caller) -> None:
    """A name that was not found was looked up again as often as the policy retries."""
    lonely = ScriptedProvider("lonely", *[[ConnectFailed("no such name", code="dns")]] * 4)
    call([lonely], "lonely/model", policy={"retries": 3})
    assert len(lonely.calls) == 2


def test_no_retries_is_none_where_the_row_says_once(call: Caller) -> None:
    lonely = ScriptedProvider("lonely", [ConnectFailed("no such name", code="dns")])
    call([lonely], "lonely/model", policy={"retries": 0})
    assert len(lonely.calls) == 1


def test_a_503_is_the_hosts_unless_its_body_means_the_model() -> None:
    assert rule_for(Overloaded("x", status=503), RULES).cools == "host"
    assert rule_for(Overloaded("x", status=503, code="slow_down"), RULES).cools == "target"
    assert rule_for(Overloaded("x", status=529), RULES).cools == "target"
