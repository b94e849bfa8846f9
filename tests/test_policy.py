"""How far a call goes: values that make sense, constraints that only narrow, waits that fit."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router import ConfigError, Policy
from router.policy import backoff

PROVIDERS = ("a", "b", "c")
TARGETS = tuple(f"{provider}/{model}" for provider in PROVIDERS for model in ("x", "y"))
NAMES = st.lists(st.sampled_from((*PROVIDERS, *TARGETS)), max_size=4).map(tuple)
TAGS = st.lists(st.sampled_from(["eu", "private", "free"]), max_size=3).map(tuple)
CONSTRAINTS = st.fixed_dictionaries(
    {}, optional={"only": st.none() | NAMES, "never": NAMES, "require": TAGS}
)


def allows(policy: Policy, target: str, tags: tuple[str, ...]) -> bool:
    return policy.forbids((target.partition("/")[0], target), tags) is None


@given(CONSTRAINTS, CONSTRAINTS, CONSTRAINTS, TAGS, st.booleans())
def test_constraints_of_several_policies_allow_what_all_of_them_allow(
    first: Any, second: Any, third: Any, tags: tuple[str, ...], whole: bool
) -> None:
    """Whether the changes are given as a dict or as a whole policy in place of the other."""
    merged = Policy(**first)
    for changes in (second, third):
        merged = merged.with_changes(Policy(**changes) if whole else changes)
    for target in TARGETS:
        each = [allows(Policy(**given_), target, tags) for given_ in (first, second, third)]
        assert allows(merged, target, tags) == all(each)


@given(CONSTRAINTS, CONSTRAINTS)
def test_the_order_in_which_constraints_come_changes_nothing(first: Any, second: Any) -> None:
    one = Policy(**first).with_changes(second)
    other = Policy(**second).with_changes(first)
    for target in TARGETS:
        assert allows(one, target, ()) == allows(other, target, ())


def test_a_model_with_a_slash_is_within_its_provider() -> None:
    policy = Policy(only=("groq",))
    assert allows(policy, "groq/meta-llama/llama-3", ())
    narrowed = policy.with_changes({"only": ["groq/meta-llama/llama-3", "openai"]})
    assert narrowed.only == ("groq/meta-llama/llama-3",)


def test_an_empty_only_allows_nobody() -> None:
    policy = Policy(only=())
    assert not any(allows(policy, target, ()) for target in TARGETS)
    assert policy.with_changes({"only": TARGETS}).only == ()


def test_why_a_target_is_forbidden_is_said() -> None:
    assert Policy(only=("a", "b/x")).forbids(("c", "c/x"), ()) == "not among only=a, b/x"
    assert Policy(only=()).forbids(("c", "c/x"), ()) == "not among only=nothing"
    assert Policy(never=("c",)).forbids(("c", "c/x"), ()) == "never=c"
    assert Policy(require=("eu", "free")).forbids(("c", "c/x"), ("free",)) == "lacks the tag eu"


def test_changes_are_laid_over_what_is_there() -> None:
    policy = Policy(attempts=3, deadline=30.0).with_changes({"deadline": 10, "retries": 0})
    assert (policy.attempts, policy.deadline, policy.retries) == (3, 10.0, 0)
    assert policy.with_changes(None) is policy
    assert policy.with_changes(Policy()) == Policy()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"deadlin": 3}, "deadlin"),
        ({"deadline": 0}, "deadline"),
        ({"deadline": float("inf")}, "deadline"),
        ({"deadline": float("-inf")}, "deadline"),
        ({"idle": float("nan")}, "idle"),
        ({"connect": -1.0}, "connect"),
        ({"total": None}, "total"),
        ({"queue": -0.1}, "queue"),
        ({"backoff_cap": float("inf")}, "backoff_cap"),
        ({"max_cost": -0.1}, "max_cost"),
        ({"max_cost": float("nan")}, "max_cost"),
        ({"attempts": 0}, "attempts"),
        ({"retries": -1}, "retries"),
        ({"on_interrupt": "resume"}, "resume"),
        ({"only": "openai"}, "array"),
        (3, "mapping"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_by_name(changes: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Policy().with_changes(changes)


def test_nothing_is_a_value_where_it_makes_sense() -> None:
    policy = Policy(queue=0, backoff_cap=0, longest_wait=0, retries=0, attempts=1, max_cost=0)
    assert (policy.retries, policy.attempts) == (0, 1)


def test_one_way_to_go_on_is_a_list_of_one() -> None:
    assert Policy(on_interrupt="raise").interrupts == ("raise",)
    assert Policy(on_interrupt=("continue", "restart")).interrupts == ("continue", "restart")


def test_no_deadline_is_a_deadline() -> None:
    assert Policy(deadline=None).deadline is None


DRAWS = st.floats(0, 1, exclude_max=True)


@given(st.integers(0, 10**6), st.floats(0, 1e6), st.floats(0, 1e6), DRAWS)
def test_a_back_off_stays_within_its_bounds_however_many_there_were(
    retry: int, base: float, cap: float, draw: float
) -> None:
    wait = backoff(retry, base, cap, lambda: draw)
    assert 0 <= wait <= cap
    assert wait <= base * 2.0 ** min(retry, 1000)


def test_back_offs_double_up_to_the_cap_and_are_drawn_from_zero() -> None:
    longest = [backoff(retry, 0.5, 8.0, lambda: 1.0) for retry in range(7)]
    assert longest == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]
    assert backoff(3, 0.5, 8.0, lambda: 0.0) == 0.0
    assert backoff(3, 0.5, 8.0, lambda: 0.25) == 1.0
