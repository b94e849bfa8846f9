"""Watching that code does no I/O: sockets, files, sleep, threads and processes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_SOCKETS = frozenset(
    {
        *("accept", "bind", "connect", "connect_ex", "listen", "recv", "recv_into", "recvfrom"),
        *("send", "sendall", "sendmsg", "sendto", "getaddrinfo", "gethostbyname", "getnameinfo"),
    }
)
_FILES = frozenset(
    {
        *("open", "read", "write", "stat", "lstat", "listdir", "scandir", "mkdir", "rmdir"),
        *("remove", "unlink", "rename", "replace", "truncate", "link", "symlink", "access"),
    }
)
_PROCESSES = frozenset(
    {"fork", "forkpty", "posix_spawn", "posix_spawnp", "system", "execv", "execve"}
)

FORBIDDEN: dict[str, frozenset[str]] = {
    "time": frozenset({"sleep"}),
    "io": frozenset({"open"}),
    "_io": frozenset({"open"}),
    "posix": _FILES | _PROCESSES,
    "nt": _FILES | _PROCESSES,
    "_posixsubprocess": frozenset({"fork_exec"}),
    "_winapi": frozenset({"CreateProcess"}),
    "_thread": frozenset({"start_new_thread", "start_new", "start_joinable_thread"}),
    "select": frozenset({"select", "poll", "epoll", "kqueue"}),
    "_socket": _SOCKETS,
}
"""By module, the functions below all of Python's own that do I/O."""

_IMPORTING = frozenset({"importlib._bootstrap", "importlib._bootstrap_external"})


class IoRefused(Exception):
    """Raised in the place that does I/O where none may be."""


class Guard:
    """Refuses I/O in what runs within `watching()`, and remembers what was refused.

    It is a profile function, which is told of each call of a built-in function, by whatever name
    it was imported: patching `time.sleep` would miss a `from time import sleep`. What code in C
    calls is not seen, as `map(open, names)`. Imports may read files.

    Attributes:
        refused: What was called, `time.sleep`, in order.
    """

    def __init__(self) -> None:
        self.refused: list[str] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Refuse I/O in this thread."""
        before = sys.getprofile()
        sys.setprofile(self._called)
        try:
            yield
        finally:
            sys.setprofile(before)

    def _called(self, frame: FrameType, event: str, called: Any) -> None:
        if event != "c_call":
            return
        name = getattr(called, "__name__", "")
        module = getattr(called, "__module__", None) or _module_of_method(called)
        if name in FORBIDDEN.get(module, ()) and not _imports(frame):
            self.refused.append(f"{module.lstrip('_')}.{name}")
            raise IoRefused(f"{self.refused[-1]} in a wire provider")


def _module_of_method(called: Any) -> str:
    """Where the type of a method's object is from: `socket.socket` derives from one in C."""
    types = type(getattr(called, "__self__", None)).__mro__
    modules = (each.__module__ for each in types)
    return next((module for module in modules if module in FORBIDDEN), "")


def _imports(frame: FrameType | None) -> bool:
    """Whether an import is under way."""
    while frame is not None:
        if frame.f_globals.get("__name__") in _IMPORTING:
            return True
        frame = frame.f_back
    return False
