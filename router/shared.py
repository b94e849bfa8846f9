"""Values that one exchange gets for all: access tokens."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from typing import Any

from router.contract import Shared
from router.limit import Limit


class SharedStore:
    """The shared values of one sync router; safe under threads.

    Args:
        clock: Seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._locks: dict[tuple[str, str], threading.Lock] = {}
        self._values: dict[tuple[str, str], tuple[float, Any]] = {}

    def fresh(self, key: tuple[str, str]) -> tuple[Any] | None:
        """The value of a key in a tuple, or `None` where there is none or it is too old."""
        found = self._values.get(key)
        return (found[1],) if found is not None and self._clock() < found[0] else None

    def keep(self, key: tuple[str, str], step: Shared, value: Any) -> None:
        """Keep a value for as long as its step says."""
        ttl = step.ttl(value) if callable(step.ttl) else step.ttl
        self._values[key] = (self._clock() + ttl, value)

    def get(
        self,
        provider: str,
        step: Shared,
        drive: Callable[[Generator[Any, Any, Any]], Any],
        limit: Limit,
    ) -> Any:
        """The value of a step: the kept one, or what its exchange brings now.

        Those who come while it runs wait for it, as long as their own limit allows; when it
        fails, the next of them tries.

        Raises:
            RouterError: The exchange failed, or the limit ran out in the wait.
        """
        key = (provider, step.key)
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        if not lock.acquire(timeout=max(0.0, limit.until - self._clock())):
            raise limit.error(self._clock())
        try:
            if (kept := self.fresh(key)) is not None:
                return kept[0]
            value = drive(step.exchange())
            self.keep(key, step, value)
            return value
        finally:
            lock.release()
