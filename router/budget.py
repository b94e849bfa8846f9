"""How many attempts beyond the first a router makes, over all its calls."""

from __future__ import annotations

import threading
from collections import deque

WINDOW = 10.0
"""Seconds that are looked back on, as Finagle's retry budget does."""

SHARE = 0.2
"""Extra attempts for each request: with a fifth, an outage costs the providers a fifth more."""

FLOOR = 10.0
"""Extra attempts a second that are always allowed, so that small applications are not starved."""


class Budget:
    """A sliding window of requests and of the extra attempts that were charged.

    An extra attempt is granted while those of the last `window` seconds are, with it, at most
    `share` of its requests, or `floor` a second since the first of them (so that a start in the
    middle of an outage is no burst). Safe under threads.
    """

    def __init__(self, share: float = SHARE, floor: float = FLOOR, window: float = WINDOW) -> None:
        self._share = share
        self._floor = floor
        self._window = window
        self._lock = threading.Lock()
        self._slots: deque[list[float]] = deque()  # [second, requests, extra attempts]
        self._requests = 0.0
        self._extra = 0.0
        self._began: float | None = None

    def request(self, now: float) -> None:
        """A call begins."""
        with self._lock:
            if self._began is None:
                self._began = now
            self._slot(now)[1] += 1
            self._requests += 1

    def withdraw(self, now: float) -> bool:
        """Take one extra attempt, if it is granted."""
        with self._lock:
            slot = self._slot(now)
            seconds = self._window
            if self._began is not None:
                seconds = min(seconds, now - self._began + 1)
            if self._extra + 1 > max(self._floor * seconds, self._share * self._requests):
                return False
            slot[2] += 1
            self._extra += 1
            return True

    def debit(self, now: float) -> None:
        """Count an extra attempt that was free, because it went where all seemed well."""
        with self._lock:
            self._slot(now)[2] += 1
            self._extra += 1

    def _slot(self, now: float) -> list[float]:
        """The running second, after what is too old has been forgotten."""
        second = now // 1
        while self._slots and self._slots[0][0] <= second - self._window:
            _, requests, extra = self._slots.popleft()
            self._requests -= requests
            self._extra -= extra
        if not self._slots or self._slots[-1][0] != second:
            self._slots.append([second, 0, 0])
        return self._slots[-1]
