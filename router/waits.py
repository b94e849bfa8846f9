"""What the thread of a call waits for beside its sockets, so that another thread can end it."""

from __future__ import annotations

import threading

from router.clock import Clock
from router.errors import Cancelled
from router.slots import Slots, Turn


class Waits:
    """The waits of one call, one at a time in its thread; from any other they can be ended.

    Attributes:
        cancelled: Whether nobody wants the call any more.
    """

    __slots__ = ("_woken", "cancelled")

    def __init__(self) -> None:
        self._woken: threading.Event | None = None
        self.cancelled = False

    def cancel(self) -> None:
        """End the wait that is under way, and those to come."""
        self.cancelled = True
        if (woken := self._woken) is not None:
            woken.set()

    def sleep(self, clock: Clock, seconds: float) -> None:
        """Do nothing for a while.

        Raises:
            Cancelled: Nobody wants the call any more.
        """
        clock.sleep(max(0.0, seconds), self._begin())
        self.check()

    def for_slot(self, slots: Slots, turn: Turn, seconds: float) -> None:
        """Wait until it is a turn's turn, or the time is over.

        Raises:
            Cancelled: Nobody wants the call any more.
        """
        woken = self._begin()
        if slots.wait(turn, woken.set):
            woken.wait(max(0.0, seconds))
            self.check()

    def check(self) -> None:
        """Raise `Cancelled` where nobody wants the call any more."""
        if self.cancelled:
            raise Cancelled("closed by the caller")

    def _begin(self) -> threading.Event:
        self._woken = woken = threading.Event()
        if self.cancelled:  # perhaps by another thread, since the line above
            woken.set()
        return woken
