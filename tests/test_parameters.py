"""What a provider takes is what its signature says, and a call is held against that."""

import functools
import inspect
import json
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, Optional, Union

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from router import FEATURE, TUNING, Kind, Message, Parameters, PluginError
from router.parameters import RESERVED, SYNONYMS, bind, close_matches, read_signature

Temperature = Annotated[float, TUNING, Meta(ge=0, le=2, description="How free to be.")]


class Tool(msgspec.Struct):
    name: str
    inner: "Tool | None" = None


class Plain:
    """A class of a plugin's own, which msgspec does not know."""


def create_completion(
    model: str,
    messages: list,
    stream: bool,
    *,
    temperature: Temperature = 0.4,
    max_tokens: Annotated[int | None, Meta(ge=1)] = None,
    stop: str | list[str] | None = None,
    effort: Annotated[Literal["low", "high"] | None, TUNING] = None,
    tools: list[dict[str, Any]] | None = None,
    anything=None,
):
    """A signature with a bit of everything."""


READ = read_signature(create_completion, "providers.example")


def read(**hints: Any) -> Parameters:
    """What is read of a signature with these parameters; each is a hint, or hint and default."""

    def function(model: str, messages: list, stream: bool): ...

    signature = inspect.signature(function)
    added = []
    for name, given_ in hints.items():
        hint, default = given_ if isinstance(given_, tuple) else (given_, inspect.Parameter.empty)
        function.__annotations__[name] = hint
        added.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default))
    function.__signature__ = signature.replace(parameters=[*signature.parameters.values(), *added])
    return read_signature(function, "mine")


# -- reading


def test_signature_is_read():
    assert [
        (p.name, p.type_name, p.default, p.kind, dict(p.bounds), p.description) for p in READ
    ] == [
        ("temperature", "float", 0.4, Kind.TUNING, {"ge": 0, "le": 2}, "How free to be."),
        ("max_tokens", "int", None, Kind.FEATURE, {"ge": 1}, None),
        ("stop", "str | list", None, Kind.FEATURE, {}, None),
        ("effort", "str", None, Kind.TUNING, {}, None),
        ("tools", "list", None, Kind.FEATURE, {}, None),
        ("anything", "Any", None, Kind.FEATURE, {}, None),
    ]
    assert not READ.open
    assert not READ.typed_messages


def test_signature_as_one_line_is_the_line_that_users_of_g4f_know():
    assert str(READ) == (
        "providers.example supports: (model: str, messages: list, stream: bool, "
        "temperature: float, max_tokens: int, stop: str | list, effort: str, tools: list, "
        "anything: Any)"
    )


def test_open_signature_says_so_in_its_line():
    def open_ended(model: str, messages: list, stream: bool, *, top_k: int = 1, **others: Any): ...

    parameters = read_signature(open_ended, "mine")
    assert parameters.open
    assert str(parameters) == (
        "mine supports: (model: str, messages: list, stream: bool, top_k: int, **)"
    )


def test_parameters_are_a_sequence_and_a_mapping():
    assert len(READ) == 6
    assert "stop" in READ
    assert "model" not in READ
    assert READ["stop"].name == "stop"
    with pytest.raises(KeyError):
        READ["nothing"]


def test_parameter_without_a_default_is_required():
    parameters = read(voice=str, speed=(float, 1.0))
    assert [(p.name, p.required) for p in parameters] == [("voice", True), ("speed", False)]
    assert parameters.json_schema()["required"] == ["voice"]


@pytest.mark.parametrize(
    ("hint", "type_name", "kind", "bounds"),
    [
        (int, "int", FEATURE, {}),
        (Optional[int], "int", FEATURE, {}),  # noqa: UP045
        (Union[int, str, None], "int | str", FEATURE, {}),  # noqa: UP007
        (Annotated[int, TUNING], "int", TUNING, {}),
        (Annotated[int, FEATURE], "int", FEATURE, {}),
        (Annotated[int | None, TUNING, Meta(ge=1)], "int", TUNING, {"ge": 1}),
        (Annotated[int, TUNING, Meta(ge=1)] | None, "int", TUNING, {"ge": 1}),
        (
            Annotated[Annotated[int, Meta(ge=1)], TUNING, Meta(le=9)],
            "int",
            TUNING,
            {"ge": 1, "le": 9},
        ),
        (
            Annotated[str, Meta(min_length=1, pattern="^a")],
            "str",
            FEATURE,
            {"min_length": 1, "pattern": "^a"},
        ),
        (Literal["a", "b"], "str", FEATURE, {}),
        (Literal[1, "a"], "int | str", FEATURE, {}),
        (list[str], "list", FEATURE, {}),
        (dict[str, float], "dict", FEATURE, {}),
        (Sequence[str], "Sequence", FEATURE, {}),
        (Plain, "Plain", FEATURE, {}),
        (Any, "Any", FEATURE, {}),
    ],
    ids=str,
)
def test_hint_is_read(hint, type_name, kind, bounds):
    """Marks inside of a union with None were not seen."""
    (parameter,) = read(x=(hint, None))
    assert (parameter.type_name, parameter.kind, parameter.bounds) == (type_name, kind, bounds)


@pytest.mark.parametrize(
    ("messages", "typed"),
    [
        (list, False),
        (list[dict[str, Any]], False),
        (list[Message], True),
        (Sequence[Message], True),
        ("list[Message]", True),
    ],
)
def test_messages_come_typed_where_the_annotation_says_so(messages, typed):
    def function(model, messages, stream): ...

    function.__annotations__["messages"] = messages
    assert read_signature(function, "mine").typed_messages is typed


def test_signature_of_a_method_and_behind_a_decorator_is_read():
    def traced(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def inner(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return inner

    class Provider:
        @traced
        def create_completion(
            self, model: str, messages: list, stream: bool, *, top_k: int = 5
        ): ...

    assert [p.name for p in read_signature(Provider().create_completion, "mine")] == ["top_k"]


def no_leading(messages: list, model: str, stream: bool): ...
def too_short(model: str, messages: list): ...
def positional_only(model, messages, stream, top_k, /): ...
def starred(model, messages, stream, *more): ...
def takes_policy(model, messages, stream, policy=None): ...
def takes_extra_body(model, messages, stream, *, extra_body=None): ...
def takes_extra_headers(model, messages, stream, extra_headers=None): ...
def unresolved(model: str, messages: list, stream: bool, x: "Nowhere" = 1): ...  # noqa: F821
def unfit(model, messages, stream, x: Annotated[int | str, Meta(ge=0)] = 1): ...
def unfit_list(model, messages, stream, x: Annotated[list[int], Meta(ge=0)] = ()): ...
async def coroutine(model, messages, stream): ...
async def asynchronous(model, messages, stream):
    yield


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (no_leading, "begins with (model, messages, stream)"),
        (too_short, "begins with (model, messages, stream)"),
        (positional_only, "top_k cannot be passed by name"),
        (starred, "more cannot be passed by name"),
        (takes_policy, "policy is a name of the router's own"),
        (takes_extra_body, "extra_body is a name of the router's own"),
        (takes_extra_headers, "extra_headers is a name of the router's own"),
        (unresolved, "an annotation cannot be resolved: name 'Nowhere'"),
        (unfit, "the bounds of x do not fit its type"),
        (unfit_list, "the bounds of x do not fit its type"),
        (coroutine, "create_completion is async"),
        (asynchronous, "create_completion is async"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_signature_that_breaks_the_contract_is_refused(function, why):
    with pytest.raises(PluginError) as caught:
        read_signature(function, "mine")
    assert why in str(caught.value)


# -- JSON Schema


def test_json_schema_says_all():
    assert READ.json_schema() == {
        "type": "object",
        "properties": {
            "temperature": {
                "type": "number",
                "minimum": 0,
                "maximum": 2,
                "description": "How free to be.",
                "default": 0.4,
                "x-kind": "tuning",
            },
            "max_tokens": {"type": "integer", "minimum": 1, "x-kind": "feature"},
            "stop": {
                "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
                "x-kind": "feature",
            },
            "effort": {"enum": ["high", "low"], "x-kind": "tuning"},
            "tools": {"type": "array", "items": {"type": "object"}, "x-kind": "feature"},
            "anything": {"x-kind": "feature"},
        },
        "required": [],
        "additionalProperties": False,
    }


def test_json_schema_of_a_recursive_type_has_its_definitions_where_they_are_looked_for():
    """They lay under each property, where no reference of the whole led."""
    schema = read(tools=(list[Tool], ()), tool=(Tool | None, None)).json_schema()
    references = _values(schema, "$ref")
    assert references
    for reference in references:
        _, where, name = reference.split("/")
        assert "name" in schema[where][name]["properties"]
    assert "$defs" not in json.dumps(schema["properties"]).replace('"#/$defs/', "")


def _values(schema: Any, key: str) -> list[Any]:
    if isinstance(schema, dict):
        found = [schema[key]] if key in schema else []
        return found + [v for inner in schema.values() for v in _values(inner, key)]
    return [v for inner in schema for v in _values(inner, key)] if isinstance(schema, list) else []


@pytest.mark.parametrize(
    "default", [Tool(name="x"), (1, 2), {"a": Tool(name="x")}, Plain(), {1, 2}]
)
def test_json_schema_is_json_whatever_the_default_is(default):
    """A default of a plugin's own type broke the encoder."""
    schema = read(x=(Any, default)).json_schema()
    assert json.loads(json.dumps(schema))["properties"]["x"].keys() <= {"default", "x-kind"}


SCHEMA_TYPES = {"boolean": bool, "integer": int, "number": (int, float), "string": str}


@given(
    st.sampled_from([p.name for p in READ]),
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(-5, 5)
    | st.sampled_from(["low", "x"]),
)
def test_json_schema_allows_what_the_check_takes(name, value):
    """By a reading of the schema that knows no more than ours says."""
    schema = READ[name].json_schema()
    assert (READ[name].check(value) is None) == _allows(schema, value)


def _allows(schema: dict[str, Any], value: Any) -> bool:
    if "anyOf" in schema:
        return any(_allows(each, value) for each in schema["anyOf"])
    if "enum" in schema:
        return value in schema["enum"]
    if (kind := schema.get("type")) is None:
        return True
    if isinstance(value, bool) or not isinstance(value, SCHEMA_TYPES.get(kind, ())):
        return False
    if kind in ("integer", "number"):
        return schema.get("minimum", value) <= value <= schema.get("maximum", value)
    return True


# -- values


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("temperature", "hot", "temperature expects float (ge=0, le=2), not str"),
        (
            "temperature",
            3,
            "float (ge=0, le=2), not int (Expected `float` <= 2.0)",
        ),
        ("temperature", True, "not bool"),
        ("temperature", float("nan"), "temperature holds a number that is not finite"),
        ("temperature", float("inf"), "not finite"),
        ("max_tokens", 0, "max_tokens expects int (ge=1), not int"),
        ("max_tokens", 1.5, "max_tokens expects int (ge=1), not float"),
        ("stop", 5, "stop expects str | list, not int"),
        ("stop", [1], "stop is wrong inside, at stop[0] (Expected `str`, got `int`)"),
        ("effort", "medium", "effort expects str (one of low, high), not str"),
        ("tools", "f", "tools expects list, not str"),
        ("tools", ["f"], "tools is wrong inside, at tools[0] (Expected `object`, got `str`)"),
        ("tools", [{"x": float("nan")}], "tools holds a number that is not finite"),
        ("tools", [{"x": "\ud800"}], "tools holds half of a character"),
        ("anything", {"bias": {"50256": float("-inf")}}, "anything holds a number that is not"),
    ],
)
def test_value_is_refused_with_its_type_and_what_was_expected(name, value, why):
    assert why in READ[name].check(value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 0),
        ("temperature", 2.0),
        ("max_tokens", 1),
        ("stop", "END"),
        ("stop", ["a", "b"]),
        ("stop", ("a",)),
        ("effort", "low"),
        ("tools", [{"type": "function"}]),
        ("anything", object()),
    ],
)
def test_value_is_taken(name, value):
    assert READ[name].check(value) is None


@pytest.mark.parametrize(
    "hint",
    [
        float,
        int,
        bool,
        list[int],
        dict[str, int],
        Literal["a", "b"],
        Literal["a"] | int,
        Annotated[str, Meta(max_length=3)],
        Annotated[str, Meta(pattern="^a$")],
        Plain,
        list[Literal["a"]],
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "value", ["my dog is called Rex", ["my dog is called Rex"], {"my dog is called Rex": "Rex"}]
)
def test_refusal_never_shows_the_value(hint, value):
    """One of several allowed texts was shown as it was given."""
    (parameter,) = read(x=(hint, None))
    assert "Rex" not in (parameter.check(value) or "")


def test_value_of_a_plugins_own_class_is_checked_by_its_class():
    (parameter,) = read(x=(Plain | list[int] | None, None))
    assert parameter.check(Plain()) is None
    assert parameter.check("no") == "x expects Plain | list, not str"


def test_value_without_end_is_refused():
    (parameter,) = read(x=(list[Any], None))
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert parameter.check(deep) == "x is nested too deeply"


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(JSON_VALUES)
def test_value_that_is_taken_can_be_written_as_json(value):
    """msgspec writes a number that is not finite as null, and says nothing."""
    (parameter,) = read(x=(Any, None))
    finite = parameter.check(value) is None
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        assert not finite
    else:
        assert finite


# -- rows and models take away and rename


def test_rows_take_away_and_rename():
    less = READ.without(["effort", "anything"], {"max_tokens": "max_completion_tokens"})
    assert [p.name for p in less] == ["temperature", "max_completion_tokens", "stop", "tools"]
    assert less["max_completion_tokens"].argument == "max_tokens"
    again = less.without(["tools"], {})
    assert [p.name for p in again] == ["temperature", "max_completion_tokens", "stop"]
    assert again.lacking == {"effort", "anything", "tools"}


@pytest.mark.parametrize(
    ("without", "renames", "why"),
    [
        (["top_k"], {}, "takes away or renames top_k, which its create_completion does not have"),
        ([], {"top_k": "k"}, "takes away or renames top_k"),
        ([], {"max_tokens": "stop"}, "renames a parameter to the name of another one"),
        ([], {"max_tokens": "n", "stop": "n"}, "renames a parameter to the name of another one"),
    ],
)
def test_rows_that_name_what_is_not_there_are_refused(without, renames, why):
    with pytest.raises(PluginError, match=why):
        READ.without(without, renames)


# -- names


@pytest.mark.parametrize("group", SYNONYMS, ids=min)
def test_synonyms_are_translated_to_the_targets_own_name(group):
    for own in group:
        parameters = read(**{own: (int, 1)})
        for name in group:
            assert parameters.find(name).name == own
        assert parameters.find("unrelated") is None


def test_own_name_comes_before_a_synonym():
    parameters = read(max_new_tokens=(int, 1), max_tokens=(int, 1))
    assert parameters.find("max_tokens").name == "max_tokens"
    assert parameters.find("max_new_tokens").name == "max_new_tokens"


def test_name_of_the_signature_is_found_behind_its_new_name():
    renamed = READ.without([], {"stop": "halt"})
    assert renamed.find("stop").name == renamed.find("halt").name == "halt"
    assert renamed.find("stop_sequences") is None


def test_reserved_names_are_none_of_the_synonyms():
    assert not set(RESERVED) & {name for group in SYNONYMS for name in group}


@pytest.mark.parametrize(
    ("name", "close"), [("tempreature", "temperature"), ("max_token", "max_tokens"), ("zzz", None)]
)
def test_close_matches(name, close):
    found = close_matches(name, [p.name for p in READ])
    assert (found[0] if found else None) == close


# -- binding a call to a target


def test_bind_gives_the_arguments_of_the_function():
    bound = bind(READ, {"temperature": 1, "max_new_tokens": 5, "stop": "."}, {})
    assert bound.refusal is None
    assert bound.arguments == {"temperature": 1, "max_tokens": 5, "stop": "."}
    assert bound.renamed == {"max_new_tokens": "max_tokens"}
    assert (bound.dropped, bound.unchecked) == ((), ())


def test_bind_translates_to_the_new_name_and_calls_by_the_old_one():
    renamed = READ.without([], {"max_tokens": "max_completion_tokens"})
    for name in ("max_tokens", "max_new_tokens"):
        bound = bind(renamed, {name: 5}, {})
        assert bound.arguments == {"max_tokens": 5}
        assert bound.renamed == {name: "max_completion_tokens"}
    assert bind(renamed, {"max_completion_tokens": 5}, {}).renamed == {}


def test_bind_drops_a_tuning_that_the_target_lacks_and_says_so():
    bound = bind(READ, {"top_k": 4, "stop": "."}, {"top_k": TUNING})
    assert bound.refusal is None
    assert (bound.arguments, bound.dropped) == ({"stop": "."}, ("top_k",))


@pytest.mark.parametrize(
    ("given_", "kinds", "drop", "reason", "refusal"),
    [
        ({"logprobs": True}, {"logprobs": FEATURE}, True, "parameter", "takes no logprobs"),
        ({"top_k": 4}, {"top_k": TUNING}, False, "parameter", "takes no top_k"),
        ({"top_k": 4}, {}, True, "parameter", "takes no top_k"),
        ({"max_tokens": 0}, {}, True, "value", "max_tokens expects int (ge=1)"),
        ({"max_tokens": 1, "num_predict": 1}, {}, True, "parameter", "num_predict is given twice"),
    ],
)
def test_bind_passes_a_target_over(given_, kinds, drop, reason, refusal):
    bound = bind(READ, given_, kinds, drop=drop)
    assert bound.reason == reason
    assert refusal in bound.refusal
    assert bound.arguments == {}


def test_bind_passes_over_a_target_that_needs_what_is_not_given():
    parameters = read(voice=str, speed=(float, 1.0))
    assert bind(parameters, {}, {}).refusal == "needs voice"
    assert bind(parameters, {"voice": "low"}, {}).refusal is None


def test_bind_hands_on_what_an_open_target_does_not_declare():
    def open_ended(model: str, messages: list, stream: bool, *, top_k: int = 1, **others: Any): ...

    parameters = read_signature(open_ended, "mine")
    bound = bind(parameters, {"top_k": 2, "brand_new": [1]}, {})
    assert bound.arguments == {"top_k": 2, "brand_new": [1]}
    assert bound.unchecked == ("brand_new",)
    assert bind(parameters, {"top_k": "x"}, {}).reason == "value"


def test_bind_does_not_hand_an_open_target_what_its_row_took_away():
    """It came back through `**kwargs`, as if nobody had heard of it."""

    def open_ended(model: str, messages: list, stream: bool, *, top_k: int = 1, **others: Any): ...

    parameters = read_signature(open_ended, "mine").without(["top_k"], {})
    assert bind(parameters, {"top_k": 2}, {"top_k": TUNING}).dropped == ("top_k",)
    assert bind(parameters, {"top_k": 2}, {"top_k": FEATURE}).refusal == "takes no top_k"


@pytest.mark.parametrize("name", ["model", "messages", "stream", "policy", "extra_body"])
def test_bind_hands_an_open_target_none_of_the_calls_own_names(name):
    """A target's default parameters could put other messages in the place of the caller's."""

    def open_ended(model: str, messages: list, stream: bool, **others: Any): ...

    assert bind(read_signature(open_ended, "mine"), {name: "x"}, {}).refusal == f"takes no {name}"


NAMES = sorted({name for group in SYNONYMS for name in group} | {p.name for p in READ} | {"zzz"})


@given(
    st.dictionaries(st.sampled_from(NAMES), JSON_VALUES),
    st.dictionaries(st.sampled_from(NAMES), st.sampled_from(list(Kind))),
    st.booleans(),
    st.sets(st.sampled_from([p.name for p in READ])),
)
def test_bind_accounts_for_every_name_or_refuses(given_, kinds, drop, gone):
    parameters = READ.without(gone, {})
    bound = bind(parameters, given_, kinds, drop=drop)
    if bound.refusal is not None:
        assert bound.arguments == {}
        return
    assert bound.arguments.keys() <= {p.argument for p in parameters}
    assert len(bound.arguments) + len(bound.dropped) == len(given_)
    assert bound.renamed.keys() | set(bound.dropped) <= given_.keys()
    for name in bound.dropped:
        assert drop
        assert kinds[name] is TUNING
    for name, value in given_.items():
        if (found := parameters.find(name)) is not None:
            assert bound.arguments[found.argument] is value
            assert found.check(value) is None
