"""What a name means: the rules that the design has for it, one by one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router import (
    AllTargetsFailed,
    AuthError,
    ConfigError,
    Model,
    ModelNotFound,
    PluginError,
    Provider,
    Router,
    Target,
)
from router.testing import ScriptedProvider

USER = [{"role": "user", "content": "hello"}]


class Open(Provider):
    """Takes models that it does not advertise."""

    name = "open"
    models = ("known",)
    open_models = True

    def create_completion(self, model: str, messages: list, stream: bool) -> str:
        return model


def serving(name: str, *models: Model | str) -> ScriptedProvider:
    return ScriptedProvider(name, models=models)


@pytest.fixture
def r():
    providers = [
        serving("groq", "meta-llama/Llama-3", "mixtral"),
        serving("mistral", Model(id="mistral-large-2411", aliases=("mistral-large",)), "mixtral"),
        serving("meta-llama", "Llama-2"),
        Open(),
    ]
    with Router(providers, allow=[]) as router:
        yield router


def meant(router: Router, *names: str | Target) -> list[str]:
    """The targets that names lead to."""
    return [prospect.target for prospect in router.explain(list(names), USER).targets]


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("groq/mixtral", "groq/mixtral"),
        ("groq/meta-llama/Llama-3", "groq/meta-llama/Llama-3"),
        ("mistral/mistral-large", "mistral/mistral-large-2411"),
        ("mistral-large", "mistral/mistral-large-2411"),
        ("mistral-large-2411", "mistral/mistral-large-2411"),
        ("meta-llama/Llama-2", "meta-llama/Llama-2"),
        ("Llama-2", "meta-llama/Llama-2"),
        ("known", "open/known"),
        ("open/anything/at:all", "open/anything/at:all"),
    ],
)
def test_name_means(r, name, target):
    assert meant(r, name) == [target]


def test_part_before_the_first_slash_is_a_provider_if_one_has_that_name(r):
    """`meta-llama/Llama-3` is a model of groq, but there is a provider called meta-llama."""
    with pytest.raises(ModelNotFound) as caught:
        meant(r, "meta-llama/Llama-3")
    assert caught.value.provider == "meta-llama"
    assert "did you mean Llama-2?" in str(caught.value)


def test_name_with_a_slash_is_a_models_where_no_provider_has_its_first_part():
    with Router([serving("groq", "meta-llama/Llama-3")], allow=[]) as r:
        assert meant(r, "meta-llama/Llama-3") == ["groq/meta-llama/Llama-3"]


def test_target_says_it_without_strings(r):
    assert meant(r, Target("groq", "meta-llama/Llama-3")) == ["groq/meta-llama/Llama-3"]
    with pytest.raises(ModelNotFound, match="meta-llama serves no 'Llama-3'"):
        meant(r, Target("meta-llama", "Llama-3"))


def test_bare_name_that_several_serve_is_an_error_that_lists_them(r):
    with pytest.raises(ModelNotFound) as caught:
        meant(r, "mixtral")
    assert caught.value.code == "ambiguous"
    assert str(caught.value) == (
        "2 providers serve 'mixtral': name one of groq/mixtral, mistral/mixtral, or rank them "
        "with Router(order=[...])"
    )


@pytest.mark.parametrize(
    ("order", "target"),
    [
        (["groq", "mistral"], "groq/mixtral"),
        (["mistral", "groq"], "mistral/mixtral"),
        (["mistral"], "mistral/mixtral"),
        (["open", "groq"], "groq/mixtral"),
    ],
)
def test_order_ranks_those_that_serve_a_bare_name(order, target):
    providers = [serving("groq", "mixtral"), serving("mistral", "mixtral"), Open()]
    with Router(providers, order=order, allow=[]) as r:
        assert meant(r, "mixtral") == [target]


def test_order_changes_nothing_where_one_alone_serves_the_name():
    providers = [serving("groq", "mixtral"), serving("mistral", "large")]
    with Router(providers, order=["mistral"], allow=[]) as r:
        assert meant(r, "mixtral") == ["groq/mixtral"]


def test_order_of_unknown_providers_is_refused():
    with pytest.raises(ConfigError, match="order names unknown providers: nosuch"):
        Router([Open()], order=["open", "nosuch"], allow=[])


def test_one_more_provider_of_a_model_never_gets_what_went_to_another(r):
    assert meant(r, "Llama-2") == ["meta-llama/Llama-2"]
    r.register(serving("newcomer", "Llama-2"))
    with pytest.raises(ModelNotFound, match="2 providers serve 'Llama-2'"):
        meant(r, "Llama-2")


def test_provider_that_takes_any_model_takes_no_bare_name_that_it_does_not_advertise(r):
    with pytest.raises(ModelNotFound):
        meant(r, "anything")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("mixtrall", "no provider serves 'mixtrall': did you mean mixtral"),
        ("grok/mixtral", "no provider serves 'grok/mixtral': did you mean groq/mixtral"),
        ("opem/newest", "no provider serves 'opem/newest': did you mean open/newest"),
        ("groq/mixtrall", "groq serves no 'mixtrall': did you mean mixtral?"),
        ("groq/zzzzzz", "groq serves no 'zzzzzz' (it serves meta-llama/Llama-3, mixtral)"),
        ("zzzzzz", "no provider serves 'zzzzzz'"),
        ("groq", "no provider serves 'groq'"),
        ("groq/", "groq serves no ''"),
        ("open/", "open serves no ''"),
        ("/mixtral", "no provider serves '/mixtral'"),
        ("", "no provider serves ''"),
    ],
)
def test_unknown_name_is_an_error_with_the_close_ones(r, name, told):
    with pytest.raises(ModelNotFound) as caught:
        r.create_completion(name, USER)
    assert str(caught.value).startswith(told)
    assert caught.value.attempts == ()


def test_unknown_name_behind_a_good_one_is_an_error_all_the_same(r):
    with pytest.raises(ModelNotFound, match="did you mean"):
        r.create_completion(["groq/mixtral", "groq/mixtrall"], USER)


def test_unknown_provider_of_a_target_is_an_error_with_the_close_ones(r):
    with pytest.raises(ModelNotFound, match="no provider is called 'grok': did you mean groq"):
        meant(r, Target("grok", "mixtral"))


def test_call_falls_back_along_the_callers_list_and_nowhere_else():
    """Other providers serve the model; nobody asked for them."""
    failing = [ScriptedProvider(name, [AuthError("no")]) for name in ("one", "two")]
    other = serving("other", "model")
    with Router([*failing, other], allow=[]) as r:
        with pytest.raises(AllTargetsFailed) as caught:
            r.create_completion(["two/model", "one/model"], USER)
        assert [attempt.target for attempt in caught.value.attempts] == ["two/model", "one/model"]
    assert other.calls == []


def test_model_that_is_named_by_id_and_by_alias_is_one_target(r):
    assert meant(r, "mistral-large", "mistral/mistral-large-2411") == ["mistral/mistral-large-2411"]


def test_models_have_their_providers_name(r):
    listed = [(model.provider, model.id) for model in r.models()]
    assert ("groq", "meta-llama/Llama-3") in listed
    assert ("mistral", "mistral-large-2411") in listed
    assert [model.id for model in r.models("groq")] == ["meta-llama/Llama-3", "mixtral"]
    with pytest.raises(ModelNotFound, match="did you mean groq"):
        r.models("grok")


def test_parameters_of_a_provider_and_of_its_models():
    less = Model(id="less", without=("temperature",), renames={"max_tokens": "max_output"})
    with Router([serving("acme", "all", less)], allow=[]) as r:
        whole = [p.name for p in r.parameters("acme")]
        assert whole == ["temperature", "max_tokens", "stop"]
        assert [p.name for p in r.parameters("acme/all")] == whole
        for name in ("acme/less", "less"):
            assert [p.name for p in r.parameters(name)] == ["max_output", "stop"]
        with pytest.raises(ModelNotFound):
            r.parameters("acme/nosuch")
        with pytest.raises(ModelNotFound):
            r.parameters("nosuch")


def test_name_of_a_blocked_plugin_is_a_providers_still():
    """Else `h2o/...` would be looked for among the models of others."""
    with Router([serving("groq", "h2o/falcon")], allow=[]) as r:
        installed = [info.name for info in r.plugins if info.status == "blocked"]
        if "h2o" not in installed:
            pytest.skip("pluggable-router is on the path, not installed")
        with pytest.raises(PluginError, match="is blocked"):
            r.create_completion("h2o/falcon", USER)


class Forgetful(ScriptedProvider):
    """Fails to say what it knows, in a way of its own."""

    def known_models(self):
        raise ValueError("the catalogue is torn")


def test_provider_that_fails_to_say_its_models_is_passed_over():
    """What it raised reached the caller as it was."""
    with Router([Forgetful("first"), serving("second", "model")], allow=[]) as r:
        answer = r.create_completion(["first/model", "second/model"], USER)
        assert [each.reason for each in answer.trace.passed_over] == ["plugin"]
        with pytest.raises(PluginError, match="the catalogue is torn"):
            r.create_completion("first/model", USER)


WORDS = st.text("abc/-.:", min_size=1, max_size=6)


@given(
    st.dictionaries(
        st.text("abc-.", min_size=1, max_size=3),
        st.sets(WORDS, min_size=1, max_size=4),
        min_size=1,
        max_size=4,
    ),
    st.data(),
)
def test_every_model_is_reached_by_its_full_name(providers, data):
    with Router([serving(name, *sorted(ids)) for name, ids in providers.items()], allow=[]) as r:
        name = data.draw(st.sampled_from(sorted(providers)))
        model = data.draw(st.sampled_from(sorted(providers[name])))
        assert meant(r, f"{name}/{model}") == [f"{name}/{model}"]
        assert meant(r, Target(name, model)) == [f"{name}/{model}"]
