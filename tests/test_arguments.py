"""Arguments of a wrong type are refused by name, with what was expected and what came."""

from __future__ import annotations

from typing import Any

import pytest
from calling import USER

from router import (
    BadRequest,
    ConfigError,
    Model,
    PluginLoadError,
    Policy,
    Route,
    Router,
    Secret,
    Target,
    provider,
)
from router.testing import ScriptedProvider


@pytest.fixture
def r() -> Router:
    return Router([ScriptedProvider("one")], allow=[])


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"plugins": 5}, "plugins expects Iterable, not int"),
        ({"plugins": None}, "plugins expects Iterable, not NoneType"),
        ({"settings": []}, "settings expects Mapping, not list"),
        ({"settings": {"one": 5}}, "settings is wrong inside, at settings[...]"),
        ({"routes": 5}, "routes expects Mapping, not int"),
        ({"routes": {"a": 5}}, "routes is wrong inside, at routes[...]"),
        ({"routes": {"a": "one/model"}}, "routes is wrong inside, at routes[...]"),
        ({"routes": {"a": [5]}}, "routes is wrong inside, at routes[...][0]"),
        ({"routes": {5: ["one/model"]}}, "routes is wrong inside, at key in routes"),
        (
            {"routes": {"a": Route(targets=5)}},
            "Route: Expected `array`, got `int` - at `$.targets`",
        ),
        ({"routes": {"a": Route(targets=("one/model",), weights=("x",))}}, "at `$.weights[0]`"),
        ({"routes": {"a": [Target("one", 5)]}}, "Target: Expected `str`, got `int` - at `$.model`"),
        ({"order": 5}, "order expects Sequence, not int"),
        ({"order": "one"}, "order expects Sequence, not str"),
        ({"order": [5]}, "order is wrong inside, at order[0]"),
        ({"policy": 5}, "policy expects Policy | Mapping, not int"),
        ({"allow": 5}, "allow expects Iterable, not int"),
        ({"block": [5]}, "allow and block hold names, not int"),
        ({"strict": "yes"}, "strict expects bool, not str"),
        ({"proxies": "http://proxy"}, "proxies expects Mapping, not str"),
        ({"verify": None}, "verify expects bool | str, not NoneType"),
        ({"rules": 5}, "rules expects Mapping, not int"),
        (
            {"rules": {"BadRequest": 5}},
            "rules: a row is of a class of errors",
        ),
        ({"rules": {BadRequest: 5}}, "rules: BadRequest has a int, which is no Rule"),
        ({"tags": {"one": "eu"}}, "tags is wrong inside, at tags[...]"),
        ({"clock": 5}, "clock expects Clock, not int"),
        ({"draw": 5}, "draw expects Callable, not int"),
        ({"environ": 5}, "environ expects Mapping, not int"),
    ],
)
def test_router_is_not_made_with_an_argument_of_a_wrong_type(
    arguments: dict[str, Any], why: str
) -> None:
    """What came was a bare TypeError or AttributeError, or nothing before the first call."""
    with pytest.raises(ConfigError) as caught:
        Router(**{"plugins": [ScriptedProvider("one")], "allow": [], **arguments})
    assert why in str(caught.value)


@pytest.mark.parametrize("name", [5, ["one"], Target("one", "model")])
@pytest.mark.parametrize("method", ["models", "parameters", "refresh_models", "reset_health"])
def test_a_name_is_text(r: Router, method: str, name: Any) -> None:
    with pytest.raises(ConfigError, match=f"expects str, not {type(name).__name__}"):
        getattr(r, method)(name)


def test_parameters_are_those_of_something(r: Router) -> None:
    with pytest.raises(ConfigError, match="name expects str, not NoneType"):
        r.parameters(None)  # type: ignore[arg-type]  # as somebody did


@pytest.mark.parametrize(
    ("target", "why"),
    [
        (Target(5, "model"), "Target: Expected `str`, got `int` - at `$.provider`"),
        (Target("one", None), "Target: Expected `str`, got `null` - at `$.model`"),
        (Target("one", "model", parameters=5), "at `$.parameters`"),
        (Target("one", "model", tags="eu"), "at `$.tags`"),
        (Target("one", "model", max_concurrency="2"), "at `$.max_concurrency`"),
        (Target("one", "model", max_concurrency=0), "Expected `int` >= 1 - at `$.max_concurrency`"),
    ],
)
def test_target_whose_fields_are_of_wrong_types_is_refused(
    r: Router, target: Target, why: str
) -> None:
    for call in (r.explain, r.create_completion):
        with pytest.raises(ConfigError) as caught:
            call([target], USER)
        assert why in str(caught.value)


@pytest.mark.parametrize("model", [None, 5, [], (), {"one/model"}, b"one/model"])
def test_model_of_a_wrong_type_is_refused(r: Router, model: Any) -> None:
    for call in (r.explain, r.create_completion):
        with pytest.raises(BadRequest, match=r"^model "):
            call(model, USER)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"deadline": "60"}, "policy: deadline is a number, not str"),
        ({"attempts": None}, "policy: attempts is a number, not NoneType"),
        ({"max_cost": []}, "policy: max_cost is a number, not list"),
    ],
)
def test_policy_is_not_made_with_a_limit_that_is_no_number(
    fields: dict[str, Any], why: str
) -> None:
    with pytest.raises(ConfigError, match=f"^{why}$"):
        Policy(**fields)


@pytest.mark.parametrize("fields", [{"only": "one"}, {"never": 5}, {"on_interrupt": "stop"}])
def test_policy_whose_fields_are_of_wrong_types_is_refused(
    r: Router, fields: dict[str, Any]
) -> None:
    """`only="one"` allowed the providers `o`, `n` and `e`."""
    with pytest.raises(ConfigError, match=rf"^policy: .* - at `\$\.{next(iter(fields))}`$"):
        r.create_completion("one/model", USER, policy=Policy(**fields))


@pytest.mark.parametrize("policy", [5, "safe", [("deadline", 5)]])
def test_policy_is_one_or_a_mapping(r: Router, policy: Any) -> None:
    with pytest.raises(ConfigError, match=r"^policy is a Policy or a mapping, not "):
        r.create_completion("one/model", USER, policy=policy)


def test_model_that_a_plugin_says_wrongly_is_its_mistake() -> None:
    @provider("odd", models=[Model(id="model", context_window="512")])  # type: ignore[arg-type]
    def odd(model: str, messages: list[Any], stream: bool) -> str:
        return "text"

    with pytest.raises(PluginLoadError, match=r"Model: .*`\$.context_window`"):
        Router([odd], allow=[])


def test_key_is_text() -> None:
    with pytest.raises(ConfigError, match=r"^the key is a str, not int$"):
        Secret(5)  # type: ignore[arg-type]


def test_what_is_missing_or_too_much_is_told_by_python() -> None:
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'name'"):
        Router(allow=[]).parameters()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unexpected keyword argument 'nosuch'"):
        Router(allow=[], nosuch=1)  # type: ignore[call-arg]
