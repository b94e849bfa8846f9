"""Values that one exchange gets for all: access tokens."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from router.contract import Shared
from router.limit import Limit
from router.slots import Slots, Turn
from router.waits import Waits


class SharedStore:
    """The shared values of one sync router; safe under threads.

    Args:
        clock: Seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._turns = Slots()
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
        waits: Waits,
    ) -> Any:
        """The value of a step: the kept one, or what its exchange brings now.

        Those who come while it runs wait for it, as long as their own limit allows; when it
        fails, the next of them tries.

        Raises:
            RouterError: The exchange failed, or the limit ran out or the call was cancelled in
                the wait.
        """
        key = (provider, step.key)
        turn = Turn(f"{provider}/{step.key}", 1, limit.until)
        taken = None
        try:
            while (taken := self._turns.take(turn, now := self._clock())) is None:
                if now >= limit.until:
                    raise limit.error(now)
                waits.for_slot(self._turns, turn, limit.until - now)
            if (kept := self.fresh(key)) is not None:
                return kept[0]
            value = drive(step.exchange())
            self.keep(key, step, value)
            return value
        finally:
            if taken is not None:
                taken.release()
            self._turns.leave(turn)
