"""Which target a call goes to next."""

from __future__ import annotations

from collections.abc import Callable

from router.commands import Sleep
from router.health import Cooling, Subject
from router.job import Candidate, Job, State
from router.journal import Journal
from router.types import PassedOver


class Option:
    """A candidate, and what became of it in this call.

    Attributes:
        tries: Its attempts so far.
        ready_at: When it may be tried again; `None` while it was not tried, or must not be.
        at_once: Whether that is before any other target.
        charged: Whether its last attempt was charged to the budget.
        in_health: Whether it was chosen because nothing is known against it.
        closed: Whether it is out of this call.
        told: Whether the trace has it as cooling.
    """

    __slots__ = (
        "ambiguous",
        "at_once",
        "candidate",
        "charged",
        "closed",
        "in_health",
        "name",
        "ready_at",
        "subject",
        "told",
        "tries",
    )

    def __init__(self, candidate: Candidate) -> None:
        self.candidate = candidate
        self.name = str(candidate.target)
        self.subject = Subject(
            target=self.name,
            provider=candidate.target.provider,
            quota=candidate.target.quota_group,
        )
        self.tries = 0
        self.ambiguous = 0
        self.ready_at: float | None = None
        self.at_once = False
        self.charged = False
        self.closed = False
        self.in_health = False
        self.told = False

    @property
    def fresh(self) -> bool:
        return self.tries == 0 and not self.closed

    @property
    def waits(self) -> bool:
        return self.ready_at is not None and not self.closed


class Choice:
    """Chooses the next target of one call."""

    def __init__(self, job: Job, journal: Journal, state: State) -> None:
        self.options = [Option(candidate) for candidate in job.candidates]
        self._policy = job.policy
        self._journal = journal
        self._state = state
        self.back_at: float | None = None
        """When the first of those that are cooling would be back, where nobody waits for it."""

    def next(
        self, now: float, deadline: float | None, allowed: Callable[[Option], bool]
    ) -> Option | Sleep | None:
        """The next target to try, how long to wait for it, or `None` when nothing is left.

        In this order: a retry that is due at once; the targets not yet tried, as the caller
        listed them, that are in health; then those whose ejection was only inferred; then
        whichever comes back first, of retries and of those that are cooling.
        """
        if self._journal.count >= self._policy.attempts:
            return None
        options = [option for option in self.options if not option.closed and allowed(option)]
        for option in options:
            option.in_health = False
            if option.at_once and self._granted(option, now, charged=True):
                return option
        ejected: list[tuple[Cooling, Option]] = []
        cooling: list[tuple[float, Option]] = []
        for option in [option for option in options if option.fresh]:
            found = self._state.health.cooling(option.subject, now)
            if found is None:
                if self._granted(option, now, charged=self._is_failing(option)):
                    option.in_health = True
                    for ejection, passed in ejected:
                        self._tell(passed, ejection, now)
                    return option
            elif found.commanded:
                cooling.append((found.until, option))
                self._tell(option, found, now)
            else:
                ejected.append((found, option))
        return self._last_resort(now, deadline, options, ejected, cooling)

    def is_last(self, chosen: Option, allowed: Callable[[Option], bool], by: float) -> bool:
        """Whether no other target is left that may be tried for the first time by an instant."""
        return not any(
            other.fresh and allowed(other) and not self._stays_away(other, by)
            for other in self.options
            if other is not chosen
        )

    def _stays_away(self, option: Option, now: float) -> bool:
        found = self._state.health.cooling(option.subject, now)
        return found is not None and found.commanded

    def _last_resort(
        self,
        now: float,
        deadline: float | None,
        options: list[Option],
        ejected: list[tuple[Cooling, Option]],
        cooling: list[tuple[float, Option]],
    ) -> Option | Sleep | None:
        for _, option in ejected:  # the panic rule: an inference never leaves a call without any
            if self._granted(option, now, charged=self._journal.count > 0):
                return option
        for found, option in ejected:
            self._tell(option, found, now)
        waiting = [
            *cooling,
            *((self._due(option, now), option) for option in options if option.waits),
        ]
        for at, option in sorted(waiting, key=lambda pair: pair[0]):
            if at > now:
                late = deadline is not None and at >= deadline
                if late or at - now > self._policy.longest_wait:
                    self.back_at = at
                    return None
                return Sleep(at)
            if self._granted(option, now, charged=True):  # a retry: what cools is not back by now
                return option
        return None

    def _due(self, option: Option, now: float) -> float:
        """When a retry may be sent: after its back-off, and after what the server asked for."""
        assert option.ready_at is not None
        found = self._state.health.cooling(option.subject, now)
        commanded = found.until if found is not None and found.commanded else now
        return max(option.ready_at, commanded)

    def _is_failing(self, option: Option) -> bool:
        return self._journal.count > 0 and self._state.health.is_failing(option.subject)

    def _granted(self, option: Option, now: float, *, charged: bool) -> bool:
        """Whether the budget allows it; a target that it refuses is out of this call."""
        option.charged = charged
        if charged and not self._state.budget.withdraw(now):
            option.closed = True
            self._journal.passed_over(
                PassedOver(
                    target=option.name,
                    reason="budget",
                    detail="the router's budget of extra attempts is used up",
                )
            )
            return False
        return True

    def _tell(self, option: Option, cooling: Cooling, now: float) -> None:
        if option.told:
            return
        option.told = True
        detail = f"cooling for {max(0.0, cooling.until - now):.1f} s after {cooling.reason}"
        self._journal.passed_over(PassedOver(target=option.name, reason="cooling", detail=detail))
