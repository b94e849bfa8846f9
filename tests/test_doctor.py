from collections.abc import Mapping
from importlib.metadata import requires, version
from pathlib import Path

import pytest
from distributions import install

import router
from router.doctor import REQUIREMENT, examine

PACKAGES = Path(router.__file__).parent.parent

SHIPS = """
import os

from router import Provider, provider


class Ship(Provider):
    models = ("large",)

    def create_completion(self, model: str, messages: list, stream: bool):
        return "ahoy"


class Laden(Ship):
    name = "laden"


class Empty(Ship):
    name = "empty"

    def missing(self):
        return "no key: set SHIP_KEY"


class Mutinous(Ship):
    name = "mutinous"

    def missing(self):
        raise OSError("the crew refuses")
"""

PLUGINS = {name.lower(): f"ships:{name}" for name in ("Laden", "Empty", "Mutinous")}


class Yard:
    """A folder on `sys.path` that has pluggable-router installed, as far as metadata go."""

    def __init__(self, folder: Path) -> None:
        self.site = folder / "site"
        self.work = folder / "work"
        self.site.mkdir()
        self.work.mkdir()

    def build(
        self,
        *,
        requires: tuple[str, ...] = (),
        plugins: Mapping[str, str] | None = None,
        editable: Path | None = PACKAGES,
    ) -> None:
        install(
            self.site,
            "pluggable-router",
            modules={"ships": SHIPS, "wrecked": "import nonesuch"},
            requires=requires,
            plugins=plugins,
            editable=editable,
        )

    def look(
        self, check: str, config: Path | None = None, environ: Mapping[str, str] | None = None
    ) -> list[tuple[str, str]]:
        """What is found by one check, with its status."""
        findings = examine(config, self.work, environ or {})
        return [(each.status, each.detail) for each in findings if each.check == check]


@pytest.fixture
def yard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Yard:
    made = Yard(tmp_path)
    monkeypatch.syspath_prepend(made.site)
    monkeypatch.setenv("ROUTER_PLUGINS_ALLOW", "laden empty mutinous wrecked")
    return made


# Where the packages come from


def test_modules_that_come_from_the_installation_are_well(yard: Yard) -> None:
    yard.build()
    assert yard.look("imports") == [
        ("ok", f"router is that of pluggable-router 1.0, in {PACKAGES / 'router'}"),
        ("ok", f"providers is that of pluggable-router 1.0, in {PACKAGES / 'providers'}"),
    ]


def test_modules_that_come_from_elsewhere_are_told(yard: Yard) -> None:
    """As when `PYTHONPATH` names a folder that has a `providers` of its own."""
    yard.build(editable=None)
    assert [status for status, _ in yard.look("imports")] == ["broken", "broken"]
    assert yard.look("imports")[1][1] == (
        f"providers comes from {PACKAGES / 'providers'}, which hides the installed one in "
        f"{yard.site / 'providers'}: rename it, or take its folder off sys.path"
    )


def test_an_installation_without_direct_url_is_looked_for_beside_its_metadata(yard: Yard) -> None:
    yard.build(editable=None)
    for package in ("router", "providers"):
        (yard.site / package).symlink_to(PACKAGES / package)
    assert [status for status, _ in yard.look("imports")] == ["ok", "ok"]


@pytest.mark.parametrize(
    ("files", "hidden"),
    [
        (["router.py"], ["router.py"]),
        (["providers.py"], ["providers.py"]),
        (["router/__init__.py", "providers/__init__.py"], ["router", "providers"]),
        (["providers/mine.py"], []),
        (["routers.py"], []),
    ],
)
def test_what_hides_the_packages_in_the_working_directory_is_told(
    yard: Yard, files: list[str], hidden: list[str]
) -> None:
    """A folder without `__init__.py` hides nothing."""
    yard.build()
    for name in files:
        path = yard.work / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    told = [detail for status, detail in yard.look("imports") if status == "broken"]
    assert [detail.partition(" hides ")[0] for detail in told] == [
        str(yard.work / name) for name in hidden
    ]


def test_the_checkout_itself_hides_nothing(yard: Yard) -> None:
    yard.build()
    yard.work.rmdir()
    yard.work.symlink_to(PACKAGES)
    assert [status for status, _ in yard.look("imports")] == ["ok", "ok"]


def test_another_distribution_that_claims_a_name_is_told(yard: Yard) -> None:
    yard.build()
    for name, file in (("web-router", "router/__init__.py"), ("routes", "router.py")):
        install(yard.site, name)
        (yard.site / f"{name.replace('-', '_')}-1.0.dist-info" / "RECORD").write_text(f"{file},,\n")
    install(yard.site, "routers")
    (yard.site / "routers-1.0.dist-info" / "RECORD").write_text("my/router.py,,\nrouters.py,,\n")
    assert ("broken", "router is also claimed by routes, web-router") in yard.look("imports")
    assert len(yard.look("imports")) == 3


def test_a_missing_installation_is_told(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.doctor.DISTRIBUTION", "pluggable-router-of-nowhere")
    assert yard.look("imports") == [
        ("broken", "pluggable-router-of-nowhere is not installed: no plugin is found")
    ]


# What else is installed


def test_requirements_that_are_met_are_not_mentioned(yard: Yard) -> None:
    requires = ("pluggy>=1.0", "click>=8.1; extra == 'cli'", "requests", "click<99,>=8.1")
    yard.build(requires=requires)
    assert yard.look("requirements") == yard.look("extras") == []


@pytest.mark.parametrize(
    ("requirement", "check", "finding"),
    [
        (
            "pluggy>=99.1",
            "requirements",
            ("broken", f"pluggy {version('pluggy')} is too old: pip install 'pluggy>=99.1'"),
        ),
        ("nonesuch>=1", "requirements", ("broken", "nonesuch is missing: pip install nonesuch")),
        (
            'nonesuch>=1; extra == "async"',
            "extras",
            ("note", "nonesuch is not installed: pip install 'pluggable-router[async]'"),
        ),
        (
            'pluggy>=99.1; extra == "async"',
            "requirements",
            ("broken", f"pluggy {version('pluggy')} is too old: pip install 'pluggy>=99.1'"),
        ),
    ],
)
def test_requirements_that_are_not_met_are_told(
    yard: Yard, requirement: str, check: str, finding: tuple[str, str]
) -> None:
    yard.build(requires=(requirement,))
    assert yard.look(check) == [finding]


def test_what_developers_need_is_nobody_else_s_concern(yard: Yard) -> None:
    requires = ('nonesuch; extra == "test"', "pluggable-router[nonesuch]; extra == 'dev'")
    yard.build(requires=requires)
    assert yard.look("requirements") == yard.look("extras") == []


def test_our_own_requirements_are_understood() -> None:
    """A requirement in a form that is not would be passed over in silence."""
    for requirement in requires("pluggable-router") or []:
        match = REQUIREMENT.fullmatch(requirement)
        assert match, requirement
        assert (match["extra"] is not None) == ("extra ==" in requirement)
        assert (match["floor"] is not None) == (
            ">=" in requirement or "==" in requirement.split(";")[0]
        )


# Plugins, providers, configuration, proxies


def test_plugins_are_told_with_their_reasons(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROUTER_PLUGINS_BLOCK", "empty")
    yard.build(plugins={**PLUGINS, "wrecked": "wrecked:wreck"})
    install(yard.site, "pirates", plugins={"jolly": "ships:Laden"})
    monkeypatch.setenv("ROUTER_PLUGINS_ALLOW", "laden empty wrecked jolly")
    claimed = "the name 'laden' is claimed by"
    told = yard.look("plugins")
    assert [(status, detail.partition(claimed)[0]) for status, detail in told] == [
        ("note", "empty (pluggable-router 1.0) is blocked: on the block list"),
        ("broken", "jolly (pirates 1.0) failed: "),
        ("ok", "laden (pluggable-router 1.0)"),
        ("note", "mutinous (pluggable-router 1.0) is blocked: not on the allow list"),
        ("broken", "wrecked (pluggable-router 1.0) failed: the module nonesuch is not installed"),
    ]


def test_what_providers_lack_is_told(yard: Yard) -> None:
    yard.build(plugins=PLUGINS)
    assert yard.look("providers") == [
        ("note", "empty: no key: set SHIP_KEY"),
        ("note", "mutinous: missing() raised OSError"),
    ]


def test_all_faults_of_a_configuration_are_told_and_the_rest_is_looked_at(
    yard: Yard, tmp_path: Path
) -> None:
    yard.build(plugins=PLUGINS)
    config = tmp_path / "router.toml"
    config.write_text("[policy]\ndeadlin = 1\n[routes.a]\ntargets = ['laden/huge']\n")
    assert yard.look("config", config) == [
        ("broken", f"{config}: policy.deadlin: no such key: did you mean deadline?"),
        ("broken", f"{config}: routes.a: laden serves no 'huge' (it serves large)"),
    ]
    assert len(yard.look("providers", config)) == 2


def test_a_strict_configuration_with_a_broken_plugin_is_told(yard: Yard, tmp_path: Path) -> None:
    yard.build(plugins={"wrecked": "wrecked:wreck"})
    config = tmp_path / "router.toml"
    config.write_text("[router]\nstrict = true")
    ((status, detail),) = yard.look("config", config)
    assert status == "broken"
    assert detail.startswith(f"{config}: strict: wrecked (pluggable-router 1.0)")


def test_a_configuration_in_order_is_well(yard: Yard, tmp_path: Path) -> None:
    yard.build()
    config = tmp_path / "router.toml"
    config.write_text("[router]\ntrust_env = true")
    assert yard.look("config", config) == [("ok", str(config))]
    assert yard.look("proxies", config, {"HTTPS_PROXY": "http://127.0.0.1:1"}) == []


def test_a_proxy_that_is_not_used_is_told(yard: Yard) -> None:
    yard.build()
    ((status, detail),) = yard.look("proxies", environ={"HTTPS_PROXY": "http://127.0.0.1:1"})
    assert (status, detail.partition(":")[0]) == ("note", "HTTPS_PROXY set but not used")
    assert yard.look("proxies", environ={"HTTPS_PROXY": ""}) == []
