"""For the tests of applications and plugins; each name is loaded on its first use."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from router.testing.faults import Case, Connection, End, Fault, FaultServer, Request, Scene
    from router.testing.scripted import ScriptedCall, ScriptedProvider, Truncated
    from router.testing.virtual import VirtualClock

__all__ = [
    "Case",
    "Connection",
    "End",
    "Fault",
    "FaultServer",
    "Request",
    "Scene",
    "ScriptedCall",
    "ScriptedProvider",
    "Truncated",
    "VirtualClock",
]

_MODULES = {
    "faults": ("Case", "Connection", "End", "Fault", "FaultServer", "Request", "Scene"),
    "scripted": ("ScriptedCall", "ScriptedProvider", "Truncated"),
    "virtual": ("VirtualClock",),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
