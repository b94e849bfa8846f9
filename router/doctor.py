"""What may keep calls from working here: found by looking, without a call."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import re
from collections.abc import Iterator, Mapping
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit
from urllib.request import url2pathname

import msgspec
from msgspec import Struct

from router.config import load
from router.errors import ConfigError, PluginError
from router.router import Router
from router.transport.network import PROXY_VARIABLES

DISTRIBUTION = "pluggable-router"
PACKAGES = ("router", "providers")
DEVELOPERS_EXTRAS = frozenset({"dev", "test", "testing"})

REQUIREMENT = re.compile(
    r"(?P<name>[\w.-]+)(?:[>=]=(?P<floor>[\w.]+))?[^;]*(?:;.*extra == ['\"](?P<extra>\w+)['\"])?"
)


class Finding(Struct, frozen=True):
    """One thing that was looked at.

    Attributes:
        status: `ok`; `note` is what may be as it was meant; `broken` is what cannot be.
        check: What was looked at: imports, requirements, extras, config, plugins, providers,
            proxies.
        detail: What was found and, unless it is well, what to do.
    """

    status: Literal["ok", "note", "broken"]
    check: str
    detail: str


class DirectUrlInfo(Struct, frozen=True):
    """The part of direct_url.json (PEP 610) that says whether an installation is editable."""

    editable: bool = False


class DirectUrl(Struct, frozen=True):
    """Where a distribution that came from no index came from."""

    url: str = ""
    dir_info: DirectUrlInfo = DirectUrlInfo()


def examine(config: Path | None, folder: Path, environ: Mapping[str, str]) -> list[Finding]:
    """Look at everything.

    Args:
        config: The router.toml in use, if any.
        folder: Whose files might hide ours: the working directory.
        environ: The environment.
    """
    findings = [Finding("ok", "version", f"Python {platform.python_version()}")]
    try:
        distribution = importlib.metadata.distribution(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        findings.append(
            Finding("broken", "imports", f"{DISTRIBUTION} is not installed: no plugin is found")
        )
    else:
        findings += _imports(distribution, folder)
        findings += _requirements(distribution)
    router, trust_env, faults = _router(config)
    with router:
        findings += [*faults, *_plugins(router), *_providers(router)]
    return [*findings, *_proxies(environ, trust_env=trust_env)]


def _imports(distribution: importlib.metadata.Distribution, folder: Path) -> Iterator[Finding]:
    for package in PACKAGES:
        installed = _installed(distribution, package)
        loaded = _place(importlib.util.find_spec(package))
        if loaded is None:
            yield Finding("broken", "imports", f"{package} is not found: it should be {installed}")
        elif loaded.resolve() != installed.resolve():
            yield Finding(
                "broken",
                "imports",
                f"{package} comes from {loaded}, which hides the installed one in {installed}: "
                "rename it, or take its folder off sys.path",
            )
        else:
            version = f"{distribution.name} {distribution.version}"
            yield Finding("ok", "imports", f"{package} is that of {version}, in {loaded}")
        here = _place(PathFinder.find_spec(package, [str(folder)]))
        if here is not None and here.resolve() != installed.resolve():
            yield Finding(
                "broken",
                "imports",
                f"{here} hides the installed {package} from programs that are started in {folder} "
                "(this command is not affected): rename it",
            )
        if others := sorted(_claiming(package) - {distribution.name}):
            yield Finding("broken", "imports", f"{package} is also claimed by {', '.join(others)}")


def _claiming(package: str) -> set[str]:
    """The distributions that install a package or module of that name.

    `packages_distributions` says so too, and takes ten times as long over it.
    """
    claiming = set()
    for distribution in importlib.metadata.distributions():
        record = f"\n{distribution.read_text('RECORD') or ''}"
        if f"\n{package}/__init__.py," in record or f"\n{package}.py," in record:
            claiming.add(distribution.name)
    return claiming


def _installed(distribution: importlib.metadata.Distribution, package: str) -> Path:
    """Where a package of a distribution should be."""
    text = distribution.read_text("direct_url.json")
    source = msgspec.json.decode(text, type=DirectUrl) if text else DirectUrl()
    if source.dir_info.editable:
        return Path(url2pathname(urlsplit(source.url).path)) / package
    return Path(str(distribution.locate_file(package)))


def _place(spec: ModuleSpec | None) -> Path | None:
    """A package's folder, or a module's file; none for a folder without `__init__.py`.

    Such a folder hides nothing: regular packages go before it, wherever they are on the path.
    """
    if spec is None or spec.origin is None:
        return None
    origin = Path(spec.origin)
    return origin.parent if spec.submodule_search_locations is not None else origin


def _requirements(distribution: importlib.metadata.Distribution) -> Iterator[Finding]:
    for requirement in distribution.requires or ():
        match = REQUIREMENT.fullmatch(requirement)
        if match is None or match["extra"] in DEVELOPERS_EXTRAS:
            continue
        name, floor, extra = match["name"], match["floor"], match["extra"]
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            if extra is None:
                yield Finding("broken", "requirements", f"{name} is missing: pip install {name}")
            else:
                command = f"pip install '{DISTRIBUTION}[{extra}]'"
                yield Finding("note", "extras", f"{name} is not installed: {command}")
            continue
        if floor and _numbers(version) < _numbers(floor):
            yield Finding(
                "broken",
                "requirements",
                f"{name} {version} is too old: pip install '{name}>={floor}'",
            )


def _numbers(version: str) -> list[int]:
    """The numbers of a version, to be compared."""
    return [int(number) for number in re.findall(r"\d+", version.partition("+")[0])]


def _router(config: Path | None) -> tuple[Router, bool, list[Finding]]:
    """The router that is configured, or a plain one with what is wrong with that."""
    if config is None:
        return Router(), False, []
    try:
        trust_env = bool(load(config).arguments.get("trust_env", False))
        return Router.from_config(config), trust_env, [Finding("ok", "config", str(config))]
    except ConfigError as error:
        faults = [f"{config}: {fault}" for fault in error.faults] or [error.message]
        return Router(), False, [Finding("broken", "config", fault) for fault in faults]
    except PluginError as error:
        return Router(), False, [Finding("broken", "config", f"{config}: strict: {error}")]


def _plugins(router: Router) -> Iterator[Finding]:
    router.providers()  # loads them all
    for info in router.plugins:
        if info.status == "failed":
            yield Finding("broken", "plugins", f"{info.origin} failed: {info.reason}")
        elif info.status == "blocked":
            yield Finding("note", "plugins", f"{info.origin} is blocked: {info.reason}")
        elif info.reason is not None:
            yield Finding("broken", "plugins", f"{info.origin}: {info.reason}")
        else:
            yield Finding("ok", "plugins", info.origin)


def _providers(router: Router) -> Iterator[Finding]:
    for provider in router.providers():
        try:
            missing = provider.missing()
        except Exception as error:  # noqa: BLE001  # a plugin may raise anything
            missing = f"missing() raised {type(error).__name__}"
        if missing is not None:
            yield Finding("note", "providers", f"{provider.name}: {missing}")


def _proxies(environ: Mapping[str, str], *, trust_env: bool) -> Iterator[Finding]:
    found = [name for name in PROXY_VARIABLES if environ.get(name)]
    if found and not trust_env:
        yield Finding(
            "note",
            "proxies",
            f"{', '.join(found)} set but not used: Router(trust_env=True) or trust_env = true in "
            "the section [router] of router.toml uses it",
        )
