"""The routing of one call: a generator without I/O, clock or randomness of its own.

It yields what to do (`router.commands`) and is told, in an `Event`, what happened and when.
`Router` and `AsyncRouter` drive it; under a virtual clock it is a simulation.

It returns the completion, or raises what the caller is to be given. Which target is next is the
decision of `router.choice`, what an error means is a row of `router.rules`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Literal, TypeAlias

from router.answer import Answer
from router.choice import Choice, Option
from router.commands import Announce, Begin, Command, Deliver, Event, Outcome, Queue, Sleep
from router.errors import (
    AllTargetsFailed,
    Cancelled,
    DeadlineExceeded,
    Overloaded,
    RouterError,
    StreamInterrupted,
)
from router.job import Job, State
from router.journal import Journal
from router.policy import OnInterrupt, backoff
from router.rules import Rule, rule_for
from router.slots import Slot, Turn
from router.types import Completion, PassedOver, Restart

Flow: TypeAlias = Generator[Command, Event, Completion]


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
        self._slot: Slot | None = None

    def leave(self) -> None:
        """The call ends; an attempt that it leaves behind told nothing of its target."""
        if not self._state.is_ours:
            return
        if self._slot is not None and not self._slot.lent:
            self._slot.release()
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
        continues: Answer | None = None,
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
                patient=self._is_patient(option, allowed),
                continues=continues,
                slot=self._slot,
            )
            self._heard(option, event)
            if event.outcome is not Outcome.FAILED:
                if event.outcome is Outcome.CONTENT:
                    self._journal.content(event.at)
                    self._state.health.answers(option.subject)
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
        self._trying = option
        if self._state.health.begin(option.subject, self._now, forced=not option.in_health):
            return True
        self._trying = None
        if self._slot is not None:
            self._slot.release()
        option.at_once = False  # it is told when it may come back
        return False

    def _has_slot(
        self, option: Option, allowed: Callable[[Option], bool]
    ) -> Generator[Command, Event, bool]:
        """Take a slot at a target; wait for one where no other target is left."""
        self._slot = None
        limit = option.candidate.max_concurrency
        if limit is None:
            return True
        give_up = self._now + self._policy.queue
        if self._deadline is not None:
            give_up = min(give_up, self._deadline)
        waits = self._choice.is_last(option, allowed, self._now)
        turn = Turn(option.name, limit, give_up)
        try:
            while (taken := self._state.slots.take(turn, self._now)) is None:
                if not waits or self._now >= give_up:
                    option.closed = True
                    detail = f"at its limit of {limit} attempts at once"
                    self._journal.passed_over(
                        PassedOver(target=option.name, reason="busy", detail=detail)
                    )
                    return False
                self._now = (yield Queue(turn)).at
            self._slot = taken
            return True
        finally:
            if self._state.is_ours:
                self._state.slots.leave(turn)

    def _is_patient(self, option: Option, allowed: Callable[[Option], bool]) -> bool:
        """Whether nobody else would be asked, were the first token to be missed."""
        policy = self._policy
        by = self._now + policy.first_token + policy.longest_wait
        if self._deadline is not None:
            by = min(by, self._deadline)
        return (
            self._journal.count >= policy.attempts
            or policy.idempotency == "none"
            or self._choice.is_last(option, allowed, by)
        )

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
        retries = min(1, self._policy.retries) if again == "once" else self._policy.retries
        if again == "never" or option.tries > retries or option.ambiguous > 1:
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
            return (yield from self._attempt("content", _prefills(broken), answer))
        if way == "restart" and typed:
            option, event = yield from self._attempt("content", _any)
            if option is not None and event is not None:
                restart = Restart(target=option.name, discard_characters=answer.characters)
                yield Announce(restart)
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
        tried = sum(option.tries > 0 for option in self._choice.options)
        if tried == 1:
            return errors[-1]
        group = AllTargetsFailed(f"all {tried} targets failed:", errors)
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
