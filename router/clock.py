"""Time, as a router sees it: an argument, so that it can be simulated."""

from __future__ import annotations

import threading
import time


class Clock:
    """The machine's own time. `router.testing.VirtualClock` is one that a test moves."""

    def now(self) -> float:
        """Seconds of a clock that is never set."""
        return time.monotonic()

    def epoch(self) -> float:
        """Seconds since the epoch, for what servers write in dates."""
        return time.time()

    def sleep(self, seconds: float, woken: threading.Event) -> None:
        """Wait in this thread, until the event is set at the latest: another thread may do so."""
        woken.wait(seconds)

    async def sleep_async(self, seconds: float) -> None:
        """Wait in this task."""
        import asyncio

        await asyncio.sleep(seconds)
