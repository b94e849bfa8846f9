import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router import (
    ConfigError,
    Model,
    ModelNotFound,
    RateLimited,
    Route,
    Router,
    RouterError,
    Target,
    UpstreamError,
)
from router.testing import ScriptedProvider

USER = [{"role": "user", "content": "hello"}]


def made(**routes) -> Router:
    """A router with the providers `one` and `two`, and these routes."""
    one = ScriptedProvider("one", ["1"], models=[Model(id="model", aliases=("tiny",)), "other"])
    return Router([one, ScriptedProvider("two", ["2"])], routes=routes, allow=[])


def test_route_is_a_name_for_targets_in_order():
    failing = ScriptedProvider("failing", [UpstreamError("no")])
    routes = {"chat": ["failing/model", "good/model"]}
    with Router([failing, ScriptedProvider("good")], routes=routes, allow=[]) as r:
        answer = r.create_completion("chat", USER)
    assert [a.target for a in answer.trace.attempts] == ["failing/model", "good/model"]


def test_route_takes_targets_and_bare_names():
    with made(chat=[Target("two", "model"), "other"]) as r:
        explained = r.explain("chat", USER)
    assert [prospect.target for prospect in explained.targets] == ["two/model", "one/other"]


@pytest.mark.parametrize(
    ("name", "route", "why"),
    [
        ("a/b", ["two/model"], "a route's name holds no slash"),
        ("", ["two/model"], "a route's name holds no slash"),
        ("one", ["two/model"], "a provider or a model has that name"),
        ("model", ["two/model"], "a provider or a model has that name"),
        ("tiny", ["two/model"], "a provider or a model has that name"),
        ("chat", [], "has no targets"),
        ("chat", Route(targets=()), "has no targets"),
        ("chat", Route(targets=("one/model",), weights=(1, 2)), "as many weights as targets"),
        ("chat", Route(targets=("one/model",), weights=(0,)), "a weight is a positive number"),
        ("chat", Route(targets=("one/model",), weights=(-1,)), "a weight is a positive number"),
        ("chat", Route(targets=("one/model",), weights=(float("nan"),)), "a positive number"),
        ("chat", Route(targets=("one/model",), policy={"attempts": 0}), "attempts is at least 1"),
        ("chat", Route(targets=("one/model",), policy={"atempts": 3}), "atempts"),
    ],
)
def test_wrong_route_is_refused_when_the_router_is_made(name, route, why):
    with pytest.raises(ConfigError) as caught:
        made(**{name: route})
    assert why in str(caught.value)


@pytest.mark.parametrize(
    "target", ["one/nosuch", "three/model", "nosuch", Target("one", "nosuch"), Target("3", "model")]
)
def test_route_to_what_does_not_exist_is_refused_when_the_router_is_made(target):
    with pytest.raises(ModelNotFound):
        made(chat=[target])


def test_late_plugin_cannot_take_a_routes_name_and_is_gone_again():
    """It was refused and served all the same."""
    with made(chat=["two/model"]) as r:
        for late in (ScriptedProvider("chat"), ScriptedProvider("late", models=["chat"])):
            with pytest.raises(ConfigError, match="a provider or a model has that name"):
                r.register(late)
            with pytest.raises(ModelNotFound):
                r.models(late.name)
        assert r.create_completion("chat", USER).text == "2"


def test_policy_of_a_route_holds_for_its_calls_alone():
    limited = ScriptedProvider("limited", [RateLimited("no")])
    routes = {"once": Route(targets=("limited/model", "good/model"), policy={"attempts": 1})}
    with Router([limited, ScriptedProvider("good")], routes=routes, allow=[]) as r:
        with pytest.raises(RateLimited):
            r.create_completion("once", USER)
        r.reset_health()
        assert r.create_completion("once", USER, policy={"attempts": 2}).text == "ok"
        r.reset_health()
        assert r.create_completion(["limited/model", "good/model"], USER).text == "ok"


def test_weights_draw_the_first_target_by_their_share():
    route = Route(targets=("a", "b", "c"), weights=(6, 3, 1))
    draw = random.Random(7).random
    first = Counter(route.ordered(draw)[0] for _ in range(20_000))
    # Four standard deviations of a share of 0.6 in 20,000 draws are 0.014.
    assert {name: first[name] / 20_000 for name in "abc"} == {
        "a": pytest.approx(0.6, abs=0.014),
        "b": pytest.approx(0.3, abs=0.014),
        "c": pytest.approx(0.1, abs=0.014),
    }


def test_weights_draw_the_second_target_from_those_that_are_left():
    route = Route(targets=("a", "b", "c"), weights=(6, 3, 1))
    draw = random.Random(7).random
    orders = [route.ordered(draw) for _ in range(20_000)]
    behind_a = Counter(order[1] for order in orders if order[0] == "a")
    assert behind_a["b"] / behind_a.total() == pytest.approx(0.75, abs=0.02)


TARGETS = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=6, unique=True)


@given(TARGETS, st.data())
def test_weighted_order_leaves_nobody_out(targets, data):
    weights = [data.draw(st.floats(1e-300, 1e300)) for _ in targets]
    draws = iter(data.draw(st.lists(st.floats(0, 1, exclude_max=True), min_size=6, max_size=6)))
    route = Route(targets=tuple(targets), weights=tuple(weights))
    assert sorted(route.ordered(lambda: next(draws))) == sorted(targets)


@given(TARGETS)
def test_order_without_weights_is_the_order_of_the_targets(targets):
    assert Route(targets=tuple(targets)).ordered(lambda: pytest.fail("drawn")) == targets


def test_routes_error_is_an_error_of_ours():
    assert issubclass(ConfigError, RouterError)
