"""What the routing of a call asks its driver to do, and is told.

Begin      run an attempt up to its first content, or its end -> CONTENT, FINISHED, FAILED
Deliver    hand the caller what it has, and the rest as it comes -> FINISHED, FAILED
Announce   tell the caller that the answer begins anew -> WOKE
Queue      wait until a target may have a free slot -> WOKE
Sleep      wait -> WOKE
"""

from __future__ import annotations

import enum
from typing import Literal, TypeAlias

from msgspec import Struct

from router.answer import Answer
from router.errors import RouterError
from router.job import Candidate
from router.journal import Run
from router.secret import Unshown
from router.slots import Slot, Turn
from router.types import Restart


class Begin(Unshown, frozen=True, kw_only=True):
    """Run an attempt.

    Attributes:
        until: How far before the flow is told.
        patient: Whether its first token has no limit of its own: nobody else is left.
        continues: What another attempt has delivered, and this one is to go on from.
        slot: Its slot at the target, where that has a limit; lent to whoever runs it.
    """

    candidate: Candidate
    until: Literal["content", "end"]
    patient: bool
    continues: Answer | None = None
    slot: Slot | None = None

    @property
    def choices(self) -> int:
        """How many answers the target is asked for."""
        asked = self.candidate.binding.arguments.get("n")
        return asked if isinstance(asked, int) else 1


class Deliver(Struct, frozen=True):
    """Hand the running attempt's pieces to the caller, those it has and those to come."""


class Announce(Struct, frozen=True):
    """Hand the caller the news that the answer begins anew."""

    restart: Restart


class Queue(Struct, frozen=True):
    """Wait until it is a turn's turn, or it is given up."""

    turn: Turn


class Sleep(Struct, frozen=True):
    """Do nothing until an instant of the monotonic clock."""

    until: float


Command: TypeAlias = Begin | Deliver | Announce | Queue | Sleep


class Outcome(enum.Enum):
    """What became of a command."""

    CONTENT = enum.auto()
    FINISHED = enum.auto()
    FAILED = enum.auto()
    WOKE = enum.auto()


class Event(Struct, frozen=True):
    """What happened, and when (seconds of the monotonic clock).

    Attributes:
        typed: Whether the caller reads typed pieces, and so understands a `Restart`.
    """

    outcome: Outcome
    at: float
    run: Run | None = None
    error: RouterError | None = None
    typed: bool = False
