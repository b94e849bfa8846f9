"""Finding plugins, loading them one by one, and keeping a broken one from the others."""

from __future__ import annotations

import inspect
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint
from typing import Any

import msgspec
import pluggy
from msgspec import Struct

from router import hookspecs
from router.arguments import check_fields
from router.contract import Provider, check_name
from router.discovery import PluginInfo, Selection, conflict, discover
from router.errors import ConfigError, Fault, PluginError, PluginLoadError
from router.events import HOOK_FAILED, PLUGIN_FAILED, Log
from router.hookspecs import PROJECT, PluginContext
from router.parameters import LEADING, Parameters, close_matches, read_signature
from router.settings import check_settings
from router.types import Model

KIND = "kind"
"""The setting that names the plugin which a provider is another of."""


class Registered(Struct, frozen=True, kw_only=True):
    """A provider that the host has accepted: its contract is checked and read."""

    provider: Provider
    plugin: PluginInfo
    parameters: Parameters
    models: tuple[Model, ...]

    @property
    def name(self) -> str:
        return self.provider.name


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
        self.begin()
        self._infos: list[PluginInfo] = []
        self._entry_points: dict[str, tuple[PluginInfo, EntryPoint]] = {}  # not loaded yet
        self._providers: dict[str, Registered] = {}
        self._accepted: list[Registered] = []
        self._signatures: dict[Any, Parameters] = {}
        for found in discover(selection):
            self._infos.append(found.info)
            if found.info.status == "failed":
                self._report(found.info)
            elif found.info.status == "available" and found.entry_point is not None:
                self._entry_points[found.info.name] = (found.info, found.entry_point)
        self._kinds = dict(self._entry_points)

    def begin(self) -> None:
        """Renew what belongs to one process: a fork may find a lock held by a thread it lacks."""
        self._lock = threading.RLock()

    # -- what there is

    @property
    def infos(self) -> list[PluginInfo]:
        """All plugins, in the order in which they were found or registered."""
        return list(self._infos)

    def names(self) -> set[str]:
        """The names that may stand before a slash: of plugins, and of the providers they bring."""
        return {name for info in self._infos for name in (info.name, *info.providers)}

    def knows(self, name: str) -> bool:
        """Whether the name may stand before a slash, once every plugin is loaded if need be."""
        if name in self._providers:
            return True
        if name not in self.names():
            self.load_all()
        return name in self.names()

    def get(self, name: str) -> Registered | None:
        """The provider of a name, or `None` if there is none.

        Loads the plugin of that name alone; all of them, where none has it, since whoever brings
        it may not be the only one.

        Raises:
            PluginError: The plugin is broken or blocked, or two plugins claim the name.
        """
        registered = self._providers.get(name)
        if registered is None or not registered.plugin.owns(name):
            if any(info.name == name for info in self._infos):
                self.load(name)
            else:
                self.load_all()
            registered = self._providers.get(name)
        if registered is not None:
            return registered
        claiming = [info for info in self._infos if info.claims(name)]
        if len(claiming) > 1:
            raise PluginError(conflict(name, claiming))
        for info in claiming or (info for info in self._infos if info.name == name):
            if info.status in ("failed", "blocked"):
                raise PluginError(f"the plugin {info.origin} is {info.status}: {info.reason}")
        return None

    def all(self) -> list[Registered]:
        """Every provider whose plugin is in order, loading all plugins."""
        self.load_all()
        return list(self._providers.values())

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

        Settings of another name are those of another provider, if they say of which `kind`.

        Raises:
            ConfigError: A setting is wrong, or is for a plugin that is not there.
        """
        for name, settings in self._settings.items():
            if name not in self.names():
                if KIND not in settings:
                    problem = f"settings for {name!r}: no plugin has that name, and no kind is set"
                    raise ConfigError(problem + _hint(name, self.names(), "; "))
                self._add_another(name, settings[KIND])
            self.load(name, configured=True)

    def _add_another(self, name: str, kind: Any) -> None:
        """Have another provider of a plugin's kind to be loaded, under a name of its own."""
        check_name(name)
        if not isinstance(kind, str) or kind not in self._kinds:
            problem = f"no plugin has that name{_hint(str(kind), self._kinds, ': ')}"
            raise ConfigError(f"settings of {name}: kind: {problem}", faults=[Fault(KIND, problem)])
        first, entry_point = self._kinds[kind]
        info = msgspec.structs.replace(
            first, name=name, kind=kind, status="available", providers=(), reason=None
        )
        self._infos.append(info)
        self._entry_points[name] = (info, entry_point)

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
                registered = self._accept(entry_point.load(), info)
            except KeyboardInterrupt:
                self._unhook(name)
                self._entry_points[name] = found
                raise
            except BaseException as error:  # a plugin may raise anything at import, SystemExit too
                if configured and isinstance(error, ConfigError):
                    raise
                self._fail(info, _reason(error), error)
            else:
                self._admit(info, registered)

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
            replaced = [each for each in self._infos if replace and each.name == info.name]
            self._check_free(info.name, replaced)
            unhooked = self._unhook(info.name)
            try:
                registered = self._accept_by_hand(plugin, info, replaced)
            except BaseException:
                self._unhook(info.name)
                if unhooked is not None:
                    self.manager.register(unhooked, info.name)
                raise
            for each in replaced:
                self._forget(each)
            self._infos.append(info)
            self._admit(info, registered)
            return info

    def withdraw(self, info: PluginInfo) -> None:
        """Forget a plugin again; what it brought is closed with the rest."""
        with self._lock:
            self._unhook(info.name)
            self._forget(info)

    def close(self) -> list[tuple[Registered, Exception]]:
        """Close every provider, once; what one raises does not keep the others from it."""
        failed = []
        once = {id(registered.provider): registered for registered in self._accepted}
        self._accepted = []
        for registered in once.values():
            try:
                registered.provider.close()
            except Exception as error:  # noqa: BLE001  # a plugin may raise anything
                failed.append((registered, error))
        return failed

    # -- hooks

    def observe(self, hook: str, **arguments: Any) -> None:
        """Call every implementation of an observer hook, each behind a guard."""
        for implementation in reversed(getattr(self.manager.hook, hook).get_hookimpls()):
            wanted = [arguments[name] for name in implementation.argnames]
            try:
                implementation.function(*wanted)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001  # a plugin may raise anything
                self._hook_failed(hook, implementation.plugin_name, error)

    @property
    def observers(self) -> frozenset[str]:
        """The observer hooks that anything implements."""
        hooks = hookspecs.HOOKS
        return frozenset(n for n in hooks if getattr(self.manager.hook, n).get_hookimpls())

    def _hook_failed(self, hook: str, plugin: str, error: BaseException) -> None:
        for info in self._infos:
            if info.name == plugin and info.status == "loaded":
                info.hook_errors += 1
        self._log.warning(HOOK_FAILED, plugin=plugin, hook=hook, error_type=type(error).__name__)

    # -- inside

    def _accept(self, plugin: Any, info: PluginInfo) -> list[Registered]:
        """Check a plugin and read its providers; it counts for nothing yet."""
        settings = self._settings.get(info.name, {})
        if info.kind is None:
            providers = self._providers_of(plugin, info, settings)
        else:
            providers = [_another(plugin, info, settings)]
        registered = [self._check(provider, info) for provider in providers]
        names = [each.name for each in registered]
        if len(set(names)) < len(names):
            raise PluginError(f"it registers two providers of one name: {', '.join(names)}")
        info.providers = tuple(names)
        return registered

    def _accept_by_hand(
        self, plugin: Any, info: PluginInfo, replaced: list[PluginInfo]
    ) -> list[Registered]:
        try:
            registered = self._accept(plugin, info)
        except (Exception, SystemExit) as error:
            if isinstance(error, ConfigError) and info.name in self._settings:
                raise
            raise PluginLoadError(f"{info.origin}: {_reason(error)}") from error
        for name in info.providers:
            self._check_free(name, replaced)
        return registered

    def _admit(self, info: PluginInfo, registered: list[Registered]) -> None:
        """Let an accepted plugin serve, where its names are its own.

        It fails by a name that another owns. One that others bring as well is nobody's. So who
        answers to a name never depends on what was loaded first.
        """
        info.status = "loaded"
        self._accepted += registered
        claims = {
            each.name: [other for other in self._infos if other.claims(each.name)]
            for each in registered
        }
        for name, claiming in claims.items():
            if any(other.owns(name) for other in claiming if other is not info):
                self._fail(info, conflict(name, claiming))
                return
        for each in registered:
            if info.owns(each.name) or len(claims[each.name]) == 1:
                self._providers[each.name] = each
                continue
            self._providers.pop(each.name, None)
            for other in claims[each.name]:
                other.reason = conflict(each.name, claims[each.name])
                self._report(other)

    def _check_free(self, name: str, replaced: list[PluginInfo]) -> None:
        """Refuse a name that a plugin has which is not about to be replaced."""
        if taken := [each for each in self._infos if each.claims(name) and each not in replaced]:
            raise ConfigError(
                f"the name {name!r} is taken by {' and by '.join(each.origin for each in taken)}: "
                "register() with replace=True takes the place of a plugin of that name, and "
                f'Router(settings={{"{name}": ...}}) gives settings to the one that is there'
            )

    def _check(self, provider: Any, info: PluginInfo) -> Registered:
        """Accept a provider, or say which part of the contract it breaks."""
        if not isinstance(provider, Provider):
            raise PluginError(f"{type(provider).__name__} is no Provider")
        check_name(getattr(provider, "name", None))
        models = _models_of(provider)
        parameters = self._signature(provider).without(provider.without, provider.renames)
        for model in models:
            parameters.without(model.without, model.renames)
        return Registered(provider=provider, plugin=info, parameters=parameters, models=models)

    def _signature(self, provider: Provider) -> Parameters:
        """What its function takes: read once for all that share a method, as rows of a wire do."""
        function = getattr(provider, "create_completion", None)
        if not callable(function):
            raise PluginError(f"{provider.name} has no create_completion(model, messages, stream)")
        owner = getattr(function, "__module__", type(provider).__module__)
        if not inspect.ismethod(function):
            return read_signature(function, owner)
        if function.__func__ not in self._signatures:
            self._signatures[function.__func__] = read_signature(function, owner)
        return self._signatures[function.__func__]

    def _providers_of(
        self, plugin: Any, info: PluginInfo, settings: Mapping[str, Any]
    ) -> list[Provider]:
        if isinstance(plugin, Provider):
            check_settings(None, settings, info.name)
            return [plugin]
        if isinstance(plugin, type) or (callable(plugin) and not self._has_hooks(plugin)):
            if _answers_calls(plugin):
                raise PluginError(f"{plugin.__name__} wants @provider(name, models=[...]) above it")
            plugin = instantiate(plugin, settings, info.name)
            if isinstance(plugin, Provider):
                return [plugin]
        if self._has_hooks(plugin):
            return self._register_hooks(plugin, info, settings)
        raise PluginError(
            f"{info.value or type(plugin).__name__} is no plugin: it implements no hook, and is no "
            "Provider, no function decorated with @provider, and makes none when it is called"
        )

    def _has_hooks(self, plugin: Any) -> bool:
        names = [name for name in dir(plugin) if not name.startswith("__")]
        return any(self.manager.parse_hookimpl_opts(plugin, name) for name in names)

    def _register_hooks(
        self, plugin: Any, info: PluginInfo, settings: Mapping[str, Any]
    ) -> list[Provider]:
        self.manager.register(plugin, info.name)
        implementations = [
            (caller, implementation)
            for caller in self.manager.get_hookcallers(plugin) or ()
            for implementation in caller.get_hookimpls()
            if implementation.plugin is plugin
        ]
        for caller, implementation in implementations:
            _check_hook(caller, implementation)
        context = PluginContext(name=info.name, settings=settings)
        providers: list[Provider] = []
        for caller, implementation in implementations:
            if caller.name == "register_providers":
                wanted = (context,) if implementation.argnames else ()
                brought: Any = implementation.function(*wanted)
                if isinstance(brought, Provider) or not isinstance(brought, Iterable):
                    raise PluginError(
                        f"register_providers brought {type(brought).__name__}, no providers"
                    )
                providers += brought
        return providers

    def _unhook(self, name: str) -> Any:
        """The plugin whose hooks are not called any more, if it had any."""
        return self.manager.unregister(name=name) if self.manager.has_plugin(name) else None

    def _fail(self, info: PluginInfo, reason: str, error: BaseException | None = None) -> None:
        """Use nothing of a plugin any more, and say why."""
        self._entry_points.pop(info.name, None)
        self._unhook(info.name)
        info.status, info.reason = "failed", reason
        self._report(info, error)

    def _report(self, info: PluginInfo, error: BaseException | None = None) -> None:
        self._log.warning(
            PLUGIN_FAILED,
            plugin=info.name,
            distribution=info.distribution,
            version=info.version,
            reason=info.reason,
        )
        if self._strict:
            raise PluginLoadError(f"{info.origin}: {info.reason}") from error

    def _forget(self, info: PluginInfo) -> None:
        self._infos = [each for each in self._infos if each is not info]
        self._entry_points.pop(info.name, None)
        for name in info.providers:
            if self._providers.get(name) is not None and self._providers[name].plugin is info:
                del self._providers[name]


def instantiate(factory: Any, settings: Mapping[str, Any], name: str) -> Any:
    """Make a provider with its settings.

    Raises:
        ConfigError: A setting is unknown to it, missing, or of the wrong type.
    """
    check_settings(factory, settings, name)
    return factory(**settings)


def _answers_calls(plugin: Any) -> bool:
    """Whether it is a provider's function, but for the decorator."""
    return inspect.isfunction(plugin) and (*inspect.signature(plugin).parameters,)[:3] == LEADING


def _another(plugin: Any, info: PluginInfo, settings: Mapping[str, Any]) -> Provider:
    """A provider of a plugin's kind, under another name; it reads the first one's reasoning."""
    made = None
    if not isinstance(plugin, Provider) and callable(plugin):
        own = {key: value for key, value in settings.items() if key != KIND}
        made = instantiate(plugin, own, info.name)
    if not isinstance(made, Provider):
        raise ConfigError(
            f"settings of {info.name}: {info.kind} is one provider, which has its name"
        )
    made.origin = made.origin or made.name
    made.name = info.name
    return made


def _check_hook(caller: pluggy.HookCaller, implementation: pluggy.HookImpl) -> None:
    """Refuse an implementation that would never be called, or never be waited for."""
    if not caller.has_spec() and not implementation.optionalhook:
        close = close_matches(caller.name, hookspecs.HOOKS)
        hint = f": did you mean {close[0]}?" if close else ""
        raise PluginError(f"it implements an unknown hook, {caller.name}{hint}")
    if implementation.wrapper or implementation.hookwrapper:
        raise PluginError(f"it wraps {caller.name}: hooks are called one by one, unwrapped")
    if inspect.iscoroutinefunction(implementation.function):
        raise PluginError(f"its {caller.name} is async: hooks are called in the thread of the call")


def _models_of(provider: Provider) -> tuple[Model, ...]:
    """What it advertises, every name once."""
    if isinstance(provider.models, str):
        raise PluginError(f"{provider.name}: models is a list of models, not one str")
    models = tuple(
        model if isinstance(model, Model) else Model(id=model) for model in provider.models
    )
    names = Counter(name for model in models for name in (model.id, *model.aliases))
    if not all(isinstance(name, str) and name for name in names):
        raise PluginError(f"{provider.name}: a model's name is a str that is not empty")
    if twice := [name for name, times in names.items() if times > 1]:
        raise PluginError(f"{provider.name} has several models called {', '.join(twice)}")
    for model in models:
        try:
            check_fields(model)
        except ConfigError as error:
            raise PluginError(f"{provider.name}: {error}") from None
    return models


def _hint(name: str, known: Iterable[str], before: str) -> str:
    close = close_matches(name, known)
    return f"{before}did you mean {' or '.join(close)}?" if close else ""


def _name_of(plugin: Any) -> str:
    for attribute in ("name", "__name__"):
        if isinstance(name := getattr(plugin, attribute, None), str):
            return name
    return type(plugin).__name__


def _reason(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"the module {error.name} is not installed"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
