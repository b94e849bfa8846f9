"""What is installed: the entry points of plugins, read without importing any of them."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import Distribution, EntryPoint
from typing import Literal

from msgspec import Struct

from router.errors import ConfigError

GROUP = "router.plugins"
ALLOW_VARIABLE = "ROUTER_PLUGINS_ALLOW"
BLOCK_VARIABLE = "ROUTER_PLUGINS_BLOCK"
OFF_VARIABLE = "ROUTER_DISABLE_PLUGIN_AUTOLOAD"

Status = Literal["available", "loaded", "failed", "blocked"]


class PluginInfo(Struct, kw_only=True):
    """What is known of a plugin.

    Attributes:
        name: Its entry point's name, or that of what was registered by hand.
        status: `available` is installed but not loaded yet; of what `failed` or is `blocked`,
            nothing is used.
        distribution, version: What it was installed from; `None` when registered by hand.
        value: What its entry point names, `package.module:object`.
        kind: The plugin that it is another of, by the setting `kind`; `None` when it is none.
        providers: The names of the providers that it registered.
        reason: Why it failed or is blocked; of one that is loaded, which of its names is not its.
        hook_errors: How often one of its hooks raised.
    """

    name: str
    status: Status
    distribution: str | None = None
    version: str | None = None
    value: str | None = None
    kind: str | None = None
    providers: tuple[str, ...] = ()
    reason: str | None = None
    hook_errors: int = 0

    @property
    def origin(self) -> str:
        """Where it came from, for a message: `name (distribution version)`."""
        if self.distribution is None:
            return f"{self.name} (registered by hand)"
        return f"{self.name} ({self.distribution} {self.version})"

    def claims(self, name: str) -> bool:
        """Whether the name is its own or that of one of its providers."""
        return self.status != "blocked" and (name == self.name or name in self.providers)

    def owns(self, name: str) -> bool:
        """Whether a provider of the name can only be its own.

        What is installed owns the name of its entry point, which is known before anything is
        loaded; what an application registers owns all the names that it brings.
        """
        return self.claims(name) and (name == self.name or self.distribution is None)


class Selection(Struct, frozen=True, kw_only=True):
    """Which entry points may be imported at all: by the plugin's name or the distribution's.

    A distribution's name is written in any way that pip takes: `Router_Acme` is `router-acme`.
    """

    allow: frozenset[str] | None = None
    block: frozenset[str] = frozenset()
    off: bool = False

    @classmethod
    def make(
        cls,
        allow: Iterable[str] | None,
        block: Iterable[str] | None,
        environ: Mapping[str, str],
    ) -> Selection:
        """From arguments and environment: both block lists hold, an allow argument wins.

        Raises:
            ConfigError: A name is no str.
        """
        names = _names(environ.get(ALLOW_VARIABLE, "")) or None
        if allow is not None:
            names = _names(allow)
        return cls(
            allow=names,
            block=_names(block or ()) | _names(environ.get(BLOCK_VARIABLE, "")),
            off=environ.get(OFF_VARIABLE, "") not in ("", "0"),
        )

    def refusal(self, info: PluginInfo) -> str | None:
        """Why a plugin must not be imported, or `None`."""
        names = {info.name, *_names((info.distribution or "",))}
        if self.off:
            return f"{OFF_VARIABLE} is set"
        if names & self.block:
            return "on the block list"
        if self.allow is not None and not names & self.allow:
            return "not on the allow list"
        return None


def _names(given: Iterable[str]) -> frozenset[str]:
    """Names as they are and as pip compares them; a string is a list with commas or blanks."""
    words = given.replace(",", " ").split() if isinstance(given, str) else list(given)
    for word in words:
        if not isinstance(word, str):
            raise ConfigError(f"allow and block hold names, not {type(word).__name__}")
    return frozenset(words) | {re.sub(r"[-_.]+", "-", word).lower() for word in words}


class Installed(Struct, frozen=True, kw_only=True):
    """A plugin that is installed; without an entry point where its metadata cannot be read."""

    info: PluginInfo
    entry_point: EntryPoint | None = None


def discover(selection: Selection) -> list[Installed]:
    """All that is installed, by name: available, blocked, or failed already.

    Two that may be imported and have one name fail both: neither is taken for the other.
    """
    found = sorted(_installed(), key=lambda each: (each.info.name, each.info.distribution))
    rivals: dict[str, list[PluginInfo]] = {}
    for each in found:
        info = each.info
        if (refusal := selection.refusal(info)) is not None:
            info.status, info.reason = "blocked", refusal
        elif info.status == "available":
            rivals.setdefault(info.name, []).append(info)
    for name, infos in rivals.items():
        if len(infos) > 1:
            for info in infos:
                info.status, info.reason = "failed", conflict(name, infos)
    return found


def conflict(name: str, infos: Iterable[PluginInfo]) -> str:
    """That plugins claim one name, and which."""
    origins = list(dict.fromkeys(info.origin for info in infos))
    twice = " twice" if len(origins) == 1 else ""
    return f"the name {name!r} is claimed{twice} by {' and by '.join(origins)}"


def _installed() -> Iterable[Installed]:
    try:
        found = importlib.metadata.entry_points(group=GROUP)
    except (TypeError, ValueError):  # what malformed and undecodable entry points raise
        return _one_by_one()
    identity = cache(_identity)  # one distribution may have many, and its metadata is long
    return [
        Installed(info=_info(entry_point, *identity(entry_point.dist)), entry_point=entry_point)
        for entry_point in found
    ]


def _one_by_one() -> Iterator[Installed]:
    """For when the metadata of some distribution is broken, which costs the others nothing."""
    seen: set[str] = set()
    for distribution in importlib.metadata.distributions():
        name, version = _identity(distribution)
        if name in seen:  # the first on the path hides the others, as it does for imports
            continue
        seen.add(name)
        try:
            entry_points = distribution.entry_points.select(group=GROUP)
        except (TypeError, ValueError) as error:
            reason = f"its entry points cannot be read: {type(error).__name__}"
            info = PluginInfo(
                name=name, status="failed", distribution=name, version=version, reason=reason
            )
            yield Installed(info=info)
            continue
        for entry_point in entry_points:
            yield Installed(info=_info(entry_point, name, version), entry_point=entry_point)


def _info(entry_point: EntryPoint, distribution: str, version: str) -> PluginInfo:
    return PluginInfo(
        name=entry_point.name,
        status="available",
        distribution=distribution,
        version=version,
        value=entry_point.value,
    )


def _identity(distribution: Distribution | None) -> tuple[str, str]:
    """The name and version of a distribution, whose metadata may lack either."""
    if distribution is None:
        return "unnamed", "unknown"
    metadata = distribution.metadata
    names, versions = metadata.get_all("Name"), metadata.get_all("Version")
    return (names or ["unnamed"])[0], (versions or ["unknown"])[0]
