"""Plugins as they come: installed by strangers, broken in every way, in each other's way."""

import importlib.metadata
import logging
import re
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from distributions import install

import router as package
from router import (
    AsyncRouter,
    ConfigError,
    Model,
    ModelNotFound,
    PluginError,
    PluginInfo,
    PluginLoadError,
    Provider,
    Router,
    hookimpl,
    provider,
)
from router.hookspecs import HOOKS
from router.testing import ScriptedProvider

USER = [{"role": "user", "content": "hello"}]

PROVIDER = """
from router import Model, Provider

class Acme(Provider):
    name = "{name}"
    models = ["model"]

    def __init__(self, *, word: str = "hello"):
        self.word = word

    def create_completion(self, model: str, messages: list, stream: bool, *, top_k: int = 1):
        yield "{name} says " + self.word
"""

BUNDLE = """
from router import hookimpl
from router.testing import ScriptedProvider

@hookimpl
def register_providers(context):
    return [ScriptedProvider(name, [name]) for name in {names!r}]
"""

Install = Callable[..., None]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path; what was imported from it is forgotten."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    known = set(sys.modules)
    yield folder
    for name in set(sys.modules) - known:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def acme(site: Path) -> Path:
    """The site with a plugin in it that is in order."""
    return install(
        site,
        "acme-plugin",
        version="1.2",
        modules={"acme": PROVIDER.format(name="acme")},
        plugins={"acme": "acme:Acme"},
    )


def other(site: Path, distribution: str, module: str, name: str, version: str = "1") -> None:
    """One more distribution with a provider of that name."""
    install(
        site,
        distribution,
        version=version,
        modules={module: PROVIDER.format(name=name)},
        plugins={name: f"{module}:Acme"},
    )


@pytest.fixture
def bundle(site: Path) -> None:
    """A plugin whose providers have other names than its own."""
    modules = {"bundle": BUNDLE.format(names=["one", "two"])}
    install(site, "bundle-plugin", modules=modules, plugins={"bundle": "bundle"})


def of(router: Router, *distributions: str) -> dict[str, PluginInfo]:
    """The plugins of some distributions by name; those that are really installed left out."""
    return {info.name: info for info in router.plugins if info.distribution in distributions}


def ask(router: Router, *model: str) -> str:
    return router.create_completion(list(model), USER).text


def failures(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """What was logged of plugins that failed."""
    return [r.router for r in caplog.records if r.getMessage().startswith("plugin_failed")]


# -- found, and loaded when needed


def test_plugins_are_listed_without_being_imported(acme):
    with Router() as r:
        info = of(r, "acme-plugin")["acme"]
        assert (info.status, info.distribution, info.version) == ("available", "acme-plugin", "1.2")
        assert info.value == "acme:Acme"
        assert info.origin == "acme (acme-plugin 1.2)"
        assert "acme" not in sys.modules


def test_call_loads_the_plugin_of_its_name_alone(acme):
    install(
        acme,
        "other",
        modules={"other": PROVIDER.format(name="other")},
        plugins={"other": "other:Acme"},
    )
    with Router() as r:
        assert ask(r, "acme/model") == "acme says hello"
        assert of(r, "acme-plugin", "other")["acme"].status == "loaded"
        assert of(r, "acme-plugin", "other")["other"].status == "available"
        assert "other" not in sys.modules


def test_bare_name_and_models_load_all(acme):
    with Router(allow=["acme-plugin"]) as r:
        assert [model.id for model in r.models()] == ["model"]
        assert ask(r, "model") == "acme says hello"
        assert of(r, "acme-plugin")["acme"].providers == ("acme",)


ENTRIES = {
    "a class": "acme:Acme",
    "an instance": "acme:instance",
    "a function": "acme:decorated",
    "a factory": "acme:make",
    "a module": "acme",
    "an object with hooks": "acme:hooks",
    "a class with hooks": "acme:Hooks",
    "a factory of hooks": "acme:make_hooks",
}


@pytest.mark.parametrize("value", ENTRIES.values(), ids=ENTRIES.keys())
def test_entry_point_may_name(value, site):
    """A class with hooks was registered as it was: each of its hooks failed when it was called."""
    source = PROVIDER.format(name="acme") + textwrap.dedent("""
        from router import hookimpl, provider
        instance = Acme()

        @provider("acme", models=["model"])
        def decorated(model: str, messages: list, stream: bool):
            return "acme says hello"

        def make():
            return Acme()

        class Hooks:
            @hookimpl
            def register_providers(self, context):
                assert context.name == "acme" and context.settings == {}
                return [Acme()]

            @hookimpl
            def attempt_finished(self, attempt):
                seen.append(attempt.target)

        seen = []
        hooks = Hooks()

        def make_hooks():
            return Hooks()

        @hookimpl
        def register_providers():
            return iter([Acme()])
    """)
    install(site, "acme-plugin", modules={"acme": source}, plugins={"acme": value})
    with Router(allow=["acme"]) as r:
        assert ask(r, "acme/model") == "acme says hello"
        assert of(r, "acme-plugin")["acme"].providers == ("acme",)
        assert of(r, "acme-plugin")["acme"].hook_errors == 0
    if "Hooks" in value or "hooks" in value:
        assert sys.modules["acme"].seen == ["acme/model"]


def test_importing_router_imports_no_provider_and_nothing_costly():
    program = """
import sys, router
router.Router()
clients = {"aiohttp", "asyncio", "requests", "ssl", "urllib3"}
costly = clients | {"click", "providers", "structlog", "xllamacpp"}
print(sorted(costly & {name.partition(".")[0] for name in sys.modules}))
"""
    assert _run(program) == "[]"


def test_built_in_provider_is_loaded_alone():
    names = {entry.name for entry in importlib.metadata.entry_points(group="router.plugins")}
    if not {"h2o", "openai"} <= names:
        pytest.skip("pluggable-router is on the path, not installed")
    program = """
import sys, router
r = router.Router()
print(r.parameters("h2o/falcon-7b").owner)
print([info.name for info in r.plugins if info.status != "available"])
print(sorted(name for name in sys.modules if name in ("providers.openai", "requests", "xllamacpp")))
"""
    assert _run(program).splitlines() == ["providers.h2o", "['h2o']", "[]"]


def _run(program: str) -> str:
    root = str(Path(package.__file__).parent.parent)
    program = f"import sys; sys.path.insert(0, {root!r})\n{program}"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def test_threads_that_come_at_once_load_a_plugin_once(site):
    source = "import time, builtins\ntime.sleep(0.05)\nTIMES = []\nTIMES.append(1)\n"
    install(
        site,
        "slow",
        modules={"slow_plugin": source + PROVIDER.format(name="slow")},
        plugins={"slow": "slow_plugin:Acme"},
    )
    barrier, found = threading.Barrier(8), []
    with Router() as r:

        def look() -> None:
            barrier.wait()
            found.append(len(r.parameters("slow")))

        threads = [threading.Thread(target=look) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [1] * 8
    assert sys.modules["slow_plugin"].TIMES == [1]


# -- broken ones

HEAD = "from router import *\nfrom router.hookspecs import hookimpl\n"
SIGNATURE = "def create_completion(self, model: str, messages: list, stream: bool): ..."


def hook(body: str) -> str:
    return f"{HEAD}\n@hookimpl\n{body}\n"


def cls(name: str, models: str = "['m']", signature: str = SIGNATURE) -> str:
    head = f"{HEAD}\nclass Plugin(Provider):\n    name = {name}\n    models = {models}\n"
    return f"{head}    {signature}\n"


# source of the module `broken`, what its entry point names, what the reason says
BROKEN = {
    "raises at import": ("raise ValueError('boom')", "broken:x", "ValueError: boom"),
    "exits at import": ("raise SystemExit(3)", "broken:x", "SystemExit: 3"),
    "sys.exit at import": ("import sys; sys.exit('no licence')", "broken:x", "no licence"),
    "raises nothing that is an Exception": ("raise BaseException('odd')", "broken:x", "odd"),
    "GeneratorExit at import": ("raise GeneratorExit", "broken:x", "GeneratorExit"),
    "recursion at import": ("def f(): f()\nf()", "broken:x", "RecursionError"),
    "syntax error": ("def x(:", "broken:x", "SyntaxError"),
    "not UTF-8": ("x = '\udcff'", "broken:x", "SyntaxError"),
    "dependency missing": ("import nosuchlib.sub", "broken:x", "nosuchlib is not installed"),
    "name missing in a dependency": ("from json import nosuch", "broken:x", "ImportError"),
    "module missing": ("", "nosuchmodule:x", "the module nosuchmodule is not installed"),
    "attribute missing": ("", "broken:x", "AttributeError: module 'broken' has no attribute 'x'"),
    "value malformed": ("", "broken: x y z", ""),
    "value empty": ("", "", ""),
    "a number": ("x = 5", "broken:x", "broken:x is no plugin"),
    "nothing": ("x = None", "broken:x", "broken:x is no plugin"),
    "a module without hooks": ("", "broken", "broken is no plugin"),
    "a class of something else": ("class x: ...", "broken:x", "broken:x is no plugin"),
    "a function that makes nothing": ("def x(): ...", "broken:x", "broken:x is no plugin"),
    "a function that raises": ("def x(): raise KeyError('k')", "broken:x", "KeyError: 'k'"),
    "constructor raises": (
        cls("'broken'") + "    def __init__(self): raise OSError('no disk')",
        "broken:Plugin",
        "OSError: no disk",
    ),
    "setting missing": (
        cls("'broken'") + "    def __init__(self, url: str): ...",
        "broken:Plugin",
        "broken needs this setting",
    ),
    "no name": (cls("None"), "broken:Plugin", "a provider's name is a word without a slash"),
    "name with a slash": (cls("'a/b'"), "broken:Plugin", "a word without a slash, not 'a/b'"),
    "name with a blank": (cls("'a b'"), "broken:Plugin", "a word without a slash"),
    "no create_completion": (
        cls("'broken'", signature="x = 1"),
        "broken:Plugin",
        "create_completion",
    ),
    "wrong signature": (
        cls("'broken'", signature="def create_completion(self, prompt): ..."),
        "broken:Plugin",
        "create_completion begins with (model, messages, stream)",
    ),
    "reserved name": (
        cls("'broken'", signature=SIGNATURE.replace("stream: bool", "stream: bool, policy=1")),
        "broken:Plugin",
        "policy is a name of the router's own",
    ),
    "async": (
        cls("'broken'", signature="async " + SIGNATURE),
        "broken:Plugin",
        "create_completion is async",
    ),
    "models in one str": (cls("'broken'", "'gpt'"), "broken:Plugin", "not one str"),
    "models that are none": (cls("'broken'", "[5]"), "broken:Plugin", "a model's name is a str"),
    "models that are no list": (cls("'broken'", "5"), "broken:Plugin", "TypeError"),
    "two models of one name": (
        cls("'broken'", "[Model(id='a', aliases=('b',)), Model(id='b')]"),
        "broken:Plugin",
        "broken has several models called b",
    ),
    "model without a parameter that is not there": (
        cls("'broken'", "[Model(id='a', without=('top_k',))]"),
        "broken:Plugin",
        "takes away or renames top_k",
    ),
    "register_providers raises": (
        hook("def register_providers(context): raise RuntimeError('no key')"),
        "broken",
        "RuntimeError: no key",
    ),
    "register_providers exits": (
        hook("def register_providers(context): raise SystemExit(1)"),
        "broken",
        "SystemExit: 1",
    ),
    "register_providers brings nothing": (
        hook("def register_providers(context): ..."),
        "broken",
        "register_providers brought NoneType, no providers",
    ),
    "register_providers brings one": (
        cls("'broken'") + "@hookimpl\ndef register_providers(): return Plugin()",
        "broken",
        "register_providers brought Plugin, no providers",
    ),
    "register_providers brings something else": (
        hook("def register_providers(context): return ['acme']"),
        "broken",
        "str is no Provider",
    ),
    "two providers of one name": (
        cls("'broken'") + "@hookimpl\ndef register_providers(): return [Plugin(), Plugin()]",
        "broken",
        "it registers two providers of one name: broken, broken",
    ),
    "wrong arguments of a hook": (
        hook("def attempt_finished(attempt, nonsense): ..."),
        "broken",
        "nonsense",
    ),
    "unknown hook": (
        hook("def attempt_finish(attempt): ..."),
        "broken",
        "it implements an unknown hook, attempt_finish: did you mean attempt_finished?",
    ),
    "wrapper of a hook": (
        f"{HEAD}\n@hookimpl(wrapper=True)\ndef attempt_finished(attempt): return (yield)",
        "broken",
        "it wraps attempt_finished",
    ),
    "async hook": (
        hook("async def attempt_finished(attempt): ..."),
        "broken",
        "its attempt_finished is async",
    ),
}


@pytest.fixture(params=BROKEN.values(), ids=BROKEN.keys())
def broken(request: pytest.FixtureRequest, acme: Path) -> str:
    """The site with a broken plugin beside the one that is in order; what its reason says."""
    source, value, reason = request.param
    install(acme, "broken-plugin", version="0.7", plugins={"broken": value})
    (acme / "broken.py").write_bytes(source.encode(errors="surrogateescape"))
    return reason


def test_broken_plugin_is_reported_and_breaks_nobody_else(broken, caplog):
    with Router() as r, caplog.at_level(logging.WARNING, "router"):
        assert ask(r, "broken/m", "acme/model") == "acme says hello"
        info = of(r, "broken-plugin")["broken"]
        assert (info.status, info.distribution, info.version) == ("failed", "broken-plugin", "0.7")
        assert broken in info.reason
        assert info.providers == ()
        (record,) = [each for each in caplog.records if each.router["plugin"] == "broken"]
        assert record.getMessage().startswith("plugin_failed ")
        assert record.router == {
            "plugin": "broken",
            "distribution": "broken-plugin",
            "version": "0.7",
            "reason": info.reason,
        }
        assert "acme" in {model.provider for model in r.models()}


def test_broken_plugin_says_why_when_it_is_called(broken):
    with Router() as r:
        for look in (lambda: ask(r, "broken/m"), lambda: r.models("broken")):
            with pytest.raises(PluginError) as caught:
                look()
            assert "the plugin broken (broken-plugin 0.7) is failed: " in str(caught.value)
            assert broken in str(caught.value)


@pytest.mark.parametrize("kind", [Router, AsyncRouter])
def test_strict_router_is_not_made_with_a_broken_plugin(broken, kind):
    with pytest.raises(PluginLoadError) as caught:
        kind(strict=True, allow=["acme", "broken"])
    assert str(caught.value).startswith("broken (broken-plugin 0.7): ")
    assert broken in str(caught.value)


def test_hooks_of_a_plugin_that_failed_are_not_called(site):
    """A provider that broke the contract left the observers beside it in place."""
    source = hook("def attempt_finished(attempt): seen.append(1)") + (
        "seen = []\n@hookimpl\ndef register_providers(): return ['no provider']\n"
    )
    install(site, "half-plugin", modules={"half": source}, plugins={"half": "half"})
    with Router([ScriptedProvider()], allow=["half"]) as r:
        r.providers()
        ask(r, "scripted/model")
        assert of(r, "half-plugin")["half"].status == "failed"
    assert sys.modules["half"].seen == []


def test_hooks_of_a_plugin_whose_name_is_claimed_by_another_are_not_called(acme):
    source = hook("def attempt_finished(attempt): seen.append(1)") + (
        "from router.testing import ScriptedProvider\n"
        "seen = []\n@hookimpl\ndef register_providers(): return [ScriptedProvider('acme')]\n"
    )
    install(acme, "greedy-plugin", modules={"greedy": source}, plugins={"greedy": "greedy"})
    with Router([ScriptedProvider()], allow=["greedy", "acme"]) as r:
        r.providers()
        ask(r, "scripted/model")
    assert sys.modules["greedy"].seen == []


def test_keyboard_interrupt_at_import_is_the_users_and_the_next_call_loads(site):
    """What had been interrupted was neither loaded nor failed, for ever."""
    flag = site / "interrupt"
    flag.touch()
    source = f"import os\nif os.path.exists({str(flag)!r}): raise KeyboardInterrupt\n"
    install(
        site,
        "slow-plugin",
        modules={"interrupted": source + PROVIDER.format(name="interrupted")},
        plugins={"interrupted": "interrupted:Acme"},
    )
    with Router() as r:
        with pytest.raises(KeyboardInterrupt):
            ask(r, "interrupted/model")
        flag.unlink()
        assert ask(r, "interrupted/model") == "interrupted says hello"


@pytest.mark.parametrize(
    "entry_points", [b"[router.plugins]\nno equals sign\n", b"\xff\xfe[console_scripts]\n"]
)
def test_unreadable_metadata_of_a_distribution_breaks_nobody_else(acme, entry_points):
    """One such distribution, of whatever kind, and no router could be made."""
    install(acme, "unreadable", version="3")
    (acme / "unreadable-3.dist-info" / "entry_points.txt").write_bytes(entry_points)
    with Router() as r:
        assert ask(r, "acme/model") == "acme says hello"
        info = of(r, "unreadable")["unreadable"]
        assert (info.status, info.version) == ("failed", "3")
        assert "its entry points cannot be read" in info.reason
    with pytest.raises(PluginLoadError, match=r"unreadable \(unreadable 3\)"):
        Router(strict=True, allow=["acme", "unreadable"])


def test_distribution_without_metadata_is_named_as_such(acme):
    (acme / "acme_plugin-1.2.dist-info" / "METADATA").unlink()
    with Router() as r:
        assert ask(r, "acme/model") == "acme says hello"
        assert [info.origin for info in r.plugins if info.name == "acme"] == [
            "acme (unnamed unknown)"
        ]


# -- names


def test_one_name_from_two_distributions_fails_both_and_names_both(acme, caplog):
    install(
        acme,
        "acme-fork",
        version="9",
        modules={"fork": PROVIDER.format(name="acme")},
        plugins={"acme": "fork:Acme"},
    )
    claim = "the name 'acme' is claimed by acme (acme-fork 9) and by acme (acme-plugin 1.2)"
    with caplog.at_level(logging.WARNING, "router"):
        r = Router([ScriptedProvider()])
    with pytest.raises(PluginError) as caught:
        ask(r, "acme/model")
    assert str(caught.value) == f"acme/model: {claim}"
    reasons = {i.distribution: i.reason for i in r.plugins if i.name == "acme"}
    assert reasons == {"acme-fork": claim, "acme-plugin": claim}
    assert [told["distribution"] for told in failures(caplog)] == list(reasons)
    assert ask(r, "acme/model", "scripted/model") == "ok"
    assert not {"acme", "fork"} & sys.modules.keys()
    with pytest.raises(PluginLoadError, match="claimed by"):
        Router(strict=True, allow=["acme"])


def test_one_name_from_two_distributions_is_resolved_by_blocking_one(acme):
    install(
        acme,
        "acme-fork",
        modules={"fork": PROVIDER.format(name="acme")},
        plugins={"acme": "fork:Acme"},
    )
    with Router(block=["acme-plugin"], strict=True, allow=["acme"]) as r:
        assert ask(r, "acme/model") == "acme says hello"
        statuses = {i.distribution: i.status for i in r.plugins if i.name == "acme"}
        assert statuses == {"acme-plugin": "blocked", "acme-fork": "loaded"}
    assert "acme" not in sys.modules


@pytest.mark.parametrize("beside", [b"", b"[router.plugins]\nno equals sign\n"])
def test_one_distribution_twice_on_the_path_is_one(acme, tmp_path, monkeypatch, beside):
    install(acme, "unreadable")
    (acme / "unreadable-1.0.dist-info" / "entry_points.txt").write_bytes(beside)
    again = tmp_path / "again"
    again.mkdir()
    install(again, "acme-plugin", version="1.1", plugins={"acme": "nosuch:Acme"})
    monkeypatch.syspath_prepend(again)
    monkeypatch.syspath_prepend(acme)
    with Router() as r:
        assert [i.version for i in r.plugins if i.name == "acme"] == ["1.2"]
        assert ask(r, "acme/model") == "acme says hello"


@pytest.mark.parametrize("first", ["acme", "bundle"])
def test_provider_of_another_plugins_name_fails_whichever_is_loaded_first(acme, first, caplog):
    """The plugin of that name served until the other one was loaded, and neither did after it."""
    install(
        acme,
        "bundle-plugin",
        version="5",
        modules={"bundle": BUNDLE.format(names=["else", "acme"])},
        plugins={"bundle": "bundle"},
    )
    claim = "the name 'acme' is claimed by acme (acme-plugin 1.2) and by bundle (bundle-plugin 5)"
    with Router() as r, caplog.at_level(logging.WARNING, "router"):
        if first == "acme":
            assert ask(r, "acme/model") == "acme says hello"
        for name in ("bundle", "else"):
            with pytest.raises(PluginError, match=re.escape(claim)):
                r.models(name)
        assert ask(r, "acme/model") == "acme says hello"
        r.providers()
        infos = of(r, "acme-plugin", "bundle-plugin")
        assert {name: info.status for name, info in infos.items()} == {
            "acme": "loaded",
            "bundle": "failed",
        }
        assert [told["reason"] for told in failures(caplog)] == [claim]
    with pytest.raises(PluginLoadError, match="claimed by"):
        Router(strict=True, allow=["acme", "bundle"])


@pytest.fixture
def rivals(site):
    """Two plugins that bring a provider of one name, which is neither's own."""
    for name in ("first", "second"):
        install(
            site,
            f"{name}-plugin",
            modules={name: BUNDLE.format(names=[name, "shared"])},
            plugins={name: name},
        )
    origins = "first (first-plugin 1.0) and by second (second-plugin 1.0)"
    return f"the name 'shared' is claimed by {origins}"


@pytest.mark.parametrize("loaded", ["first", "second"])
def test_provider_that_two_plugins_bring_is_nobodys_whichever_is_loaded_first(
    rivals, loaded, caplog
):
    """The one that was loaded first served it, silently, until the other one was loaded."""
    with Router(allow=["first", "second"]) as r, caplog.at_level(logging.WARNING, "router"):
        assert ask(r, f"{loaded}/model") == loaded
        for _ in range(2):
            with pytest.raises(PluginError) as caught:
                r.create_completion("shared/model", USER)
            assert str(caught.value) == f"shared/model: {rivals}"
        assert [provider.name for provider in r.providers()] == [
            loaded,
            *({"first", "second"} - {loaded}),
        ]
        assert ask(r, "second/model") == "second"
        assert {info.reason for info in r.plugins if info.status == "loaded"} == {rivals}
        assert [told["reason"] for told in failures(caplog)] == [rivals, rivals]
    with pytest.raises(PluginLoadError, match="claimed by"):
        Router(strict=True, allow=["first", "second"])


def test_provider_that_an_application_registers_keeps_its_name(rivals):
    """What was loaded later took the name from it, and kept it from both."""
    with Router([ScriptedProvider("shared", ["mine"])], allow=["first", "second"]) as r:
        r.providers()
        assert ask(r, "shared/model") == "mine"
        statuses = {info.name: info.status for info in r.plugins if info.distribution is not None}
        assert statuses.items() >= {"first": "failed", "second": "failed"}.items()


@pytest.mark.parametrize(
    "look",
    [
        lambda r: ask(r, "two/model"),
        lambda r: r.parameters("two"),
        lambda r: r.parameters("two/model"),
        lambda r: r.models("two"),
    ],
)
def test_provider_is_found_in_a_plugin_of_another_name(bundle, look):
    """It was found only when something else had loaded its plugin before."""
    with Router(allow=["bundle"]) as r:
        look(r)
        assert of(r, "bundle-plugin")["bundle"].providers == ("one", "two")


def test_name_of_a_plugin_that_is_no_providers_says_which_it_brings(bundle):
    """`did you mean bundle?`, it said."""
    with Router([Watcher()], allow=["bundle"]) as r:
        with pytest.raises(ModelNotFound) as caught:
            ask(r, "bundle/model")
        assert str(caught.value) == (
            "no provider is called 'bundle': the plugin of that name brings one/..., two/..."
        )
        with pytest.raises(ModelNotFound, match="the plugin of that name brings none"):
            r.models("Watcher")


def test_order_may_name_a_provider_in_a_plugin_of_another_name(bundle):
    with Router(allow=["bundle"], order=["two"]) as r:
        assert ask(r, "model") == "two"
    with pytest.raises(ConfigError, match="order names unknown providers: three"):
        Router(allow=["bundle"], order=["two", "three"])


# -- allowed and blocked


@pytest.fixture
def canary(acme: Path, tmp_path: Path) -> Path:
    """A file that the plugin `Canary.Bird` of `Canary_Plugin` makes when it is imported."""
    egg = tmp_path / "egg"
    install(
        acme,
        "Canary_Plugin",
        modules={
            "canary": f"open({str(egg)!r}, 'w').close()\n" + PROVIDER.format(name="Canary.Bird")
        },
        plugins={"Canary.Bird": "canary:Acme"},
    )
    return egg


@pytest.mark.parametrize("as_variable", [False, True], ids=["argument", "environment"])
@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("block", ["Canary.Bird"]),
        ("block", ["Canary_Plugin"]),
        ("block", ["canary-plugin"]),
        ("block", ["CANARY.plugin", "another"]),
        ("allow", ["acme"]),
        ("allow", ["acme-plugin"]),
        ("allow", ["Acme_Plugin", "another"]),
    ],
    ids=str,
)
def test_plugin_that_is_not_wanted_is_not_imported(canary, kind, names, as_variable):
    environ = {f"ROUTER_PLUGINS_{kind.upper()}": ", ".join(names)} if as_variable else {}
    arguments = {} if as_variable else {kind: names}
    with Router(environ=environ, **arguments) as r:
        assert "acme" in {model.provider for model in r.models()}
        with pytest.raises(PluginError, match=f"is blocked: .*{kind} list"):
            ask(r, "Canary.Bird/model")
        info = of(r, "Canary_Plugin")["Canary.Bird"]
        assert info.status == "blocked"
        assert f"{kind} list" in info.reason
    assert not canary.exists()


def test_names_in_one_str_are_names(canary):
    """The letters of it were, so that nothing was blocked."""
    with Router(block="Canary.Bird") as r:
        r.providers()
    with Router(allow="acme, another") as r:
        assert {model.provider for model in r.models()} == {"acme"}
    assert not canary.exists()


def test_both_block_lists_hold_and_an_allow_argument_wins(canary):
    environ = {"ROUTER_PLUGINS_BLOCK": "acme", "ROUTER_PLUGINS_ALLOW": "nothing"}
    with Router(environ=environ, block=["Canary.Bird"], allow=["acme", "Canary.Bird"]) as r:
        assert r.models() == []
    with Router(environ={"ROUTER_PLUGINS_ALLOW": "nothing"}, allow=["acme"]) as r:
        assert ask(r, "acme/model") == "acme says hello"
    with Router(allow=[]) as r:
        assert r.models() == []
    assert not canary.exists()


def test_all_can_be_turned_off(canary):
    with Router([ScriptedProvider()], environ={"ROUTER_DISABLE_PLUGIN_AUTOLOAD": "1"}) as r:
        assert [model.provider for model in r.models()] == ["scripted"]
        reason = of(r, "acme-plugin")["acme"].reason
        assert reason == "ROUTER_DISABLE_PLUGIN_AUTOLOAD is set"
    assert not canary.exists()
    with Router(environ={"ROUTER_DISABLE_PLUGIN_AUTOLOAD": "0"}) as r:
        assert ask(r, "acme/model") == "acme says hello"


def test_blocked_plugins_name_is_free(acme):
    """Who turns all plugins off and registers a few by hand was told that their names are taken."""
    with Router(environ={"ROUTER_DISABLE_PLUGIN_AUTOLOAD": "1"}) as r:
        r.register(ScriptedProvider("acme", ["mine"]))
        assert ask(r, "acme/model") == "mine"
    assert "acme" not in sys.modules


def test_block_list_says_nothing_of_what_is_not_there(acme):
    with Router(block=["nosuch"], strict=True, allow=["acme"]) as r:
        assert ask(r, "acme/model") == "acme says hello"


# -- settings


def test_settings_reach_the_plugin_of_their_name_alone(acme):
    source = f"""{HEAD}
from router.testing import ScriptedProvider
seen = []
@hookimpl
def register_providers(context):
    seen.append((context.name, dict(context.settings)))
    return []
"""
    install(acme, "nosy-plugin", modules={"nosy": source}, plugins={"nosy": "nosy"})
    settings = {"acme": {"word": "secret"}, "nosy": {"any": 1}}
    with Router(allow=["acme", "nosy"], settings=settings) as r:
        assert ask(r, "acme/model") == "acme says secret"
        r.providers()
    assert sys.modules["nosy"].seen == [("nosy", {"any": 1})]


# -- by hand


@provider("shout", models=["loud"])
def shout(model: str, messages: list, stream: bool) -> str:
    return messages[-1]["content"].upper()


class Watcher:
    def __init__(self) -> None:
        self.seen: list[str] = []

    @hookimpl
    def attempt_finished(self, attempt: Any) -> None:
        self.seen.append(attempt.target)


class Whisper(Provider):
    name = "whisper"
    models = ("soft",)

    def create_completion(self, model: str, messages: list, stream: bool) -> str:
        return messages[-1]["content"].lower()


@pytest.mark.parametrize("late", [False, True], ids=["Router(plugins=)", "register()"])
def test_plugins_registered_by_hand_serve(late):
    watcher = Watcher()
    mine = [shout, Whisper, ScriptedProvider("scripted"), watcher]
    r = Router(() if late else mine, allow=[])
    infos = [r.register(plugin) for plugin in mine] if late else r.plugins[-4:]
    names = ("shout", "whisper", "scripted", "Watcher")
    assert [(i.name, i.status, i.distribution) for i in infos] == [
        (n, "loaded", None) for n in names
    ]
    assert [ask(r, name) for name in ("shout/loud", "soft", "scripted/model")] == [
        "HELLO",
        "hello",
        "ok",
    ]
    assert watcher.seen == ["shout/loud", "whisper/soft", "scripted/model"]
    assert infos[0].origin == "shout (registered by hand)"


@pytest.mark.parametrize(
    ("plugin", "why"),
    [
        (5, "int is no plugin"),
        ("shout", "str is no plugin"),
        (object(), "object is no plugin"),
        (lambda: 5, "is no plugin"),
        (lambda model, messages, stream: "ok", "wants @provider(name, models=[...]) above it"),
        (type("P", (Provider,), {"name": "p"}), "p has no create_completion(model, messages, "),
        (ScriptedProvider("a/b"), "a word without a slash"),
    ],
    ids=str,
)
def test_what_is_no_plugin_is_refused_when_it_is_registered(plugin, why):
    r = Router(allow=[])
    before = r.plugins
    with pytest.raises(PluginLoadError) as caught:
        r.register(plugin)
    assert why in str(caught.value)
    assert "(registered by hand)" in str(caught.value)
    assert r.plugins == before


def test_models_of_a_function_in_one_str_are_refused():
    """Its letters were the models."""
    with pytest.raises(ConfigError, match="models is a list of models, not one str"):
        provider("shout", models="loud")


def test_name_that_is_taken_is_refused_with_the_ways_out(acme):
    with Router(allow=["acme"]) as r:
        with pytest.raises(ConfigError) as caught:
            r.register(ScriptedProvider("acme"))
        assert "the name 'acme' is taken by acme (acme-plugin 1.2)" in str(caught.value)
        assert "replace=True" in str(caught.value)
        assert 'Router(settings={"acme": ...})' in str(caught.value)
        assert "acme" not in sys.modules
        assert ask(r, "acme/model") == "acme says hello"


def test_provider_name_that_is_taken_is_refused_and_leaves_no_hooks(acme):
    class Greedy(Watcher):
        @hookimpl
        def register_providers(self) -> list[Provider]:
            return [ScriptedProvider("free"), ScriptedProvider("acme")]

    greedy = Greedy()
    with Router(allow=["acme"]) as r:
        with pytest.raises(ConfigError, match=r"taken by acme \(acme-plugin 1\.2\)"):
            r.register(greedy)
        assert ask(r, "acme/model") == "acme says hello"
        with pytest.raises(ModelNotFound):
            r.models("free")
    assert greedy.seen == []


def test_replacement_takes_the_place_of_an_installed_plugin(acme):
    with Router(allow=["acme"]) as r:
        r.register(ScriptedProvider("acme", ["mine"]), replace=True)
        assert ask(r, "acme/model") == "mine"
        assert [info.origin for info in r.plugins if info.name == "acme"] == [
            "acme (registered by hand)"
        ]
    assert "acme" not in sys.modules


def test_replacement_takes_the_place_of_one_registered_before_hooks_and_all():
    first, second = Watcher(), Watcher()
    with Router([ScriptedProvider()], allow=[]) as r:
        r.register(first, "watcher")
        r.register(second, "watcher", replace=True)
        ask(r, "scripted/model")
    assert (first.seen, second.seen) == ([], ["scripted/model"])


def test_broken_replacement_leaves_what_was_there():
    """It was gone before the new one had been looked at."""

    class Broken(Watcher):
        @hookimpl
        def register_providers(self) -> list[Provider]:
            raise OSError("no disk")

    watcher, broken_watcher = Watcher(), Broken()
    with Router([ScriptedProvider("acme", ["old"])], allow=[]) as r:
        r.register(watcher, "watcher")
        for plugin, name in ((ScriptedProvider("a/b"), "acme"), (broken_watcher, "watcher")):
            with pytest.raises(PluginLoadError):
                r.register(plugin, name, replace=True)
        assert ask(r, "acme/model") == "old"
    assert (watcher.seen, broken_watcher.seen) == (["acme/model"], [])


def test_replacement_resolves_a_name_from_two_distributions(acme):
    install(acme, "acme-fork", plugins={"acme": "fork:Acme"})
    with Router() as r:
        r.register(ScriptedProvider("acme", ["mine"]), replace=True)
        assert ask(r, "acme/model") == "mine"


def test_same_plugin_twice_is_refused():
    with Router([shout], allow=[]) as r, pytest.raises(ConfigError, match="taken by shout"):
        r.register(shout)


def test_plugin_of_several_models_has_them_by_id_and_alias():
    models = [Model(id="m-1", aliases=("small", "tiny")), "m-2"]
    with Router([ScriptedProvider("acme", models=models)], allow=[]) as r:
        assert [model.id for model in r.models("acme")] == ["m-1", "m-2"]
        assert r.create_completion("tiny", USER).trace.attempts[0].target == "acme/m-1"


# -- hooks at work


class Loud:
    """Notes the hooks that are called, and raises in them."""

    def __init__(self, error: BaseException) -> None:
        self.called: list[str] = []
        self._error = error

    def _call(self, hook: str) -> None:
        self.called.append(hook)
        raise self._error

    @hookimpl
    def attempt_started(self, attempt: Any) -> None:
        self._call("attempt_started")

    @hookimpl
    def attempt_finished(self) -> None:
        self._call("attempt_finished")

    @hookimpl
    def completion_finished(self, summary: Any) -> None:
        self._call("completion_finished")


@pytest.mark.parametrize("error", [ValueError("my bug"), SystemExit(3), GeneratorExit()], ids=repr)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_hook_that_raises_is_counted_and_changes_nothing(error, stream, caplog):
    """One that left by SystemExit took the call with it."""
    loud, watcher = Loud(error), Watcher()
    with Router([ScriptedProvider(), watcher, loud], allow=[]) as r:
        with caplog.at_level(logging.WARNING, "router"):
            answer = r.create_completion("scripted/model", USER, stream)
            assert "".join(answer) == "ok" if stream else answer.text == "ok"
        (info,) = [info for info in r.plugins if info.name == "Loud"]
    assert loud.called == ["attempt_started", "attempt_finished", "completion_finished"]
    assert (info.status, info.hook_errors) == ("loaded", 3)
    assert [other.hook_errors for other in r.plugins if other is not info] == [0] * (
        len(r.plugins) - 1
    )
    assert watcher.seen == ["scripted/model"]
    told = [(each.router["hook"], each.router["error_type"]) for each in caplog.records]
    assert told == [(hook, type(error).__name__) for hook in loud.called]
    assert all(record.getMessage().startswith("hook_failed ") for record in caplog.records)


def test_keyboard_interrupt_in_a_hook_is_the_users():
    r = Router([ScriptedProvider(), Loud(KeyboardInterrupt())], allow=[])
    with r, pytest.raises(KeyboardInterrupt):
        ask(r, "scripted/model")


def test_hooks_are_called_from_the_last_registered_to_the_first():
    """As pluggy has it; it was the other way round."""
    order: list[str] = []

    def plugin(name: str, **options: bool) -> Any:
        class Plugin:
            @hookimpl(**options)
            def attempt_started(self, attempt: Any) -> None:
                order.append(name)

        return Plugin()

    named = {
        "first": plugin("first", tryfirst=True),
        "one": plugin("one"),
        "two": plugin("two"),
        "last": plugin("last", trylast=True),
    }
    with Router([ScriptedProvider()], allow=[]) as r:
        for name, each in named.items():
            r.register(each, name)
        ask(r, "scripted/model")
    assert order == ["first", "two", "one", "last"]


def test_hooks_are_told_of_attempts_and_of_the_call():
    class Diary:
        def __init__(self) -> None:
            self.lines: list[Any] = []

        @hookimpl
        def attempt_started(self, attempt: Any) -> None:
            self.lines.append(("started", attempt.number, attempt.target, attempt.outcome))

        @hookimpl
        def attempt_finished(self, attempt: Any) -> None:
            self.lines.append(("finished", attempt.number, attempt.target, attempt.outcome))

        @hookimpl
        def completion_finished(self, summary: Any) -> None:
            told = (summary.target, type(summary.error).__name__, len(summary.trace.attempts))
            self.lines.append(("call", *told))

    diary = Diary()
    broken_, good = ScriptedProvider("broken", [ValueError("no")]), ScriptedProvider("good")
    with Router([broken_, good, diary], allow=[]) as r:
        ask(r, "broken/model", "good/model")
        with pytest.raises(PluginError):
            ask(r, "broken/model")
    assert diary.lines == [
        ("started", 1, "broken/model", "running"),
        ("finished", 1, "broken/model", "failed"),
        ("started", 2, "good/model", "running"),
        ("finished", 2, "good/model", "succeeded"),
        ("call", "good/model", "NoneType", 2),
        ("started", 1, "broken/model", "running"),
        ("finished", 1, "broken/model", "failed"),
        ("call", None, "PluginError", 1),
    ]


def test_hook_of_a_later_version_may_be_optional(site):
    source = f"{HEAD}\n@hookimpl(optionalhook=True)\ndef from_the_future(thing): ...\n"
    install(site, "future-plugin", modules={"future": source}, plugins={"future": "future"})
    with Router(strict=True, allow=["future"]) as r:
        assert of(r, "future-plugin")["future"].status == "loaded"


def test_every_hook_says_what_happens_when_it_raises():
    from router import hookspecs

    specified = [name for name, value in vars(hookspecs).items() if hasattr(value, "router_spec")]
    assert tuple(specified) == HOOKS
    for name in HOOKS:
        assert "When it raises" in getattr(hookspecs, name).__doc__


# -- the end


def test_every_provider_is_closed_whatever_another_one_does(caplog):
    closed: list[str] = []

    def closing(name: str, error: Exception | None = None) -> ScriptedProvider:
        scripted = ScriptedProvider(name)

        def close() -> None:
            closed.append(name)
            if error is not None:
                raise error

        scripted.close = close
        return scripted

    with Router([closing("a", OSError("no")), closing("b")], allow=[]) as r:
        r.register(closing("b"), replace=True)
        with caplog.at_level(logging.WARNING, "router"):
            r.close()
    assert closed == ["a", "b", "b"]
    assert [(each.router["provider"], each.router["error_type"]) for each in caplog.records] == [
        ("a", "OSError")
    ]
