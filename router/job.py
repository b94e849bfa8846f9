"""A call, planned: what the planner makes, and the flow carries out."""

from __future__ import annotations

import os
from collections.abc import Callable

from msgspec import Struct, field

from router.budget import Budget
from router.health import Health
from router.messages import Message
from router.parameters import Binding
from router.plugins import Registered
from router.policy import Policy
from router.rules import Rules
from router.secret import Unshown
from router.slots import Slots
from router.types import Model, PassedOver, Target


class Candidate(Unshown, frozen=True, kw_only=True):
    """A target that can take the call, with everything that an attempt at it needs.

    Attributes:
        messages: The call's, without what only another provider can read (`left_out` names it).
    """

    target: Target
    registered: Registered
    model: Model
    binding: Binding
    messages: tuple[Message, ...]
    left_out: tuple[str, ...] = ()

    @property
    def origin(self) -> str:
        """Who can read the sealed reasoning that it answers with."""
        return self.registered.provider.origin or self.registered.name

    @property
    def max_concurrency(self) -> int | None:
        """How many attempts may be under way at once."""
        own = self.target.max_concurrency
        return self.registered.provider.max_concurrency if own is None else own


class Job(Unshown, frozen=True, kw_only=True):
    """A call, planned: whom it may go to, in order, and how far."""

    request_id: str
    candidates: tuple[Candidate, ...]
    passed_over: tuple[PassedOver, ...]
    stream: bool
    policy: Policy


class State(Struct, frozen=True, kw_only=True):
    """What the calls of one router share, and the flow consults.

    Attributes:
        draw: Gives a number in [0, 1), for jitter.
        process: The process that it is of.
    """

    health: Health
    budget: Budget
    slots: Slots
    rules: Rules
    draw: Callable[[], float]
    process: int = field(default_factory=os.getpid)

    @property
    def is_ours(self) -> bool:
        """Whether this is no fork of that process, where a lock may be held for ever."""
        return self.process == os.getpid()
