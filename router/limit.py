"""The instant at which a running attempt is cut; no clock of its own."""

from __future__ import annotations

import math

from router.errors import Cancelled, DeadlineExceeded, Phase, RouterError, Timeout
from router.policy import Policy

AFTER_FINISH = 2.0
"""Seconds left to a stream after its finish reason, for the usage and the end: the answer is
whole by then, so silence is only waited out for what some servers send late."""

AFTER_UNSURE_FINISH = 5.0
"""The same after one that need not be the last word: some servers write a reason into every chunk,
and may take a while from the first to the second."""


class Limit:
    """When the attempt that holds it is cut, and why. All times are of one monotonic clock.

    Args:
        policy: The limits in seconds.
        now: When the attempt starts.
        deadline: That of the whole call, or `None`.
        first_token: Whether the first content has a limit of its own.
        idle: Whether the pauses between pieces have one.

    Attributes:
        until: The instant; the transports read it at every wait.
        deadline: That of the whole call, or `None`.
        total: The latest instant that `until` can be.
        cancelled: Whether nobody wants the attempt any more.
    """

    __slots__ = (
        "_connect",
        "_first_token",
        "_idle",
        "_phase",
        "_watches_idle",
        "cancelled",
        "deadline",
        "total",
        "until",
    )

    def __init__(
        self, policy: Policy, now: float, deadline: float | None, *, first_token: bool, idle: bool
    ) -> None:
        self.deadline = deadline
        self._connect = policy.connect
        self._first_token = policy.first_token
        self._idle = policy.idle
        total = now + policy.total
        self.total = total if deadline is None else min(total, deadline)
        self._phase: Phase = "total"
        self.until = self.total
        self._watches_idle = idle
        self.cancelled = False
        if first_token:
            self._set(now + policy.first_token, "first_token")

    def connect_until(self, now: float) -> float:
        """When a connection that is begun now has to stand."""
        return min(now + self._connect, self.until)

    def alive(self, now: float) -> None:
        """A piece came, or a keep-alive after the first content."""
        if self._watches_idle:
            self._set(now + self._idle, "idle")

    def ping(self, now: float) -> None:
        """A keep-alive came: it resets the idle limit, not that of the first token."""
        if self._phase == "idle":
            self._set(now + self._idle, "idle")

    def finish(self, now: float, *, sure: bool = True) -> None:
        """The finish reason came; where it is not sure, a piece behind it sets the limit anew."""
        self.until = min(self.until, now + (AFTER_FINISH if sure else AFTER_UNSURE_FINISH))

    def cancel(self) -> None:
        """End the attempt at its next wait or piece: nobody wants it any more."""
        self.cancelled = True
        self.until = -math.inf

    def error(self, now: float, *, connecting: bool = False) -> RouterError:
        """What the limit that ran out is called."""
        if self.cancelled:
            return Cancelled("closed by the caller")
        if self.deadline is not None and now >= self.deadline:
            return DeadlineExceeded(
                "the deadline of the call has passed", possibly_billed=not connecting
            )
        if connecting:
            within = "the limit of the attempt" if now >= self.until else f"{self._connect:g} s"
            return Timeout(f"no connection within {within}", phase="connect")
        phase = "total" if now >= self.total else self._phase
        match phase:
            case "first_token":
                message = f"no content within {self._first_token:g} s"
            case "idle":
                message = f"silent for {self._idle:g} s in the middle of the answer"
            case _:
                message = "the attempt took longer than its limit"
        return Timeout(message, phase=phase)

    def _set(self, until: float, phase: Phase) -> None:
        if until > self.total:  # min() would cost more than all else here, at each piece
            until = self.total
        self.until = until
        self._phase = phase
        if self.cancelled:  # perhaps by another thread, since the line above
            self.until = -math.inf
