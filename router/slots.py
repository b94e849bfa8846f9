"""How many attempts may be under way at a target at once."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Callable


class Slot:
    """A slot that was taken; safe under threads.

    Attributes:
        lent: Whether somebody else has it, who will give it back.
    """

    __slots__ = ("_held", "_target", "lent")

    def __init__(self, slots: Slots, target: str) -> None:
        self._held = [slots]
        self._target = target
        self.lent = False

    def release(self) -> None:
        """Give it back, unless that was done."""
        try:
            slots = self._held.pop()  # in one step: the other one may be in another thread
        except IndexError:
            return
        slots.release(self._target)


class Slots:
    """Counts the attempts at targets that have a limit. Safe under threads.

    Who finds no slot leaves a function, which is called once when one may be free: from any
    thread, and without a slot being kept for its caller.

    A stream that nobody holds any more gives its slot back when it is collected, which may be in
    the midst of any method here: the lock can be taken again, and what is counted is changed in
    single steps.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._taken: defaultdict[str, int] = defaultdict(int)
        self._waiting: dict[str, deque[Callable[[], None]]] = {}

    def take(self, target: str, limit: int) -> Slot | None:
        """Take a slot, if one is free."""
        with self._lock:
            if self._taken[target] >= limit:
                return None
            self._taken[target] += 1
        return Slot(self, target)

    def release(self, target: str) -> None:
        """Give a slot back, and wake the one who has waited longest."""
        with self._lock:
            self._taken[target] -= 1
            waiting = self._waiting.get(target)
            wake = waiting.popleft() if waiting else None
        if wake is not None:
            wake()

    def wait(self, target: str, limit: int, wake: Callable[[], None]) -> bool:
        """Leave a function for the next free slot; `False` where one is free already."""
        with self._lock:
            waiting = self._waiting.setdefault(target, deque())
            waiting.append(wake)
            if self._taken[target] >= limit:
                return True
            if wake in waiting:
                waiting.remove(wake)
            return False

    def leave(self, target: str, wake: Callable[[], None]) -> None:
        """Wait no longer. One that was woken and did not come wakes the next."""
        with self._lock:
            waiting = self._waiting.get(target, deque())
            if wake in waiting:
                waiting.remove(wake)
                return
            following = waiting.popleft() if waiting else None
        if following is not None:
            following()
