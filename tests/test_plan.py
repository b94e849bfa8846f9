"""A call, planned: nothing is sent here."""

from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from router import (
    TUNING,
    BadRequest,
    Model,
    ModelNotFound,
    PluginError,
    Provider,
    Router,
    Target,
    UnsupportedParameter,
    WireProvider,
    provider,
)
from router.testing import ScriptedProvider

USER = [{"role": "user", "content": "hello"}]


class Small(Provider):
    """Few parameters, and bounds."""

    name = "small"
    models = ("m", Model(id="cool", without=("temperature",)))

    def create_completion(
        self,
        model: str,
        messages: list,
        stream: bool,
        *,
        temperature: Annotated[float, TUNING, Meta(ge=0, le=1)] = 0.5,
        max_new_tokens: Annotated[int, Meta(ge=1)] = 100,
        repetition_penalty: Annotated[float, TUNING] = 1.0,
    ) -> str:
        raise AssertionError("a plan sends nothing")


class Large(Small):
    """More of them."""

    name = "large"
    models = ("m",)

    def create_completion(
        self,
        model: str,
        messages: list,
        stream: bool,
        *,
        temperature: Annotated[float, TUNING, Meta(ge=0, le=2)] = 1.0,
        max_tokens: int | None = None,
        top_k: Annotated[int | None, TUNING] = None,
        stop: str | list[str] | None = None,
        effort: Annotated[Literal["low", "high"] | None, TUNING] = None,
        tools: list[Any] | None = None,
    ) -> str:
        raise AssertionError("a plan sends nothing")


@provider("open", models=["m"])
def open_ended(model: str, messages: list, stream: bool, *, top_k: int = 1, **others: Any) -> str:
    raise AssertionError("a plan sends nothing")


@provider("wire", models=["m"], wire=True)
def wire(model: str, messages: list, stream: bool) -> Any:
    raise AssertionError("a plan sends nothing")


@provider("demanding", models=["m"])
def demanding(model: str, messages: list, stream: bool, *, voice: str) -> str:
    raise AssertionError("a plan sends nothing")


BOTH = ["small/m", "large/m"]


@pytest.fixture(scope="module")
def r():
    with Router([Small, Large, open_ended, wire, demanding], allow=[]) as router:
        yield router


def plan(router: Router, *targets: str | Target, **arguments: Any):
    return router.explain(list(targets), USER, **arguments)


def taken(explained) -> list[str]:
    return [prospect.target for prospect in explained.targets]


def passed_over(explained) -> list[tuple[str, str, str]]:
    return [(skipped.target, skipped.reason, skipped.detail) for skipped in explained.passed_over]


# -- which targets


@given(st.permutations(["small/m", "small/cool", "large/m", "open/m", "wire/m"]))
def test_targets_keep_the_callers_order(r, targets):
    assert taken(plan(r, *targets)) == targets


def test_target_that_is_named_twice_is_one(r):
    assert taken(plan(r, "large/m", "small/m", Target("large", "m"))) == ["large/m", "small/m"]


def test_targets_that_differ_in_their_parameters_are_several(r):
    """The second was taken for the first, and never asked."""
    warm = [Target("large", "m", {"temperature": each}) for each in (1.0, 0.5, 1.0)]
    assert taken(plan(r, *warm, "large/m")) == ["large/m"] * 3


@pytest.mark.parametrize("model", [[], (), None, 5, {"small/m"}, {"small/m": 1}, iter(["small/m"])])
def test_model_that_names_nothing_is_refused(r, model):
    with pytest.raises(BadRequest, match="model is a name, a Target, or a list of these"):
        r.explain(model, USER)


@pytest.mark.parametrize("each", [None, 5, ["small/m"], b"small/m"])
def test_list_that_holds_no_names_is_refused(r, each):
    with pytest.raises(BadRequest, match=f"model holds a {type(each).__name__}"):
        plan(r, "small/m", each)


def test_target_of_a_broken_plugin_is_passed_over():
    with Router([Small], allow=[]) as r:
        blocked = [info.name for info in r.plugins if info.status == "blocked"]
        if not blocked:
            pytest.skip("pluggable-router is on the path, not installed")
        explained = plan(r, f"{blocked[0]}/m", "small/m")
        assert taken(explained) == ["small/m"]
        ((target, reason, detail),) = passed_over(explained)
        assert (target, reason) == (f"{blocked[0]}/m", "plugin")
        assert "is blocked: not on the allow list" in detail
        with pytest.raises(PluginError, match="is blocked"):
            r.create_completion(f"{blocked[0]}/m", USER)


# -- parameters


def test_names_are_translated_for_each_target(r):
    explained = plan(r, *BOTH, max_new_tokens=5)
    assert [dict(prospect.renamed) for prospect in explained.targets] == [
        {},
        {"max_new_tokens": "max_tokens"},
    ]


def test_tuning_that_a_target_lacks_is_dropped_there(r):
    explained = plan(r, *BOTH, top_k=5, repeat_penalty=1.1)
    assert [prospect.dropped for prospect in explained.targets] == [
        ("top_k",),
        ("repeat_penalty",),
    ]


def test_tuning_that_a_target_lacks_passes_it_over_where_the_policy_says_so(r):
    explained = plan(r, *BOTH, top_k=5, policy={"drop_tunings": False})
    assert taken(explained) == ["large/m"]
    assert passed_over(explained) == [("small/m", "parameter", "takes no top_k")]


def test_tuning_that_a_model_lacks_is_dropped_there_alone(r):
    explained = plan(r, "small/m", "small/cool", temperature=0.1)
    assert [prospect.dropped for prospect in explained.targets] == [(), ("temperature",)]


def test_synonym_is_a_tuning_beside_an_open_target_as_well(r):
    """With an open target in the list, the kind of a synonym was not looked up."""
    explained = plan(r, "small/m", "open/m", "large/m", repeat_penalty=1.1)
    assert taken(explained) == ["small/m", "open/m", "large/m"]
    assert explained.targets[1].unchecked == ("repeat_penalty",)
    assert explained.targets[2].dropped == ("repeat_penalty",)


def test_feature_that_a_target_lacks_passes_it_over(r):
    explained = plan(r, *BOTH, stop=["."])
    assert taken(explained) == ["large/m"]
    assert passed_over(explained) == [("small/m", "parameter", "takes no stop")]


def test_value_that_a_target_would_refuse_passes_it_over(r):
    explained = plan(r, *BOTH, temperature=1.5)
    assert taken(explained) == ["large/m"]
    assert passed_over(explained) == [
        (
            "small/m",
            "value",
            "temperature expects float (ge=0, le=1), not float (Expected `float` <= 1.0)",
        )
    ]


def test_parameter_that_a_target_needs_passes_it_over(r):
    explained = plan(r, "demanding/m", "small/m")
    assert passed_over(explained) == [("demanding/m", "parameter", "needs voice")]
    assert taken(plan(r, "demanding/m", voice="low")) == ["demanding/m"]


def test_none_is_not_given(r):
    explained = plan(r, *BOTH, stop=None, nonsense=None)
    assert taken(explained) == BOTH
    assert explained.targets[0].dropped == ()


def test_open_target_takes_what_nobody_knows_and_the_others_do_not(r):
    explained = plan(r, "open/m", "small/m", brand_new=1)
    assert explained.targets[0].unchecked == ("brand_new",)
    assert taken(explained) == ["open/m"]
    assert passed_over(explained) == [("small/m", "parameter", "takes no brand_new")]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("tempreature", "did you mean temperature?"),
        ("max_token", "did you mean max_tokens"),
        ("stopp", "did you mean stop"),
        ("extra_boddy", "did you mean extra_body"),
        ("zzz", "they take effort, max_new_tokens, max_tokens, repetition_penalty, stop"),
    ],
)
def test_parameter_that_no_target_knows_is_an_error_with_the_close_ones(r, name, told):
    with pytest.raises(UnsupportedParameter) as caught:
        plan(r, *BOTH, **{name: 1})
    assert str(caught.value).startswith(f"no target of this call takes {name!r}: ")
    assert told in str(caught.value)
    assert str(caught.value).endswith("what is too new for that goes into extra_body")


def test_call_that_no_target_takes_names_what_each_expected(r):
    with pytest.raises(UnsupportedParameter) as caught:
        r.create_completion(BOTH, USER, temperature="hot")
    assert str(caught.value).splitlines() == [
        "no target takes this call:",
        "  small/m: temperature expects float (ge=0, le=1), not str (Expected `float`, got `str`)",
        "  large/m: temperature expects float (ge=0, le=2), not str (Expected `float`, got `str`)",
    ]
    assert [skipped.target for skipped in caught.value.trace.passed_over] == BOTH
    assert caught.value.attempts == ()


def test_call_that_its_one_target_does_not_take_says_why(r):
    with pytest.raises(UnsupportedParameter) as caught:
        r.create_completion("large/m", USER, effort="my dog is called Rex")
    assert str(caught.value) == "large/m: effort expects str (one of low, high), not str"


class Picky(Small):
    """Takes a temperature only of a short answer, and a stop of none that is warm."""

    name = "picky"
    models = ("m",)

    def create_completion(
        self,
        model: str,
        messages: list,
        stream: bool,
        *,
        temperature: Annotated[float | None, TUNING] = None,
        max_tokens: int = 10,
        stop: str | None = None,
    ) -> str:
        return f"{temperature} {max_tokens}"

    def unfit(self, model: str, messages: Any, arguments: Any) -> dict[str, str]:
        assert [message.text for message in messages] == ["hello"]
        unfit = {"temperature": "beside so many tokens"} if arguments["max_tokens"] > 100 else {}
        return unfit | ({"stop": "beside temperature"} if "temperature" in arguments else {})


def test_tuning_that_does_not_go_with_the_rest_is_dropped_and_told():
    with Router([Picky], allow=[]) as r:
        done = r.create_completion("picky/m", USER, temperature=0.5, max_tokens=200)
        assert done.text == "None 200"
        assert done.trace.attempts[0].dropped == ("temperature",)
        assert r.create_completion("picky/m", USER, temperature=0.5, max_tokens=9).text == "0.5 9"


def test_feature_that_does_not_go_with_the_rest_passes_the_target_over():
    with Router([Picky, Large], allow=[]) as r:
        warm = {"temperature": 0.5, "max_tokens": 9}
        explained = plan(r, "picky/m", "large/m", stop=".", **warm)
        assert passed_over(explained) == [
            ("picky/m", "parameter", "takes no stop beside temperature")
        ]
        long = {**warm, "max_tokens": 200}
        explained = plan(r, "picky/m", "large/m", policy={"drop_tunings": False}, **long)
        assert passed_over(explained) == [
            ("picky/m", "parameter", "takes no temperature beside so many tokens")
        ]


def test_plugin_that_fails_to_say_what_goes_together_is_passed_over():
    with Router([Picky, Large], allow=[]) as r:
        explained = plan(r, "picky/m", "large/m", temperature=0.5)  # its own KeyError
        assert taken(explained) == ["large/m"]
        assert passed_over(explained) == [("picky/m", "plugin", "KeyError: 'max_tokens'")]


# -- a target's own parameters


def test_targets_parameters_are_defaults_that_the_caller_overrules(r):
    seen = []

    @provider("noting", models=["m"])
    def noting(model: str, messages: list, stream: bool, *, a: int = 0, b: int = 0) -> str:
        seen.append((a, b))
        return "ok"

    with Router([noting], allow=[]) as router:
        target = Target("noting", "m", {"a": 1, "b": 1})
        router.create_completion(target, USER)
        router.create_completion(target, USER, b=2)
    assert seen == [(1, 1), (1, 2)]


def test_callers_parameter_overrules_a_targets_default_by_another_name(r):
    """Both were given, under two names, so the target was passed over."""
    target = Target("large", "m", {"max_completion_tokens": 5})
    explained = plan(r, target, max_new_tokens=9)
    assert taken(explained) == ["large/m"]
    assert dict(explained.targets[0].renamed) == {"max_new_tokens": "max_tokens"}


def test_wrong_default_of_a_target_passes_it_over(r):
    target = Target("small", "m", {"nonsense": 1})
    explained = plan(r, target, "large/m")
    assert passed_over(explained) == [("small/m", "parameter", "takes no nonsense")]


# -- what else a call asks


@pytest.mark.parametrize("extras", [{"extra_body": {"a": 1}}, {"extra_headers": {"X-A": "1"}}])
def test_extras_go_to_targets_that_send_requests_through_the_router(r, extras):
    explained = plan(r, "small/m", "wire/m", **extras)
    assert taken(explained) == ["wire/m"]
    assert passed_over(explained) == [
        ("small/m", "parameter", "takes no extra_body or extra_headers")
    ]
    assert isinstance(wire, WireProvider)


# Beyond ASCII: one transport failed on it, as if the target had, and the other sent it as UTF-8.
@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "\x00", 5, None, "日本", "é"])
def test_header_that_cannot_be_sent_is_refused(r, value):
    with pytest.raises(BadRequest, match="extra_headers: 'X-A' is no header that can be sent"):
        plan(r, "wire/m", extra_headers={"X-A": value})


@pytest.mark.parametrize("name", ["", "a: b", "a b", "a\r\nb", "é", 5, None, b"a"])
def test_header_whose_name_is_none_is_refused(r, name):
    with pytest.raises(BadRequest, match="extra_headers: a name in it is none"):
        plan(r, "wire/m", extra_headers={name: "1"})


@pytest.mark.parametrize(
    "name", ["Host", "content-length", "Transfer-Encoding", "CONNECTION", "TE", "Expect", "Upgrade"]
)
def test_header_that_is_the_transports_own_is_refused(r, name):
    """One made the server wait for a body that never came, or read the next request as it."""
    with pytest.raises(BadRequest, match=f"extra_headers: '{name}' is the transport's") as caught:
        plan(r, "wire/m", extra_headers={"X-A": "1", name: "4711"})
    assert "4711" not in str(caught.value)


@pytest.mark.parametrize("name", ["extra_body", "extra_headers"])
def test_extras_that_are_no_mapping_are_the_callers_mistake(r, name):
    # One was a bare AttributeError, the other was blamed on the plugin.
    with pytest.raises(BadRequest, match=f"^{name} is a mapping, not list$"):
        plan(r, "wire/m", **{name: [1]})


@pytest.mark.parametrize("stream", [1, "yes", None])
def test_stream_is_true_or_false(r, stream):
    with pytest.raises(BadRequest, match="stream is True or False"):
        r.explain("small/m", USER, stream)


IMAGE = {"type": "image_url", "image_url": {"url": "https://x.test/y.png"}}


@pytest.mark.parametrize(
    ("model", "content", "arguments", "reason", "detail"),
    [
        (Model(id="m", inputs=("text",)), [IMAGE], {}, "input", "takes no image input"),
        (Model(id="m", context_window=10), "word " * 100, {}, "context", "at least 100 tokens"),
    ],
)
def test_model_that_is_known_to_lack_what_the_call_needs_is_passed_over(
    model, content, arguments, reason, detail
):
    lacking = ScriptedProvider("lacking", models=[model])
    with Router([lacking, ScriptedProvider("unknown", models=["m"])], allow=[]) as r:
        messages = [{"role": "user", "content": content}]
        explained = r.explain(["lacking/m", "unknown/m"], messages, **arguments)
        assert taken(explained) == ["unknown/m"]
        ((target, found, told),) = passed_over(explained)
        assert (target, found) == ("lacking/m", reason)
        assert detail in told


def test_unknown_target_is_an_error_before_anything_else(r):
    with pytest.raises(ModelNotFound):
        plan(r, "small/nosuch", nonsense=1)


VALUES = st.none() | st.booleans() | st.integers(-1, 3) | st.floats() | st.text(max_size=3)


@given(
    st.lists(st.sampled_from(["small/m", "small/cool", "large/m", "open/m"]), min_size=1),
    st.dictionaries(
        st.sampled_from(["temperature", "max_tokens", "num_predict", "top_k", "stop", "odd"]),
        VALUES,
    ),
    st.booleans(),
)
def test_every_target_is_taken_or_passed_over_once(r, targets, parameters, drop):
    try:
        explained = plan(r, *targets, policy={"drop_tunings": drop}, **parameters)
    except UnsupportedParameter:
        assert "odd" in parameters or "open/m" not in targets
        return
    names = taken(explained) + [skipped.target for skipped in explained.passed_over]
    assert sorted(names) == sorted(set(targets))
    given_ = {name for name, value in parameters.items() if value is not None}
    for prospect in explained.targets:
        assert {*prospect.renamed, *prospect.dropped, *prospect.unchecked} <= given_
        assert drop or not prospect.dropped
