"""A blocking provider's attempt in a thread, and its pieces handed to an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator
from concurrent.futures import Future
from typing import TYPE_CHECKING

from router.base import Prepared
from router.commands import Begin
from router.driver.blocking import Run
from router.errors import Overloaded, RouterError
from router.types import Chunk
from router.waits import Waits

if TYPE_CHECKING:
    from router.client import AsyncRouter

AHEAD = 64
"""Pieces that a thread may have ready for a reader, who has as many more in hand: enough to be
woken for many at once, and little beside what one whole answer takes."""

LOOK = 1.0
"""Seconds after which a thread that waits for its reader looks whether there is one yet."""


class Pump:
    """An attempt under way in a thread of the pool, which wakes the event loop when that waits.

    Attributes:
        answer, notes: Those of the attempt.
        pieces: The pieces of the answer, as they come.
    """

    def __init__(self, router: AsyncRouter, prepared: Prepared, begin: Begin) -> None:
        self._run = run = Run(router, prepared, begin, Waits())
        self.answer, self.notes = run.answer, run.notes
        self._router = router
        self._loop = asyncio.get_running_loop()
        self._ready = asyncio.Event()
        self._woken = False
        self._room = threading.Event()
        self._held: deque[str | Chunk] = deque()
        self._finished = False
        self._error: BaseException | None = None
        self.pieces = self._pieces()

    async def _pieces(self) -> AsyncGenerator[str | Chunk, None]:
        """The pieces of the answer, as they come.

        Raises:
            RouterError: The exchange failed; the error knows where.
        """
        try:
            self._start()
            finished = False
            while not finished:
                if not await self._comes():
                    return
                pieces, finished = self._take()
                for piece in pieces:
                    yield piece
            if self._error is not None:
                raise self._error
        except RouterError as error:
            raise self._run.located(error) from error.__cause__
        finally:
            self._run.cancel()
            self._room.set()

    def _start(self) -> None:
        try:
            self._router.pool.submit(self._work).add_done_callback(self._drop)
        except RuntimeError:  # no thread can be begun, or the interpreter ends
            self._end_unbegun()
            raise Overloaded("no thread is left for a blocking provider", code="local") from None

    def _drop(self, future: Future[None]) -> None:
        if future.cancelled():  # the router was closed before a thread was free
            self._end_unbegun()

    def _end_unbegun(self) -> None:
        """Let an attempt that no thread will take up give back what it has."""
        self._run.cancel()
        self._work()

    async def _comes(self) -> bool:
        """Wait until something may be taken; `False` where the answer is whole without it.

        Raises:
            RouterError: It did not come within the limit.
        """
        limit, clock = self._run.limit, self._router.clock
        try:
            async with asyncio.timeout(limit.until - clock()):
                await self._ready.wait()
        except TimeoutError:
            if self.answer.finished:
                return False
            raise limit.error(clock()) from None
        return True

    def _take(self) -> tuple[list[str | Chunk], bool]:
        """What has come, and whether that was the last; in the loop's thread."""
        self._ready.clear()
        self._woken = False
        finished = self._finished  # read before the pieces: what comes after them is not lost
        taken = [self._held.popleft() for _ in range(len(self._held))]
        if len(taken) >= AHEAD:
            self._run.resume()
            self._room.set()
        return taken, finished

    def _work(self) -> None:
        """Run the exchange to its end, in a thread of the pool."""
        try:
            for piece in self._run.pieces:
                self._held.append(piece)
                self._wake()
                if len(self._held) >= AHEAD:
                    self._wait_for_reader()
        except BaseException as error:  # noqa: BLE001  # raised again in the loop
            self._error = error
        finally:
            self._run.pieces.close()
            self._finished = True
            self._wake()

    def _wait_for_reader(self) -> None:
        limit = self._run.limit
        self._room.clear()
        while len(self._held) >= AHEAD and self._router.clock() < limit.total:
            if limit.cancelled:
                return
            if not self._room.wait(LOOK) and self._loop.is_closed():
                self._run.cancel()

    def _wake(self) -> None:
        if not self._woken:
            self._woken = True
            try:
                self._loop.call_soon_threadsafe(self._ready.set)
            except RuntimeError:  # the loop is closed: nobody waits any more
                self._run.cancel()
