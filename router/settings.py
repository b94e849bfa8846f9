"""A provider's settings, checked against the signature of what makes it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

from router.errors import ConfigError, Fault
from router.parameters import close_matches, read_parameter


def check_settings(
    factory: Callable[..., Any] | None, settings: Mapping[str, Any], name: str
) -> None:
    """Check the settings that a provider is to be made with.

    Args:
        factory: What makes it; `None` when it is made already and takes none.
        settings: Its settings.
        name: The plugin's name, for the message.

    Raises:
        ConfigError: A setting is unknown, missing, or of a type that the signature refuses; its
            faults name each. No message holds a setting's value.
    """
    faults = _faults(factory, settings, name) if factory else _unknown(settings, {}, name)
    if faults:
        told = "; ".join(str(fault) for fault in faults)
        raise ConfigError(f"settings of {name}: {told}", faults=faults)


def _faults(factory: Callable[..., Any], settings: Mapping[str, Any], name: str) -> list[Fault]:
    parameters = inspect.signature(factory).parameters.values()
    takes_any = any(each.kind is each.VAR_KEYWORD for each in parameters)
    known = {
        each.name: each
        for each in parameters
        if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)
    }
    hints = _hints(factory) if settings else {}
    faults = [] if takes_any else _unknown(settings, known, name)
    for key, parameter in known.items():
        if key not in settings:
            if parameter.default is parameter.empty:
                faults.append(Fault(key, f"{name} needs this setting"))
        elif settings[key] is not parameter.default:
            read = read_parameter(parameter, hints.get(key, Any))
            if (complaint := read.check(settings[key])) is not None:
                faults.append(Fault(key, complaint.removeprefix(f"{key} ")))
    return faults


def _unknown(settings: Mapping[str, Any], known: Mapping[str, Any], name: str) -> list[Fault]:
    has = f"{name} has {', '.join(known) or 'none'}"
    faults = []
    for key in sorted(settings.keys() - known.keys()):
        close = close_matches(key, known)
        hint = f"did you mean {' or '.join(close)}? " if close else ""
        faults.append(Fault(key, f"no such setting: {hint}{has}"))
    return faults


def _hints(factory: Callable[..., Any]) -> dict[str, Any]:
    """The type hints of what a call of the factory runs; none when they cannot be resolved."""
    function = factory
    if isinstance(factory, type):
        function = factory.__init__  # type: ignore[misc]  # read, not called
    elif not inspect.isroutine(factory):
        function = type(factory).__call__
    try:
        return get_type_hints(function, include_extras=True)
    except (NameError, TypeError, AttributeError):
        return {}
