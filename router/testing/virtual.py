"""A clock that a test moves: every wait is over at once, and took exactly its time."""

from __future__ import annotations

import asyncio
import threading

from router.clock import Clock


class VirtualClock(Clock):
    """Time that passes only when somebody waits, or when a test says so.

        clock = VirtualClock()
        router = Router([provider], clock=clock)
        router.create_completion(...)       # takes no time, however long it waits
        clock.now()                         # how long it would have taken

    Args:
        start: What `now()` begins with, in seconds.
        epoch: What `epoch()` begins with, in seconds since 1970.
    """

    def __init__(self, start: float = 0.0, epoch: float = 1_800_000_000.0) -> None:
        self._lock = threading.Lock()
        self._now = start
        self._offset = epoch - start
        self.sleeps: list[float] = []

    def now(self) -> float:
        return self._now

    def epoch(self) -> float:
        return self._now + self._offset

    def advance(self, seconds: float) -> None:
        """Let time pass.

        Raises:
            ValueError: Backwards.
        """
        if seconds < 0:
            raise ValueError(f"time does not go back, by {-seconds} s or otherwise")
        with self._lock:
            self._now += seconds

    def sleep(self, seconds: float, woken: threading.Event) -> None:
        if not woken.is_set():
            self._pass(seconds)

    async def sleep_async(self, seconds: float) -> None:
        self._pass(seconds)
        await asyncio.sleep(0)

    def _pass(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.advance(seconds)
