import asyncio
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import pytest
from distributions import install
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from router import (
    AsyncRouter,
    Completion,
    ConfigError,
    Model,
    Policy,
    Provider,
    Route,
    Router,
    Secret,
    Target,
)
from router import config as configuration
from router.config import load
from router.testing import Fault, FaultServer

PAGE = Path(__file__).resolve().parent.parent / "docs" / "configuration.md"
USER = [{"role": "user", "content": "Say something"}]
KEY = "sk-canary-5f1e9c"
ALONE = {"ROUTER_DISABLE_PLUGIN_AUTOLOAD": "1"}


class Harbour(Provider):
    """Answers with its settings."""

    name = "harbour"
    models = ("small", "large")

    def __init__(
        self,
        *,
        base_url: str = "http://127.0.0.1:1",
        key: str | Secret | None = None,
        headers: Mapping[str, str | Secret] | None = None,
        depth: Annotated[int, Meta(ge=1)] = 1,
    ) -> None:
        if not base_url.startswith("http"):
            raise ConfigError("base_url is a URL")
        self.settings = {"base_url": base_url, "key": key, "headers": headers, "depth": depth}

    def create_completion(
        self, model: str, messages: list[Any], stream: bool, *, temperature: float = 1.0
    ) -> str:
        return f"{model} at {self.settings['base_url']}, temperature {temperature}"


class Buoy(Provider):
    name = "buoy"
    models = (Model(id="large"),)

    def create_completion(self, model: str, messages: list[Any], stream: bool) -> str:
        return "ding"


PLUGINS = (Harbour, Buoy)


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    return tmp_path / "router.toml"


def write(path: Path, text: str, mode: int = 0o644) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def make(path: Path, environ: Mapping[str, str] = ALONE, **arguments: Any) -> Router:
    return Router.from_config(path, plugins=PLUGINS, environ={**ALONE, **environ}, **arguments)


def faults(path: Path, environ: Mapping[str, str] = ALONE) -> dict[str, str]:
    """What is wrong with a file, by key; each is told in the message, with the file."""
    with pytest.raises(ConfigError) as caught:
        make(path, environ)
    lines = str(caught.value).splitlines()
    assert lines == [f"{path}: {fault}" for fault in caught.value.faults]
    found = {fault.key: fault.problem for fault in caught.value.faults}
    assert len(found) == len(lines)
    return found


FULL = """
[router]
order = ["buoy", "harbour"]
strict = false
trust_env = true
verify = "authority.pem"

[router.tags]
harbour = ["north"]

[router.proxies]
https = "http://127.0.0.1:3128"

[plugins]
allow = ["harbour", "buoy"]
block = ["wreck"]

[policy]
deadline = 30
attempts = 3
only = ["harbour", "buoy"]

[providers.harbour]
base_url = "http://127.0.0.1:2"
depth = 3
headers = { X-Berth = "7" }

[routes.chat]
targets = [
    "harbour/small",
    { provider = "harbour", model = "large", parameters = { temperature = 0.2 }, tags = ["eu"], \
quota_group = "sea", max_concurrency = 2 },
]
weights = [3, 1.5]
policy = { attempts = 1 }
"""


def test_every_section_becomes_an_argument(toml: Path) -> None:
    write(toml.with_name("authority.pem"), "")
    config = load(write(toml, FULL), {})
    assert config.faults == ()
    large = Target("harbour", "large", {"temperature": 0.2}, ("eu",), "sea", 2)
    assert config.arguments == {
        "order": ["buoy", "harbour"],
        "strict": False,
        "trust_env": True,
        "verify": str(toml.with_name("authority.pem")),
        "proxies": {"https": "http://127.0.0.1:3128"},
        "allow": ["harbour", "buoy"],
        "block": ["wreck"],
        "tags": {"harbour": ["north"]},
        "policy": {"deadline": 30.0, "attempts": 3, "only": ("harbour", "buoy")},
        "settings": {
            "harbour": {
                "base_url": "http://127.0.0.1:2",
                "depth": 3,
                "headers": {"X-Berth": "7"},
            }
        },
        "routes": {
            "chat": Route(
                targets=("harbour/small", large), weights=(3.0, 1.5), policy={"attempts": 1}
            )
        },
    }


def test_an_empty_file_is_a_plain_router(toml: Path) -> None:
    config = load(write(toml, ""), {})
    assert (config.arguments, config.faults) == ({}, ())


def test_a_router_is_as_its_file_says(toml: Path) -> None:
    write(toml.with_name("authority.pem"), "")
    with make(write(toml, FULL)) as router:
        assert router.policy == Policy(deadline=30.0, attempts=3, only=("harbour", "buoy"))
        answer = router.create_completion("large", USER)
        assert answer.text == "ding", "order ranks buoy first"
        tagged = router.explain(
            ["buoy/large", "harbour/small"], USER, policy={"require": ["north"]}
        )
        assert [each.target for each in tagged.targets] == ["harbour/small"]
        answers = {str(router.create_completion("chat", USER)) for _ in range(40)}
    assert answers == {
        "small at http://127.0.0.1:2, temperature 1.0",
        "large at http://127.0.0.1:2, temperature 0.2",
    }


async def call(router: AsyncRouter) -> Completion:
    async with router:
        return await router.create_completion("harbour/small", USER)


def test_the_async_router_reads_the_same_file(toml: Path) -> None:
    write(toml, '[providers.harbour]\nbase_url = "http://127.0.0.1:3"')
    router = AsyncRouter.from_config(toml, plugins=PLUGINS, environ=ALONE)
    assert asyncio.run(call(router)).text == "small at http://127.0.0.1:3, temperature 1.0"


def test_what_is_given_wins_over_the_file(toml: Path) -> None:
    write(toml, "[policy]\nattempts = 3\n[routes.chat]\ntargets = ['harbour/small']")
    with make(toml, policy={"attempts": 2}, routes={"talk": ["buoy/large"]}) as router:
        assert router.policy.attempts == 2
        assert router.create_completion("talk", USER).text == "ding"


def test_what_is_given_is_no_fault_of_the_file(toml: Path) -> None:
    write(toml, "[providers.harbour]\ndepht = 3")
    with pytest.raises(ConfigError, match="attempts is at least 1") as caught:
        make(toml, policy={"attempts": 0})
    assert str(toml) not in str(caught.value)


# What is wrong is told at once


WRONG = """
[router]
ordr = []
order = ["buoy", "pier"]
strict = "yes"
verify = "nowhere.pem"

[router.proxies]
http = "127.0.0.1:3128"

[plugin]

[policy]
deadline = -1
total = "long"
conect = 3
on_interrupt = ["raise", "shrug"]
only = ["pier"]

[providers.harbour]
base_ur = "http://127.0.0.1:2"
depth = 0
key_env = "HARBOUR_KEY"

[providers.harbuor]

[providers.buoy]
bell = "loud"
headers = { Authorization = "Bearer sk-canary-5f1e9c", X-Berth = 7 }

[routes.chat]
targets = ["harbour/smal", "harbour/large"]
weights = [1]

[routes.talk]
targets = ["harbour/small", 3, { provider = "harbour", mode = "large" }]
weights = [1, 0, "x"]
policy = { connect = 0, idle = "x" }

[routes.buoy]
targets = ["harbour/small"]

[routes.shy]
targets = ["harbour/small"]
policy = { never = ["zz/large"] }

[routes.still]
targets = ["harbour/tiny"]

[routes.empty]
targets = []

[routes.none]
"""


def test_all_faults_are_told_at_once_with_file_and_key(toml: Path) -> None:
    found = faults(write(toml, WRONG))
    # What else is close depends on what is installed.
    misspelt = found.pop("providers.harbuor")
    assert misspelt.startswith("settings for 'harbuor': no plugin has that name, and no kind")
    assert "did you mean harbour" in misspelt
    assert found == {
        "plugin": "no such key: did you mean plugins or policy?",
        "router.ordr": "no such key: did you mean order?",
        "router.order": "order names unknown providers: pier",
        "policy": "a constraint names no provider: 'pier'",
        "router.proxies": "proxies: http: "
        "a URL such as http://127.0.0.1:3128, for http, https or all",
        "router.strict": "expected `bool`, got `str`",
        "router.verify": "there is no such file or folder",
        "policy.deadline": "a positive number of seconds, not -1.0",
        "policy.total": "expected `float`, got `str`",
        "policy.conect": "no such key: did you mean connect?",
        "policy.on_interrupt": "expected one of raise, continue, restart, buffer",
        "providers.harbour.key_env": "the environment variable HARBOUR_KEY is not set",
        "providers.harbour.base_ur": "no such setting: did you mean base_url? "
        "harbour has base_url, key, headers, depth",
        "providers.harbour.depth": "expects int (ge=1), not int (Expected `int` >= 1)",
        "providers.buoy.headers.Authorization": "a key in a file that others may read: "
        "give it mode 0600",
        "providers.buoy.headers.X-Berth": "expected `str`, got `int`",
        "providers.buoy.bell": "no such setting: buoy has none",
        "providers.buoy.headers": "no such setting: buoy has none",
        "routes.chat.weights": "2 weights, one for each target",
        "routes.talk.targets[1]": "expected `str | table`, got `int`",
        "routes.talk.targets[2].mode": "no such key: did you mean model or provider?",
        "routes.talk.weights[1]": "expected `float` > 0.0",
        "routes.talk.weights[2]": "expected `float`, got `str`",
        "routes.talk.policy.connect": "a positive number of seconds, not 0.0",
        "routes.talk.policy.idle": "expected `float`, got `str`",
        "routes.shy": "a constraint names no provider: 'zz/large'",
        "routes.buoy": "route 'buoy': a provider or a model has that name",
        "routes.still": "harbour serves no 'tiny' (it serves small, large)",
        "routes.empty.targets": "expected `array` of length >= 1",
        "routes.none.targets": "needed: the names of targets, in order",
    }


def test_a_provider_that_refuses_its_settings_is_told_with_its_key(toml: Path) -> None:
    assert faults(write(toml, '[providers.harbour]\nbase_url = "ftp"')) == {
        "providers.harbour": "base_url is a URL"
    }


def test_a_section_that_is_no_table_is_told(toml: Path) -> None:
    text = "policy = 3\nroutes = []\nproviders = { harbour = 3, 'l.cpp' = 4 }"
    assert faults(write(toml, text)) == {
        "policy": "expected `table`, got `int`",
        "routes": "expected `table`, got `array`",
        "providers.harbour": "expected `table`, got `int`",
        'providers."l.cpp"': "expected `table`, got `int`",
    }


def test_no_plugin_is_loaded_while_the_lists_of_plugins_are_wrong(toml: Path) -> None:
    """A fault in `block` would else load what was to be blocked, to look for further faults."""
    made = []
    write(toml, "[plugins]\nblock = 'harbour'\n[providers.harbour]\ndepth = 0")
    with pytest.raises(ConfigError) as caught:
        load(toml, {}).build(lambda **arguments: made.append(arguments), {})
    assert [fault.key for fault in caught.value.faults] == ["plugins.block"]
    assert made == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file or directory"),
        (b"[router", "no TOML"),
        (b"[router]\nstrict = true\nstrict = true", "no TOML"),
        (b"\xff\xfe", "no TOML"),
    ],
)
def test_a_file_that_cannot_be_read_is_told(toml: Path, content: bytes | None, reason: str) -> None:
    if content is not None:
        toml.write_bytes(content)
    with pytest.raises(ConfigError, match=reason) as caught:
        make(toml)
    assert str(caught.value).startswith(f"{toml}: ")


def test_nothing_is_read_from_the_working_directory_unasked(
    toml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(toml, "[router\n")
    monkeypatch.chdir(toml.parent)
    with Router(plugins=PLUGINS, environ=ALONE) as router:
        assert router.create_completion("buoy/large", USER).text == "ding"


# Keys


def key_of(router: Router) -> Any:
    (harbour,) = (each for each in router.providers() if isinstance(each, Harbour))
    return harbour.settings["key"]


def test_a_key_comes_from_the_environment(toml: Path) -> None:
    write(toml, '[providers.harbour]\nkey_env = "HARBOUR_KEY"')
    with make(toml, {"HARBOUR_KEY": KEY}) as router:
        assert key_of(router) == Secret(KEY)


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_key_comes_from_a_file_beside_the_configuration(
    toml: Path, mode: int, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    write(toml.with_name("harbour.key"), f"{KEY}\n", mode)
    with make(write(toml, '[providers.harbour]\nkey_file = "harbour.key"')) as router:
        assert key_of(router) == Secret(KEY)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620])
def test_a_key_file_that_others_may_read_is_refused(toml: Path, mode: int) -> None:
    write(toml.with_name("harbour.key"), KEY, mode)
    found = faults(write(toml, '[providers.harbour]\nkey_file = "harbour.key"'))
    assert found == {"providers.harbour.key_file": "others may read that file: give it mode 0600"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read: No such file or directory"),
        (b" \n", "the key is empty"),
        (b"sk-canary\xff", "holds no text"),
        (b"sk-canary\n5f1e9c", "the key holds characters that no HTTP header may carry"),
    ],
)
def test_a_key_file_without_a_key_is_told(toml: Path, content: bytes | None, reason: str) -> None:
    if content is not None:
        key = toml.with_name("harbour.key")
        key.write_bytes(content)
        key.chmod(0o600)
    found = faults(write(toml, '[providers.harbour]\nkey_file = "harbour.key"'))
    assert found["providers.harbour.key_file"].endswith(reason)


IN_THE_FILE = [
    ('[providers.harbour]\nkey = "{key}"', "providers.harbour.key"),
    ('[providers.harbour.headers]\nX-Api-Key = "{key}"', "providers.harbour.headers.X-Api-Key"),
    (
        '[providers.harbour.headers]\nauthorization = "{key}"',
        "providers.harbour.headers.authorization",
    ),
    ('[providers.harbour]\nbase_url = "http://me:{key}@127.0.0.1"', "providers.harbour.base_url"),
    ('[router.proxies]\nhttps = "http://me:{key}@127.0.0.1"', "router.proxies.https"),
]


@pytest.mark.parametrize(("text", "key"), IN_THE_FILE)
def test_a_key_in_a_file_that_others_may_read_is_refused(toml: Path, text: str, key: str) -> None:
    found = faults(write(toml, text.format(key=KEY)))
    assert list(found) == [key]
    assert found[key].startswith("a key in a file that others may read: give it mode 0600")
    assert KEY not in str(found)


@pytest.mark.parametrize(("text", "key"), IN_THE_FILE)
def test_a_key_in_a_file_of_mode_0600_is_taken(toml: Path, text: str, key: str) -> None:
    config = load(write(toml, text.format(key=KEY), 0o600), {})
    assert config.faults == ()
    if "url" not in key and "proxies" not in key:
        assert KEY not in repr(config), "it is a Secret by then"
    make(toml).close()


def test_a_key_has_one_place(toml: Path) -> None:
    text = '[providers.harbour]\nkey_env = "A"\nkey_file = "b"'
    assert faults(write(toml, text)) == {"providers.harbour": "one of key_env, key_file, not 2"}


def test_no_other_key_stands_in_for_one_whose_variable_is_not_set(toml: Path) -> None:
    """A provider that looks in the environment by itself would else bill another account."""
    write(toml, '[providers.harbour]\nkey_env = "TEAM_KEY"')
    found = faults(toml, {"HARBOUR_API_KEY": KEY, "TEAM_KEY": ""})
    assert found == {"providers.harbour.key_env": "the environment variable TEAM_KEY is not set"}


@pytest.mark.parametrize("setting", ["key_env", "key_file"])
def test_a_key_in_the_place_of_its_place_is_not_told(toml: Path, setting: str) -> None:
    assert KEY not in str(faults(write(toml, f'[providers.harbour]\n{setting} = "{KEY}"')))


# Whatever a file holds


def as_toml(value: Any) -> str:
    """A value as TOML, tables in line; its strings are those of JSON."""
    if isinstance(value, dict):
        items = (f"{json.dumps(name)} = {as_toml(item)}" for name, item in value.items())
        return f"{{ {', '.join(items)} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(as_toml, value))}]"
    return json.dumps(value)


NAMES = ["key", "key_env", "key_file", "headers", "x-api-key", "base_url", "harbour"]
NAMES += ["targets", "weights", "policy", "order", "strict", "verify", "proxies", "provider"]

words = st.sampled_from(NAMES) | st.text("abc.é\n", max_size=3)
values = st.recursive(
    st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.just(KEY) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=12,
)
sections = st.sampled_from([*configuration.SECTIONS, "rooter"])


@given(st.dictionaries(sections, st.dictionaries(words, values, max_size=4) | values, max_size=4))
def test_any_document_is_taken_or_refused_without_its_values(
    tmp_path_factory: pytest.TempPathFactory, document: dict[str, Any]
) -> None:
    path = tmp_path_factory.mktemp("any") / "router.toml"
    write(path, "\n".join(f"{name} = {as_toml(value)}" for name, value in document.items()))
    config = load(path, {})
    told = {fault.key.partition(".")[0] for fault in config.faults}
    assert told <= document.keys()
    assert ("rooter" in document) == ("rooter" in told)
    for fault in config.faults:
        assert KEY not in fault.problem
    for name, settings in config.arguments.get("settings", {}).items():
        assert not isinstance(settings.get("key"), str), f"{name} has a key that shows"


# Several providers of one kind


TWO_OF_A_KIND = """
[providers.near]
kind = "vllm"
base_url = "{near}"

[providers.far]
kind = "vllm"
base_url = "{far}"

[routes.chat]
targets = ["near/any", "far/any"]
"""


def test_two_servers_of_one_kind_are_two_providers(toml: Path) -> None:
    """One server of a kind was all that could be named."""
    with FaultServer(Fault.HTTP_503) as near, FaultServer() as far:
        write(toml, TWO_OF_A_KIND.format(near=near.url, far=far.url))
        with Router.from_config(toml, allow=["vllm"], policy={"retries": 0}) as r:
            answer = r.create_completion("chat", USER)
            assert [each.name for each in r.providers()] == ["near", "far", "vllm"]
            assert str(r.parameters("near")) == str(r.parameters("vllm"))
    assert [each.target for each in answer.trace.attempts] == ["near/any", "far/any"]
    assert (len(near.requests), len(far.requests)) == (1, 1)


def test_another_of_a_kind_knows_its_models_and_reads_its_reasoning() -> None:
    settings = {"team": {"kind": "anthropic", "key": KEY}}
    with Router(allow=["anthropic"], settings=settings) as r:
        both = [each for each in r.providers() if each.name in ("team", "anthropic")]
        known = {name: {model.id for model in r.models(name)} for name in ("team", "anthropic")}
    assert known["team"] == known["anthropic"] != set()
    assert [each.origin or each.name for each in both] == ["anthropic", "anthropic"]
    assert KEY not in repr(both)


@pytest.mark.parametrize(
    ("section", "key", "problem"),
    [
        ('kind = "vlm"', ".kind", "no plugin has that name: did you mean vllm?"),
        ("kind = [7]", ".kind", "no plugin has that name"),
        ('kind = "vllm"\nbase_ur = "x"', ".base_ur", "no such setting: did you mean base_url?"),
        ('base_url = "x"', "", "settings for 'near': no plugin has that name"),
    ],
)
def test_what_is_wrong_with_another_of_a_kind_is_told(
    toml: Path, section: str, key: str, problem: str
) -> None:
    write(toml, f"[providers.near]\n{section}")
    with pytest.raises(ConfigError) as caught:
        Router.from_config(toml, allow=["vllm"])
    [fault] = caught.value.faults
    assert fault.key == f"providers.near{key}"
    assert fault.problem.startswith(problem)


def test_there_is_no_other_one_of_a_plugin_that_is_no_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its function or object is one provider, which has a name."""
    code = """
from router import provider

@provider("single", models=["model"])
def single(model: str, messages: list, stream: bool):
    yield "one"
"""
    plugins = {"single": "single_plugin:single"}
    install(tmp_path, "router-single", modules={"single_plugin": code}, plugins=plugins)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="single is one provider, which has its name"):
        Router(allow=["single"], settings={"double": {"kind": "single"}})


# The page


def test_the_page_names_every_key() -> None:
    page = PAGE.read_text()
    tables = (
        configuration.ROUTER,
        configuration.PLUGINS,
        configuration.POLICY,
        configuration.ROUTE,
        configuration.TARGET,
    )
    keys = {*configuration.SECTIONS, *configuration.KEY_SOURCES}
    for table in tables:
        keys.update(table)
    assert [key for key in sorted(keys) if not re.search(rf"`{key}`|\[{key}[.\]]", page)] == []


def test_the_page_s_file_is_in_order(toml: Path) -> None:
    _, _, rest = PAGE.read_text().partition("```toml\n")
    text, _, _ = rest.partition("```")
    write(toml.with_name("groq.key"), KEY, 0o600)
    config = load(write(toml, text), {"TEAM_OPENAI_KEY": KEY})
    assert config.faults == ()
    assert set(config.arguments) >= {"order", "policy", "settings", "routes", "block"}
