"""Finding plugins, loading them one by one, and keeping a broken one from the others."""

from __future__ import annotations

import importlib.metadata
import threading
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import pluggy
from msgspec import Struct

from router import hookspecs
from router.errors import ConfigError, PluginError, PluginLoadError
from router.events import HOOK_FAILED, PLUGIN_FAILED, Log
from router.hookspecs import PROJECT, PluginContext
from router.parameters import Parameters, close_matches, read_signature
from router.provider import Provider, check_name
from router.settings import check_settings
from router.types import Model

GROUP = "router.plugins"
ALLOW_VARIABLE = "ROUTER_PLUGINS_ALLOW"
BLOCK_VARIABLE = "ROUTER_PLUGINS_BLOCK"
OFF_VARIABLE = "ROUTER_DISABLE_PLUGIN_AUTOLOAD"

Status = Literal["available", "loaded", "failed", "blocked"]


class PluginInfo(Struct, kw_only=True):
    """What is known of a plugin.

    Attributes:
        name: Its entry point's name, or that of what was registered by hand.
        status: `available` is installed but not loaded yet.
        distribution, version: What it was installed from; `None` when registered by hand.
        value: What its entry point names, `package.module:object`.
        providers: The names of the providers that it registered.
        reason: Why it failed or is blocked.
        hook_errors: How often one of its hooks raised.
    """

    name: str
    status: Status
    distribution: str | None = None
    version: str | None = None
    value: str | None = None
    providers: tuple[str, ...] = ()
    reason: str | None = None
    hook_errors: int = 0

    @property
    def origin(self) -> str:
        """Where it came from, for a message: `name (distribution version)`."""
        if self.distribution is None:
            return f"{self.name} (registered by hand)"
        return f"{self.name} ({self.distribution} {self.version})"


class Registered(Struct, frozen=True, kw_only=True):
    """A provider that the host has accepted: its contract is checked and read."""

    provider: Provider
    plugin: PluginInfo
    parameters: Parameters
    models: tuple[Model, ...]

    @property
    def name(self) -> str:
        return self.provider.name


class Selection(Struct, frozen=True, kw_only=True):
    """Which entry points may be imported at all; by the plugin's or the distribution's name."""

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
        """From arguments and environment: both block lists hold, an allow argument wins."""
        names = _words(environ.get(ALLOW_VARIABLE, "")) or None
        if allow is not None:
            names = frozenset(allow)
        return cls(
            allow=names,
            block=frozenset(block or ()) | _words(environ.get(BLOCK_VARIABLE, "")),
            off=environ.get(OFF_VARIABLE, "") not in ("", "0"),
        )

    def refusal(self, names: set[str]) -> str | None:
        """Why a plugin of these names must not be imported, or `None`."""
        if self.off:
            return f"{OFF_VARIABLE} is set"
        if names & self.block:
            return "on the block list"
        if self.allow is not None and not names & self.allow:
            return "not on the allow list"
        return None


def _words(text: str) -> frozenset[str]:
    return frozenset(text.replace(",", " ").split())


class PluginHost:
    """The plugins of one router: a pluggy manager, with a guard around every plugin.

    Args:
        selection: Which entry points may be imported.
        settings: Provider settings by plugin name, given to nobody else.
        strict: Whether a broken plugin raises instead of being reported.
        log: Where failures go.
    """

    def __init__(
        self,
        selection: Selection,
        settings: Mapping[str, Mapping[str, Any]],
        *,
        strict: bool,
        log: Log,
    ) -> None:
        self.manager = pluggy.PluginManager(PROJECT)
        self.manager.add_hookspecs(hookspecs)
        self._settings = settings
        self._strict = strict
        self._log = log
        self._lock = threading.RLock()
        self._infos: list[PluginInfo] = []
        self._entry_points: dict[str, tuple[PluginInfo, importlib.metadata.EntryPoint]] = {}
        self._claims: dict[str, list[Registered]] = {}
        self._discover(selection)

    # -- what there is

    @property
    def infos(self) -> list[PluginInfo]:
        """All plugins, in the order in which they were found or registered."""
        return list(self._infos)

    def names(self) -> set[str]:
        """The names that may stand before a slash: loaded providers and plugins to be loaded."""
        return {*self._claims, *(info.name for info in self._infos)}

    def get(self, name: str) -> Registered | None:
        """The provider of a name, loading the plugin of that name alone; `None` if there is none.

        Raises:
            PluginError: The plugin is broken or blocked, or two plugins claim the name.
        """
        if name not in self._claims:
            self.load(name)
        claims = self._claims.get(name, [])
        if len(claims) > 1:
            raise PluginError(_conflict(name, [claim.plugin for claim in claims]))
        if claims:
            return claims[0]
        for info in self._infos:
            if info.name == name and info.status in ("failed", "blocked"):
                raise PluginError(f"the plugin {info.origin} is {info.status}: {info.reason}")
        return None

    def all(self) -> list[Registered]:
        """Every provider whose name is claimed once, loading all plugins."""
        self.load_all()
        return [claims[0] for claims in self._claims.values() if len(claims) == 1]

    def loaded(self) -> list[Registered]:
        """The providers that exist by now."""
        return [claim for claims in self._claims.values() for claim in claims]

    # -- loading

    def load_all(self) -> None:
        """Load every plugin that is not loaded yet.

        Raises:
            PluginLoadError: One is broken, and the host is strict.
        """
        for name in list(self._entry_points):
            self.load(name)
        if self._strict:
            for info in self._infos:
                if info.status == "failed":
                    raise PluginLoadError(f"{info.origin}: {info.reason}")

    def configure(self) -> None:
        """Load the plugins that have settings, so that a wrong setting is known up front.

        Raises:
            ConfigError: A setting is wrong, or is for a plugin that is not there.
        """
        for name in self._settings:
            if name not in self.names():
                close = close_matches(name, self.names())
                hint = f"; did you mean {' or '.join(close)}?" if close else ""
                raise ConfigError(f"settings for {name!r}, but no plugin has that name{hint}")
            self.load(name, configured=True)

    def load(self, name: str, *, configured: bool = False) -> None:
        """Load the plugin of an entry point's name, once; nothing happens if there is none.

        Raises:
            PluginLoadError: It is broken, and the host is strict.
            ConfigError: Its settings are wrong, and it is `configured` by the application.
        """
        with self._lock:
            found = self._entry_points.pop(name, None)
            if found is None:
                return
            info, entry_point = found
            try:
                self._accept(entry_point.load(), info)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # a plugin may raise anything at import, SystemExit too
                if configured and isinstance(error, ConfigError):
                    raise
                self._fail(info, error)

    def register(
        self, plugin: Any, name: str | None = None, *, replace: bool = False
    ) -> PluginInfo:
        """Register by hand a plugin, a provider, or a function decorated with `@provider`.

        Args:
            plugin: What to register.
            name: Its name; a provider's own by default.
            replace: Whether it takes the place of what has its name, installed or registered.

        Raises:
            ConfigError: Its name is taken, or its settings are wrong.
            PluginLoadError: It breaks the contract.
        """
        with self._lock:
            info = PluginInfo(name=name or _name_of(plugin), status="available")
            if replace:
                self._forget(info.name)
            if taken := [each for each in self._infos if each.name == info.name]:
                raise ConfigError(
                    f"{_conflict(info.name, taken)}: pass replace=True to take its place, or give "
                    f'settings to the one that is there: Router(settings={{"{info.name}": ...}})'
                )
            try:
                self._accept(plugin, info)
            except Exception as error:
                if isinstance(error, ConfigError) and info.name in self._settings:
                    raise
                raise PluginLoadError(f"{info.origin}: {_reason(error)}") from error
            self._infos.append(info)
            for provider in info.providers:
                if len(claims := self._claims[provider]) > 1:
                    self._withdraw(info)
                    raise ConfigError(_conflict(provider, [claim.plugin for claim in claims]))
            return info

    def close(self) -> list[tuple[Registered, Exception]]:
        """Close every provider; what one raises does not keep the others from it."""
        failed = []
        for registered in self.loaded():
            try:
                registered.provider.close()
            except Exception as error:  # noqa: BLE001  # a plugin may raise anything
                failed.append((registered, error))
        return failed

    # -- hooks

    def observe(self, hook: str, **arguments: Any) -> None:
        """Call every implementation of an observer hook, each behind a guard."""
        for implementation in getattr(self.manager.hook, hook).get_hookimpls():
            wanted = [arguments[name] for name in implementation.argnames]
            try:
                implementation.function(*wanted)
            except Exception as error:  # noqa: BLE001  # a plugin may raise anything
                self._hook_failed(hook, implementation.plugin_name, error)

    @property
    def observers(self) -> frozenset[str]:
        """The observer hooks that anything implements."""
        names = ("attempt_started", "attempt_finished", "completion_finished")
        return frozenset(n for n in names if getattr(self.manager.hook, n).get_hookimpls())

    def _hook_failed(self, hook: str, plugin: str, error: Exception) -> None:
        for info in self._infos:
            if info.name == plugin:
                info.hook_errors += 1
        self._log.warning(HOOK_FAILED, plugin=plugin, hook=hook, error_type=type(error).__name__)

    # -- inside

    def _discover(self, selection: Selection) -> None:
        by_name: dict[str, list[importlib.metadata.EntryPoint]] = {}
        for entry_point in importlib.metadata.entry_points(group=GROUP):
            by_name.setdefault(entry_point.name, []).append(entry_point)
        for name, entry_points in sorted(by_name.items()):
            infos = [_info(entry_point) for entry_point in entry_points]
            open_infos = []
            for info in infos:
                refusal = selection.refusal({name, info.distribution or name})
                if refusal is not None:
                    info.status, info.reason = "blocked", refusal
                else:
                    open_infos.append(info)
            self._infos += infos
            if len(open_infos) > 1:
                for info in open_infos:
                    self._fail(info, PluginError(_conflict(name, open_infos)))
            for info, entry_point in zip(infos, entry_points, strict=True):
                if info.status == "available":
                    self._entry_points[name] = (info, entry_point)

    def _accept(self, plugin: Any, info: PluginInfo) -> None:
        settings = self._settings.get(info.name, {})
        registered = [
            _check(provider, info) for provider in self._providers_of(plugin, info, settings)
        ]
        names = [each.name for each in registered]
        if len(set(names)) < len(names):
            raise PluginError(f"it registers two providers of one name: {', '.join(names)}")
        for each in registered:
            self._claims.setdefault(each.name, []).append(each)
            if len(claims := self._claims[each.name]) > 1:
                message = _conflict(each.name, [claim.plugin for claim in claims])
                self._log.warning(PLUGIN_FAILED, plugin=info.name, reason=message)
        info.providers = tuple(names)
        info.status = "loaded"

    def _providers_of(
        self, plugin: Any, info: PluginInfo, settings: Mapping[str, Any]
    ) -> list[Provider]:
        if isinstance(plugin, Provider):
            check_settings(None, settings, info.name)
            return [plugin]
        if isinstance(plugin, type) and issubclass(plugin, Provider):
            return [instantiate(plugin, settings, info.name)]
        if self._has_hooks(plugin):
            return self._register_hooks(plugin, info, settings)
        if callable(plugin):
            made = instantiate(plugin, settings, info.name)
            if isinstance(made, Provider):
                return [made]
        raise PluginError(
            f"{info.value or type(plugin).__name__} is no plugin: it implements no hook, and is no "
            "Provider, no function decorated with @provider, and no callable that returns one"
        )

    def _has_hooks(self, plugin: Any) -> bool:
        return any(self.manager.parse_hookimpl_opts(plugin, name) for name in dir(plugin))

    def _register_hooks(
        self, plugin: Any, info: PluginInfo, settings: Mapping[str, Any]
    ) -> list[Provider]:
        try:
            self.manager.register(plugin, info.name)
            for caller in self.manager.get_hookcallers(plugin) or ():
                if not caller.has_spec():
                    raise PluginError(f"it implements an unknown hook: {caller.name}")
            context = PluginContext(name=info.name, settings=settings)
            providers: list[Provider] = []
            for implementation in self.manager.hook.register_providers.get_hookimpls():
                if implementation.plugin is plugin:
                    wanted = (context,) if implementation.argnames else ()
                    brought: Any = implementation.function(*wanted)
                    providers += brought
            return providers
        except BaseException:
            if self.manager.has_plugin(info.name):
                self.manager.unregister(name=info.name)
            raise

    def _fail(self, info: PluginInfo, error: BaseException) -> None:
        info.status, info.reason = "failed", _reason(error)
        self._log.warning(
            PLUGIN_FAILED,
            plugin=info.name,
            distribution=info.distribution,
            version=info.version,
            reason=info.reason,
        )
        if self._strict:
            raise PluginLoadError(f"{info.origin}: {info.reason}") from error

    def _forget(self, name: str) -> None:
        """Make room for a replacement: of an entry point, or of what was registered before."""
        self._entry_points.pop(name, None)
        for info in [each for each in self._infos if each.name == name]:
            self._withdraw(info)

    def _withdraw(self, info: PluginInfo) -> None:
        self._infos = [each for each in self._infos if each is not info]
        for name, claims in list(self._claims.items()):
            self._claims[name] = [claim for claim in claims if claim.plugin is not info]
            if not self._claims[name]:
                del self._claims[name]
        if self.manager.has_plugin(info.name):
            self.manager.unregister(name=info.name)


def instantiate(factory: Any, settings: Mapping[str, Any], name: str) -> Any:
    """Make a provider with its settings.

    Raises:
        ConfigError: A setting is unknown to it, missing, or of the wrong type.
    """
    check_settings(factory, settings, name)
    return factory(**settings)


def _check(provider: Any, info: PluginInfo) -> Registered:
    """Accept a provider, or say which part of the contract it breaks."""
    if not isinstance(provider, Provider):
        raise PluginError(f"{type(provider).__name__} is no Provider")
    check_name(getattr(provider, "name", None))
    models = tuple(
        model if isinstance(model, Model) else Model(id=model) for model in provider.models
    )
    owner = getattr(provider.create_completion, "__module__", type(provider).__module__)
    parameters = read_signature(provider.create_completion, owner).without(
        provider.without, provider.renames
    )
    for model in models:
        parameters.without(model.without, model.renames)
    return Registered(provider=provider, plugin=info, parameters=parameters, models=models)


def _name_of(plugin: Any) -> str:
    for attribute in ("name", "__name__"):
        if isinstance(name := getattr(plugin, attribute, None), str):
            return name
    return type(plugin).__name__


def _info(entry_point: importlib.metadata.EntryPoint) -> PluginInfo:
    distribution = entry_point.dist
    return PluginInfo(
        name=entry_point.name,
        status="available",
        distribution=distribution.name if distribution else None,
        version=distribution.version if distribution else None,
        value=entry_point.value,
    )


def _conflict(name: str, infos: Iterable[PluginInfo]) -> str:
    origins = " and ".join(dict.fromkeys(info.origin for info in infos))
    return f"the name {name!r} is claimed by {origins}"


def _reason(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"the module {error.name} is not installed"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
