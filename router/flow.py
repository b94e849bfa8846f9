"""The routing of one call: a generator without I/O, clock or randomness of its own.

It yields what to do and is told, in an `Event`, what happened and when. `Router` and
`AsyncRouter` drive it; under a virtual clock it is a simulation.

    Begin      run an attempt up to its first content, or its end -> CONTENT, FINISHED, FAILED
    Deliver    hand the caller what it has, and the rest as it comes -> FINISHED, FAILED
    Announce   tell the caller that the answer begins anew -> WOKE
    Queue      wait until a target may have a free slot -> WOKE
    Sleep      wait -> WOKE

It returns the completion, or raises what the caller is to be given. Which target is next is the
decision of `Choice`, what an error means is a row of `router.rules`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Generator
from typing import Literal, TypeAlias

from msgspec import Struct

from router.answer import Answer
from router.budget import Budget
from router.errors import (
    AllTargetsFailed,
    Cancelled,
    DeadlineExceeded,
    Overloaded,
    RouterError,
    StreamInterrupted,
)
from router.health import Cooling, Health, Subject
from router.journal import Journal, Run
from router.messages import Message
from router.parameters import Binding
from router.plugins import Registered
from router.policy import OnInterrupt, Policy, backoff
from router.rules import Rule, Rules, rule_for
from router.slots import Slots
from router.types import Completion, Model, PassedOver, Restart, Target


class Candidate(Struct, frozen=True, kw_only=True):
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


class Job(Struct, frozen=True, kw_only=True):
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
    """

    health: Health
    budget: Budget
    slots: Slots
    rules: Rules
    draw: Callable[[], float]


class Begin(Struct, frozen=True, kw_only=True):
    """Run an attempt.

    Attributes:
        until: How far before the flow is told.
        patient: Whether its first token has no limit of its own: nobody else is left.
        prefill: Text to be continued, which counts as the beginning of the answer.
    """

    candidate: Candidate
    until: Literal["content", "end"]
    patient: bool
    prefill: str = ""


class Deliver(Struct, frozen=True):
    """Hand the running attempt's pieces to the caller, those it has and those to come."""


class Announce(Struct, frozen=True):
    """Hand the caller the news that the answer begins anew."""

    restart: Restart


class Queue(Struct, frozen=True):
    """Wait until a slot may be free at a target, or an instant of the monotonic clock."""

    target: str
    limit: int
    until: float


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


Flow: TypeAlias = Generator[Command, Event, Completion]


class Option:
    """A candidate, and what became of it in this call.

    Attributes:
        tries: Its attempts so far.
        ready_at: When it may be tried again; `None` while it was not tried, or must not be.
        at_once: Whether that is before any other target.
        charged: Whether its last attempt was charged to the budget.
        in_health: Whether it was chosen because nothing is known against it.
        closed: Whether it is out of this call.
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

    def is_last(self, chosen: Option, allowed: Callable[[Option], bool]) -> bool:
        """Whether no other target is left to be tried for the first time."""
        return not any(o.fresh and allowed(o) for o in self.options if o is not chosen)

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
            charged = option.tries > 0 or self._is_failing(option)
            if self._granted(option, now, charged=charged):
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
        detail = f"cooling for {max(0.0, cooling.until - now):.1f} s after {cooling.reason}"
        self._journal.passed_over(PassedOver(target=option.name, reason="cooling", detail=detail))


def route(job: Job, journal: Journal, state: State, started: float) -> Flow:
    """Route one call until a target answers, nothing is left, or its limits are reached.

    Raises:
        RouterError: The error of the one target that was tried, or of what must stop the call.
        AllTargetsFailed: Several targets were tried, and all failed.
        StreamInterrupted: A stream broke after its first delivered content.
    """
    call = _Call(job, journal, state, started)
    try:
        return (yield from call.run())
    finally:
        call.leave()


class _Call:
    """One call under way."""

    def __init__(self, job: Job, journal: Journal, state: State, started: float) -> None:
        self._job = job
        self._policy = job.policy
        self._journal = journal
        self._state = state
        self._choice = Choice(job, journal, state)
        self._now = started
        limit = job.policy.deadline
        self._deadline = None if limit is None else started + limit
        self._trying: Option | None = None

    def leave(self) -> None:
        """The call ends; an attempt that it leaves behind told nothing of its target."""
        if self._trying is not None:
            self._state.health.release(self._trying.subject)

    def run(self) -> Flow:
        self._state.budget.request(self._now)
        until: Literal["content", "end"] = "content"
        if not self._job.stream or "buffer" in self._policy.interrupts:
            until = "end"
        option, event = yield from self._attempt(until, _any)
        if option is None or event is None:
            raise self._told(self._verdict())
        while self._job.stream:
            event = yield Deliver()
            self._now = event.at
            if event.outcome is not Outcome.FAILED:
                break
            option, event = yield from self._mend(option, event)
        return self._succeeded(option, event)

    def _attempt(
        self,
        until: Literal["content", "end"],
        allowed: Callable[[Option], bool],
        prefill: str = "",
    ) -> Generator[Command, Event, tuple[Option, Event] | tuple[None, None]]:
        """Try targets until one has content (or has answered), or none is left."""
        while (option := (yield from self._next(allowed))) is not None:
            candidate = option.candidate
            binding = candidate.binding
            self._journal.begin(
                candidate.target,
                self._now,
                renamed=binding.renamed,
                dropped=binding.dropped,
                unchecked=binding.unchecked,
                left_out=candidate.left_out,
                prices=candidate.model.prices,
            )
            option.tries += 1
            option.ready_at, option.at_once = None, False
            event = yield Begin(
                candidate=candidate,
                until=until,
                patient=self._choice.is_last(option, allowed),
                prefill=prefill,
            )
            self._heard(option, event)
            if event.outcome is not Outcome.FAILED:
                if event.outcome is Outcome.CONTENT:
                    self._journal.content(event.at)
                return option, event
            self._failed(option, event, "failed")
        return None, None

    def _next(self, allowed: Callable[[Option], bool]) -> Generator[Command, Event, Option | None]:
        """The next target, once it may be asked and has a free slot."""
        while True:
            if self._deadline is not None and self._now >= self._deadline:
                raise self._told(DeadlineExceeded("the deadline of the call has passed"))
            chosen = self._choice.next(self._now, self._deadline, allowed)
            if isinstance(chosen, Sleep):
                self._now = (yield chosen).at
                continue
            if chosen is None:
                return None
            if (yield from self._has_slot(chosen, allowed)) and self._may_try(chosen):
                return chosen

    def _may_try(self, option: Option) -> bool:
        """Whether no other call has begun to probe the target since it was chosen."""
        if self._state.health.begin(option.subject, self._now, forced=not option.in_health):
            self._trying = option
            return True
        if option.candidate.max_concurrency is not None:
            self._state.slots.release(option.name)
        return False

    def _has_slot(
        self, option: Option, allowed: Callable[[Option], bool]
    ) -> Generator[Command, Event, bool]:
        """Take a slot at a target; wait for one where no other target is left."""
        limit = option.candidate.max_concurrency
        if limit is None:
            return True
        give_up = self._now + self._policy.queue
        if self._deadline is not None:
            give_up = min(give_up, self._deadline)
        waits = self._choice.is_last(option, allowed)
        while not self._state.slots.take(option.name, limit):
            if not waits or self._now >= give_up:
                option.closed = True
                detail = f"at its limit of {limit} attempts at once"
                self._journal.passed_over(
                    PassedOver(target=option.name, reason="busy", detail=detail)
                )
                return False
            self._now = (yield Queue(option.name, limit, give_up)).at
        return True

    def _heard(self, option: Option, event: Event) -> None:
        """What every event of an attempt tells."""
        self._now = event.at
        if event.run is not None:
            self._state.health.learn(option.subject, event.run.notes.host, event.run.notes.key)

    def _failed(
        self, option: Option, event: Event, outcome: Literal["failed", "interrupted"]
    ) -> None:
        """Note a failure, and draw what follows from it.

        Raises:
            RouterError: What must stop the call.
        """
        error = event.error
        assert error is not None
        ended = "cancelled" if isinstance(error, Cancelled) else outcome
        self._journal.end(ended, self._now, event.run, error)
        self._trying = None
        if self._journal.count > 1 and not option.charged:
            self._state.budget.debit(self._now)
        rule = rule_for(error, self._state.rules)
        if rule.cools == "nothing":
            self._state.health.release(option.subject)
        else:
            self._state.health.fail(option.subject, error, rule, self._now)
        self._plan_again(option, error, rule)
        if outcome == "interrupted":
            return
        if self._stops(error, rule):
            if not (error.should_retry and option.waits):
                raise self._told(error)
            self._keep_alone(option)
        if rule.elsewhere == "larger_window":
            self._keep_larger(option)

    def _keep_alone(self, option: Option) -> None:
        """No other target would take it, but this one asks for another try."""
        for other in self._choice.options:
            other.closed = other.closed or other is not option

    def _stops(self, error: RouterError, rule: Rule) -> bool:
        if error.possibly_billed and self._policy.idempotency == "none":
            return True
        asked = rule.elsewhere == "if_asked" and self._policy.on_content_filter == "next"
        return rule.elsewhere == "no" or (rule.elsewhere == "if_asked" and not asked)

    def _plan_again(self, option: Option, error: RouterError, rule: Rule) -> None:
        """Whether, and when, the target may be tried again in this call."""
        option.ambiguous += error.possibly_billed
        again = rule.again
        if error.should_retry is not None and again != "at_once":
            again = "last" if error.should_retry else "never"
        # An attempt whose outcome is unknown is issued once more at the same target, not twice.
        if again == "never" or option.tries > self._policy.retries or option.ambiguous > 1:
            option.closed = True
            return
        option.at_once = again == "at_once"
        wait = error.retry_after
        if wait is None:
            wait = backoff(option.tries - 1, rule.base, self._policy.backoff_cap, self._state.draw)
        option.ready_at = self._now + (0.0 if option.at_once else wait)

    def _keep_larger(self, option: Option) -> None:
        """The prompt was too long: only a larger context window can help."""
        window = option.candidate.model.context_window
        for other in self._choice.options:
            larger = other.candidate.model.context_window
            if window is None or larger is None or larger <= window:
                other.closed = True

    def _mend(
        self, broken: Option, event: Event
    ) -> Generator[Command, Event, tuple[Option, Event]]:
        """A stream broke after its first delivered content: do what the policy says.

        Raises:
            StreamInterrupted: Nothing else was asked for, or nothing else worked.
        """
        assert event.run is not None
        assert event.error is not None
        answer, cause = event.run.answer, event.error
        self._heard(broken, event)
        interrupted = self._interrupted(broken, answer, cause)
        self._failed(broken, event, "interrupted")
        if isinstance(cause, Cancelled):
            raise self._told(cause)
        # What was delivered was carried out: with side effects, nothing may be done twice.
        ways = () if self._policy.idempotency == "none" else self._policy.interrupts
        try:
            for way in ways:
                option, begun = yield from self._go_on(way, broken, answer, typed=event.typed)
                if option is not None and begun is not None:
                    return option, begun
        except Cancelled:
            raise
        except RouterError as error:
            interrupted.add_note(f"mending it failed: {error}")
        raise self._told(interrupted)

    def _go_on(
        self, way: OnInterrupt, broken: Option, answer: Answer, *, typed: bool
    ) -> Generator[Command, Event, tuple[Option, Event] | tuple[None, None]]:
        """Another attempt for a broken stream, in one of the ways that the policy allows."""
        if way == "continue" and answer.can_be_continued:
            return (yield from self._attempt("content", _prefills(broken), answer.text))
        if way == "restart" and typed:
            option, event = yield from self._attempt("content", _any)
            if option is not None and event is not None:
                length = len(answer.text)
                yield Announce(Restart(target=option.name, discard_characters=length))
                return option, event
        return None, None

    def _succeeded(self, option: Option, event: Event) -> Completion:
        assert event.run is not None
        self._heard(option, event)
        self._state.health.succeed(option.subject, self._now)
        self._trying = None
        self._journal.end("succeeded", self._now, event.run)
        candidate = option.candidate
        return event.run.answer.completion(
            option.name, candidate.model.id, self._journal.trace(), candidate.origin
        )

    def _interrupted(self, option: Option, answer: Answer, cause: RouterError) -> StreamInterrupted:
        model = option.candidate.model.id
        error = StreamInterrupted(
            f"the answer broke off after {len(answer.text)} characters: {cause.message}",
            partial=answer.completion(
                option.name, model, self._journal.trace(), option.candidate.origin
            ),
            cause=cause,
            target=option.name,
            provider=option.candidate.target.provider,
            status=cause.status,
            code=cause.code,
            request_id=cause.request_id,
            retryable=cause.retryable,
        )
        error.__cause__ = cause
        return error

    def _verdict(self) -> RouterError:
        """What the caller is given when nothing is left to try."""
        errors = self._journal.errors
        back_at = self._choice.back_at
        retry_after = None if back_at is None else back_at - self._now
        if not errors:
            return self._nobody_asked(retry_after)
        targets = {error.target for error in errors}
        if len(targets) == 1:
            return errors[-1]
        group = AllTargetsFailed(f"all {len(targets)} targets failed:", errors)
        group.retry_after = retry_after
        return group

    def _nobody_asked(self, retry_after: float | None) -> RouterError:
        """Every target is cooling or busy, and was not asked."""
        skipped = self._journal.trace().passed_over
        lines = [f"{each.target}: {each.detail}" for each in skipped]
        if retry_after is not None:
            lines.append(f"the first is back in {retry_after:.1f} s")
        return Overloaded(
            "\n  ".join(["no target can be asked now:", *lines]),
            code="local",
            retry_after=retry_after,
        )

    def _told(self, error: RouterError) -> RouterError:
        error.trace = self._journal.trace()
        return error


def _any(option: Option) -> bool:
    return True


def _prefills(broken: Option) -> Callable[[Option], bool]:
    """Those that can go on where another broke off."""

    def accepts(option: Option) -> bool:
        return option is not broken and option.candidate.model.accepts_prefill

    return accepts
