"""A blocking provider's pieces, from the thread that it runs in to an event loop."""

from __future__ import annotations

import asyncio
from collections import deque

from router.router import Run
from router.types import Chunk


class Pump:
    """Hands pieces from a thread to an event loop; wakes it only when it waits.

    Attributes:
        ready: Set when something may be taken.
        finished: Whether the thread is done; `error` is what it ended with.
    """

    def __init__(self, blocking: Run) -> None:
        self._run = blocking
        self._loop = asyncio.get_running_loop()
        self._pieces: deque[str | Chunk] = deque()
        self._woken = False
        self.ready = asyncio.Event()
        self.finished = False
        self.error: BaseException | None = None

    def work(self) -> None:
        """Run the exchange to its end, in a thread of the pool."""
        try:
            for piece in self._run.pieces:
                self._pieces.append(piece)
                self._wake()
        except BaseException as error:  # noqa: BLE001  # raised again in the loop
            self.error = error
        finally:
            self._run.pieces.close()
            self.finished = True
            self._wake()

    def taken(self) -> tuple[list[str | Chunk], bool]:
        """What has come, and whether that was the last; in the loop's thread."""
        self.ready.clear()
        self._woken = False
        finished = self.finished  # read before the pieces: what comes after them is not lost
        return [self._pieces.popleft() for _ in range(len(self._pieces))], finished

    def _wake(self) -> None:
        if not self._woken:
            self._woken = True
            try:
                self._loop.call_soon_threadsafe(self.ready.set)
            except RuntimeError:  # the loop is closed: nobody waits any more
                self._run.cancel()
