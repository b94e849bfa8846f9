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


class Turn:
    """A place in the line for a slot, from the first wait until it is taken or left.

    Attributes:
        target: Of the slot.
        limit: How many attempts may be under way there at once.
        until: When its owner gives up; one that did not even leave holds nobody up after that.
        wake: What is called when it is its turn; `None` where that was done.
    """

    __slots__ = ("limit", "target", "until", "wake")

    def __init__(self, target: str, limit: int, until: float) -> None:
        self.target = target
        self.limit = limit
        self.until = until
        self.wake: Callable[[], None] | None = None


class Slots:
    """Counts the attempts at targets that have a limit. Safe under threads.

    Slots go to those who have waited longest: who comes later waits behind them, and who gives one
    back and asks for the next at once does too. Who waits leaves a function, which is called once
    when it is its turn: from any thread. Until it takes the slot, or leaves, that is kept for it.

    A stream that nobody holds any more gives its slot back when it is collected, which may be in
    the midst of any method here: the lock can be taken again, and what is counted is changed in
    single steps.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._taken: defaultdict[str, int] = defaultdict(int)
        self._lines: defaultdict[str, deque[Turn]] = defaultdict(deque)

    def take(self, turn: Turn, now: float) -> Slot | None:
        """Take a slot, if one is free for this turn."""
        with self._lock:
            line = self._lines[turn.target]
            while line and line[0].until < now:
                self.leave(line[0])
            if not self._is_next(turn):
                return None
            if turn in line:
                line.remove(turn)
            self._taken[turn.target] += 1
        return Slot(self, turn.target)

    def release(self, target: str) -> None:
        """Give a slot back, and wake the one who has waited longest."""
        with self._lock:
            self._taken[target] -= 1
            self._wake_next(target)

    def wait(self, turn: Turn, wake: Callable[[], None]) -> bool:
        """Join the line, and leave a function; `False` where it is the turn's turn already."""
        with self._lock:
            if turn not in self._lines[turn.target]:
                self._lines[turn.target].append(turn)
            waits = not self._is_next(turn)
            turn.wake = wake if waits else None
            return waits

    def leave(self, turn: Turn) -> None:
        """Wait no longer. One that was woken wakes the next in its place."""
        with self._lock:
            line = self._lines[turn.target]
            if turn not in line:
                return
            line.remove(turn)
            if turn.wake is None:
                self._wake_next(turn.target)

    def _is_next(self, turn: Turn) -> bool:
        """Whether there are more free slots than turns before this one."""
        line = self._lines[turn.target]
        before = line.index(turn) if turn in line else len(line)
        return self._taken[turn.target] + before < turn.limit

    def _wake_next(self, target: str) -> None:
        for turn in self._lines[target]:
            if turn.wake is not None:
                wake, turn.wake = turn.wake, None
                wake()
                return
