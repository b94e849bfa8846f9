"""router.toml: what an application may set in a file, checked as a whole.

    [router]            order, strict, trust_env, proxies, verify, tags
    [plugins]           allow, block
    [policy]            the fields of `Policy`
    [providers.NAME]    the settings of one provider; its key by key_env or key_file
    [routes.NAME]       targets, weights, policy

The form is checked here; what the names mean is checked by making the router. Whatever is wrong
is told at once, with file and key. Nothing is read but the file, and what it names.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import msgspec
from msgspec import Meta, Struct

from router.errors import ConfigError, Fault, ModelNotFound
from router.parameters import close_matches
from router.policy import Policy
from router.routes import Route
from router.secret import Secret
from router.types import Target

Made = TypeVar("Made")
Table = Mapping[str, Any]

ROUTER: Table = {
    "order": list[str],
    "strict": bool,
    "trust_env": bool,
    "proxies": dict[str, str],
    "verify": bool | str,
    "tags": dict[str, list[str]],
}
PLUGINS: Table = {"allow": list[str], "block": list[str]}
POLICY: Table = {field.name: field.type for field in msgspec.structs.fields(Policy)}
ROUTE: Table = {
    "targets": Annotated[list[str | Target], Meta(min_length=1)],
    "weights": list[Annotated[float, Meta(gt=0)]],
    "policy": dict[str, Any],
}
TARGET: Table = {
    "provider": str,
    "model": str,
    "parameters": dict[str, Any],
    "tags": list[str],
    "quota_group": str,
    "max_concurrency": int,
}
SECTIONS = ("router", "plugins", "policy", "providers", "routes")

KEY_SOURCES = ("key", "key_env", "key_file")
"""Where a provider's key may come from; each becomes its setting `key`."""

HOLDS_A_KEY = re.compile(r"(?:^|[-_])(?:key|token|secret|password|authorization|cookie)$")
"""Names of settings and headers, in lower case, whose values are keys."""

PASSWORD_IN_URL = re.compile(r"://[^/@:]*:[^/@]+@")

OTHERS_MAY_READ = stat.S_IRWXG | stat.S_IRWXO

VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")

IN_TOML = {"object": "table", "Object": "table", " | null": ""}
"""Words of JSON that msgspec has for what TOML calls otherwise, or lacks."""

BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


class Config(Struct, frozen=True, kw_only=True):
    """What a file says.

    Attributes:
        path: The file.
        arguments: Keyword arguments for `Router`, of what is in order.
        faults: What is not.
        safe: Whether the plugins that may be imported are known: their lists are in order.
    """

    path: Path
    arguments: Mapping[str, Any]
    faults: tuple[Fault, ...]
    safe: bool

    def build(self, make: Callable[..., Made], given: Table) -> Made:
        """Make a router of it.

        Args:
            make: `Router` or `AsyncRouter`.
            given: Arguments that win over the file's.

        Raises:
            ConfigError: Something in the file is wrong; `faults` has all of it.
            PluginLoadError: A plugin is broken, and `strict` is set.
        """
        if not self.faults:
            try:
                return make(**{**self.arguments, **given})
            except (ConfigError, ModelNotFound):
                if not (found := self._meaning(make, given)):
                    raise
        else:
            found = self._meaning(make, given) if self.safe else []
        raise self.error((*self.faults, *found))

    def error(self, faults: tuple[Fault, ...]) -> ConfigError:
        """The error that tells faults, each with the file."""
        return ConfigError("\n".join(f"{self.path}: {fault}" for fault in faults), faults=faults)

    def _meaning(self, make: Callable[..., Any], given: Table) -> list[Fault]:
        """What is wrong though its form is right: each part tried on top of those in order."""
        accepted = {name: self.arguments[name] for name in PLUGINS if name in self.arguments}
        accepted.update(given)
        make(**accepted)  # what the caller gave is not the file's fault
        faults = []
        for prefix, name, value in self._parts():
            if name in given:
                continue
            part = {**accepted.get(name, {}), **value} if isinstance(value, dict) else value
            try:
                make(**{**accepted, name: part})
            except (ConfigError, ModelNotFound) as error:
                inner = getattr(error, "faults", ()) or (Fault("", error.message),)
                faults += [Fault(_dotted(prefix, each.key), each.problem) for each in inner]
            else:
                accepted[name] = part
        return faults

    def _parts(self) -> Iterator[tuple[str, str, Any]]:
        """The parts that mean something beyond their form: key, argument, its value."""
        for name, settings in self.arguments.get("settings", {}).items():
            yield _dotted("providers", _quoted(name)), "settings", {name: settings}
        for name in ("order", "proxies"):
            if name in self.arguments:
                yield f"router.{name}", name, self.arguments[name]
        if "policy" in self.arguments:
            yield "policy", "policy", self.arguments["policy"]
        for name, route in self.arguments.get("routes", {}).items():
            yield _dotted("routes", _quoted(name)), "routes", {name: route}


def load(path: Path, environ: Mapping[str, str] | None = None) -> Config:
    """Read a file and check its form; nothing is imported or made.

    Args:
        path: The file.
        environ: Where `key_env` looks; the process's environment by default.

    Raises:
        ConfigError: The file cannot be read, or is no TOML.
    """
    try:
        with path.open("rb") as file:
            private = not _others_may_read(file.fileno())
            document = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: no TOML: {error}") from None
    return _Reader(path, private, os.environ if environ is None else environ).read(document)


class _Reader:
    """Takes one document apart and notes every fault."""

    def __init__(self, path: Path, private: bool, environ: Mapping[str, str]) -> None:
        self._path = path
        self._private = private
        self._environ = environ
        self._faults: list[Fault] = []

    def read(self, document: Table) -> Config:
        sections = {name: self._section(document, name) for name in SECTIONS}
        self._refuse_unknown(document, SECTIONS, "")
        plugins = self._table(sections["plugins"], PLUGINS, "plugins")
        safe = not any(fault.key.startswith("plugins") for fault in self._faults)
        arguments = {**self._router(sections["router"]), **plugins}
        if policy := self._policy(sections["policy"], "policy"):
            arguments["policy"] = policy
        if settings := self._each(sections["providers"], "providers", self._provider):
            arguments["settings"] = settings
        if routes := self._each(sections["routes"], "routes", self._route):
            arguments["routes"] = routes
        return Config(path=self._path, arguments=arguments, faults=tuple(self._faults), safe=safe)

    # -- the parts

    def _router(self, table: Table) -> dict[str, Any]:
        checked = self._table(table, ROUTER, "router")
        for scheme, url in checked.get("proxies", {}).items():
            self._refuse_key(scheme, url, _dotted("router.proxies", _quoted(scheme)))
        if isinstance(bundle := checked.get("verify"), str):
            path = self._path.parent / Path(bundle).expanduser()
            checked["verify"] = str(path)
            if not path.exists():
                self._fault("router.verify", "there is no such file or folder")
        return checked

    def _provider(self, table: Table, key: str) -> dict[str, Any]:
        settings = {name: value for name, value in table.items() if name not in KEY_SOURCES}
        for name, value in settings.items():
            self._refuse_key(name, value, _dotted(key, _quoted(name)))
        if isinstance(headers := settings.get("headers"), dict):
            settings["headers"] = self._headers(headers, _dotted(key, "headers"))
        sources = [name for name in KEY_SOURCES if name in table]
        if len(sources) > 1:
            self._fault(key, f"one of {', '.join(sources)}, not {len(sources)}")
        elif sources and (secret := self._key(table, sources[0], key)) is not None:
            settings["key"] = secret
        return settings

    def _headers(self, headers: Table, key: str) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for name, value in headers.items():
            where = _dotted(key, _quoted(name))
            if not self._fits(value, str, where) or self._refuse_key(name, value, where):
                continue
            kept[name] = Secret(value, "the header") if _is_key(name, value) else value
        return kept

    def _route(self, table: Table, key: str) -> Route | None:
        before = len(self._faults)
        checked = self._table(table, ROUTE, key)
        targets = checked.get("targets", [])
        weights = checked.get("weights", [])
        if "targets" not in table:
            self._fault(_dotted(key, "targets"), "needed: the names of targets, in order")
        elif weights and len(weights) != len(targets):
            self._fault(_dotted(key, "weights"), f"{len(targets)} weights, one for each target")
        policy = self._policy(checked.get("policy", {}), _dotted(key, "policy"))
        if len(self._faults) > before:
            return None
        return Route(targets=tuple(targets), weights=tuple(weights), policy=policy)

    def _policy(self, table: Table, key: str) -> dict[str, Any]:
        checked = self._table(table, POLICY, key)
        for name in list(checked):
            try:
                Policy().with_changes({name: checked[name]})
            except ConfigError as error:
                problem = error.message.removeprefix("policy: ").removeprefix(f"{name} is ")
                self._fault(_dotted(key, name), problem)
                del checked[name]
        return checked

    # -- keys

    def _key(self, table: Table, source: str, key: str) -> Secret | None:
        where, value = _dotted(key, source), table[source]
        if not self._fits(value, str, where):
            return None
        if source == "key" and self._refuse_key(source, value, where):
            return None
        try:
            if source == "key_file":
                value = self._read_key(self._path.parent / Path(value).expanduser())
            elif source == "key_env":
                value = self._variable(value)
            return Secret(value)
        except ConfigError as error:
            self._fault(where, error.message)
            return None

    def _variable(self, name: str) -> str:
        """Another key, from wherever the provider looks by itself, must not be used instead."""
        if not self._environ.get(name):
            # The key itself may stand there by mistake.
            shown = name if VARIABLE.fullmatch(name) else "of that name"
            raise ConfigError(f"the environment variable {shown} is not set")
        return self._environ[name]

    def _read_key(self, path: Path) -> str:
        try:
            with path.open(encoding="utf-8") as file:
                if _others_may_read(file.fileno()):
                    raise ConfigError("others may read that file: give it mode 0600")
                return file.read()
        except OSError as error:
            raise ConfigError(f"that file cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ConfigError("that file holds no text") from None

    def _refuse_key(self, name: str, value: object, key: str) -> bool:
        """Note a key that stands in a file which others may read; whether it is one."""
        refused = not self._private and isinstance(value, str) and _is_key(name, value)
        if refused:
            elsewhere = ", or use key_env or key_file" if name == "key" else ""
            self._fault(key, f"a key in a file that others may read: give it mode 0600{elsewhere}")
        return refused

    # -- form

    def _section(self, document: Table, name: str) -> Table:
        table = document.get(name, {})
        return table if self._fits(table, dict, name) else {}

    def _each(self, section: Table, key: str, read: Callable[[Table, str], Any]) -> dict[str, Any]:
        """The named tables of a section, those that can be read."""
        found = {}
        for name, table in section.items():
            where = _dotted(key, _quoted(name))
            if self._fits(table, dict, where) and (made := read(table, where)) is not None:
                found[name] = made
        return found

    def _table(self, table: Table, known: Table, key: str) -> dict[str, Any]:
        """The entries of a table that are known and fit their types, converted."""
        self._refuse_unknown(table, known, key)
        return {
            name: msgspec.convert(value, known[name])
            for name, value in table.items()
            if name in known and self._fits(value, known[name], _dotted(key, name))
        }

    def _fits(self, value: Any, hint: Any, key: str) -> bool:
        """Whether a value is of a type; goes down, so that each wrong item is noted."""
        before = len(self._faults)
        inner = hint.__origin__ if get_origin(hint) is Annotated else hint
        if get_origin(inner) is list and isinstance(value, list):
            for index, item in enumerate(value):
                self._fits(item, get_args(inner)[0], f"{key}[{index}]")
        elif get_origin(inner) is dict and isinstance(value, dict):
            for name, item in value.items():
                self._fits(item, get_args(inner)[1], _dotted(key, _quoted(name)))
        elif Target in get_args(inner) and isinstance(value, dict):
            self._refuse_unknown(value, TARGET, key)
        if len(self._faults) == before:
            try:
                msgspec.convert(value, hint)
            except msgspec.ValidationError as error:
                self._fault(key, _expectation(error, hint))
        return len(self._faults) == before

    def _refuse_unknown(self, table: Table, known: Collection[str], key: str) -> None:
        for name in table:
            if name not in known:
                close = " or ".join(close_matches(name, known))
                hint = f"did you mean {close}?" if close else f"there are {', '.join(known)}"
                self._fault(_dotted(key, _quoted(name)), f"no such key: {hint}")

    def _fault(self, key: str, problem: str) -> None:
        self._faults.append(Fault(key, problem))


def _others_may_read(descriptor: int) -> bool:
    """Whether the file's group, or anybody, has any right to it; Windows has no such modes."""
    return os.name == "posix" and bool(os.fstat(descriptor).st_mode & OTHERS_MAY_READ)


def _is_key(name: str, value: str) -> bool:
    """Whether the value of a setting or header is one that must not be seen."""
    return bool(HOLDS_A_KEY.search(name.lower()) or PASSWORD_IN_URL.search(value))


def _expectation(error: msgspec.ValidationError, hint: Any) -> str:
    """What msgspec expected, in TOML's words and lower case; where it was is told by the key."""
    text = str(error).partition(" - at `$")[0]
    if text.startswith("Invalid enum value"):
        return f"expected one of {', '.join(_choices(hint))}"
    for word, ours in IN_TOML.items():
        text = text.replace(word, ours)
    return text[:1].lower() + text[1:]


def _choices(hint: Any) -> list[str]:
    """The words that a type allows."""
    if get_origin(hint) is Literal:
        return [str(word) for word in get_args(hint)]
    return list(dict.fromkeys(word for part in get_args(hint) for word in _choices(part)))


def _dotted(*parts: str) -> str:
    return ".".join(part for part in parts if part)


def _quoted(name: str) -> str:
    """A key as TOML writes it."""
    return name if BARE_KEY.fullmatch(name) else f'"{name}"'
