"""The routing of one call: a generator without I/O, clock or randomness of its own.

It yields what to do and is told, in an `Event`, what happened and when. `Router` and
`AsyncRouter` drive it; under a virtual clock it is a simulation.

    Begin      run an attempt up to its first content (or its end) -> CONTENT, FINISHED, FAILED
    Deliver    hand the caller what it has, and the rest as it comes -> FINISHED, FAILED
    Sleep      wait -> WOKE

It returns the completion, or raises what the caller is to be given.
"""

from __future__ import annotations

import enum
from collections.abc import Generator
from typing import Literal, Protocol, TypeAlias

import msgspec
from msgspec import Struct

from router.answer import Answer
from router.errors import (
    AllTargetsFailed,
    BadRequest,
    Cancelled,
    ConnectFailed,
    ConnectionLost,
    ContentFiltered,
    ContextOverflow,
    DeadlineExceeded,
    PayloadTooLarge,
    RouterError,
    StreamInterrupted,
)
from router.exchange import Notes
from router.parameters import Binding
from router.plugins import Registered
from router.policy import Policy
from router.types import Attempt, Completion, Model, PassedOver, Target, Trace

FATAL = (BadRequest, ContentFiltered, ContextOverflow, PayloadTooLarge, DeadlineExceeded, Cancelled)
"""What another target would refuse as well, or what nobody waits for any more."""


class Candidate(Struct, frozen=True, kw_only=True):
    """A target that can take the call, with everything that an attempt at it needs."""

    target: Target
    registered: Registered
    model: Model
    binding: Binding


class Job(Struct, frozen=True, kw_only=True):
    """A call, planned: whom it may go to, in order, and how far."""

    request_id: str
    candidates: tuple[Candidate, ...]
    passed_over: tuple[PassedOver, ...]
    stream: bool
    policy: Policy


class Run(Protocol):
    """An attempt under way, as the flow sees it; the drivers have their own."""

    answer: Answer
    notes: Notes


class Begin(Struct, frozen=True):
    """Run an attempt; `until` says how far before the flow is told."""

    candidate: Candidate
    until: Literal["content", "end"]


class Deliver(Struct, frozen=True):
    """Hand the running attempt's pieces to the caller, those it has and those to come."""


class Sleep(Struct, frozen=True):
    """Do nothing until an instant of the monotonic clock."""

    until: float


Command: TypeAlias = Begin | Deliver | Sleep


class Outcome(enum.Enum):
    """What became of a command."""

    CONTENT = enum.auto()
    FINISHED = enum.auto()
    FAILED = enum.auto()
    WOKE = enum.auto()


class Event(Struct, frozen=True):
    """What happened, and when (seconds of the monotonic clock)."""

    outcome: Outcome
    at: float
    run: Run | None = None
    error: RouterError | None = None


class Reporter(Protocol):
    """Whom the flow tells what it does; it must not raise."""

    def attempt_started(self, attempt: Attempt) -> None: ...

    def attempt_finished(self, attempt: Attempt) -> None: ...


class Journal:
    """The attempts of one call, as they are made."""

    def __init__(self, job: Job, started: float, reporter: Reporter) -> None:
        self._job = job
        self._started = started
        self._reporter = reporter
        self._attempts: list[Attempt] = []
        self._began = started

    def trace(self) -> Trace:
        """All that happened so far."""
        return Trace(
            request_id=self._job.request_id,
            attempts=tuple(self._attempts),
            passed_over=self._job.passed_over,
        )

    @property
    def count(self) -> int:
        return len(self._attempts)

    @property
    def errors(self) -> list[RouterError]:
        """One for each attempt that failed."""
        return [a.error for a in self._attempts if isinstance(a.error, RouterError)]

    def begin(self, candidate: Candidate, now: float) -> None:
        """An attempt starts."""
        self._began = now
        attempt = Attempt(
            number=len(self._attempts) + 1,
            target=str(candidate.target),
            provider=candidate.target.provider,
            model=candidate.target.model,
            outcome="running",
            started_ms=1000 * (now - self._started),
            renamed=candidate.binding.renamed,
            dropped=candidate.binding.dropped,
            unchecked=candidate.binding.unchecked,
        )
        self._attempts.append(attempt)
        self._reporter.attempt_started(attempt)

    def content(self, now: float) -> None:
        """The first content of the running attempt has come."""
        self._change(ttft_ms=1000 * (now - self._began))

    def end(
        self,
        outcome: Literal["succeeded", "failed", "interrupted", "cancelled"],
        now: float,
        run: Run | None,
        error: RouterError | None = None,
    ) -> None:
        """The running attempt has ended."""
        self._change(outcome=outcome, latency_ms=1000 * (now - self._began), error=error)
        if run is not None:
            self._change(
                status=run.notes.status,
                request_id=run.notes.request_id,
                usage=run.answer.usage,
                finish_reason=run.answer.finish_reason,
            )
        if error is not None:
            self._change(possibly_billed=error.possibly_billed)
        self._reporter.attempt_finished(self._attempts[-1])

    @property
    def running(self) -> bool:
        return bool(self._attempts) and self._attempts[-1].outcome == "running"

    def _change(self, **changes: object) -> None:
        self._attempts[-1] = msgspec.structs.replace(self._attempts[-1], **changes)


Flow: TypeAlias = Generator[Command, Event, Completion]


def route(job: Job, journal: Journal, started: float) -> Flow:
    """Route one call: its candidates in order, until one answers.

    A connection that could not be made, or that turned out to be stale, is tried once more at
    the same target where no other is left, or at once where it was stale.

    Raises:
        RouterError: The error of the one target that was tried, or of what must stop the call.
        AllTargetsFailed: Several targets were tried, and all failed.
        StreamInterrupted: A stream broke after its first delivered content.
    """
    now = started
    waiting = list(job.candidates)
    again: set[str] = set()
    while waiting and journal.count < job.policy.attempts:
        candidate = waiting.pop(0)
        journal.begin(candidate, now)
        event = yield Begin(candidate, "content" if job.stream else "end")
        now = event.at
        if event.outcome is not Outcome.FAILED:
            return (yield from _deliver(job, journal, candidate, event))
        assert event.error is not None
        journal.end("failed", now, event.run, event.error)
        if isinstance(event.error, FATAL):
            raise _with_trace(event.error, journal)
        name = str(candidate.target)
        if _once_more(event.error, others=bool(waiting)) and name not in again:
            again.add(name)
            waiting.insert(0, candidate)
    raise _with_trace(_verdict(journal), journal)


def _deliver(job: Job, journal: Journal, candidate: Candidate, event: Event) -> Flow:
    """Hand over an attempt that has content, or is at its end already."""
    if event.outcome is Outcome.CONTENT:
        journal.content(event.at)
    if job.stream:
        event = yield Deliver()
    assert event.run is not None
    answer = event.run.answer
    if event.outcome is Outcome.FAILED:
        assert event.error is not None
        journal.end("interrupted", event.at, event.run, event.error)
        raise _with_trace(_interrupted(candidate, answer, event.error, journal), journal)
    journal.end("succeeded", event.at, event.run)
    return answer.completion(str(candidate.target), candidate.model.id, journal.trace())


def _interrupted(
    candidate: Candidate, answer: Answer, cause: RouterError, journal: Journal
) -> RouterError:
    if isinstance(cause, Cancelled):
        return cause
    error = StreamInterrupted(
        f"the answer broke off after {len(answer.text)} characters: {cause.message}",
        partial=answer.completion(str(candidate.target), candidate.model.id, journal.trace()),
        cause=cause,
        target=str(candidate.target),
        provider=candidate.target.provider,
        status=cause.status,
        code=cause.code,
        request_id=cause.request_id,
        retryable=cause.retryable,
    )
    error.__cause__ = cause
    return error


def _once_more(error: RouterError, *, others: bool) -> bool:
    if isinstance(error, ConnectionLost):
        return error.stale
    return isinstance(error, ConnectFailed) and not others


def _verdict(journal: Journal) -> RouterError:
    """What the caller is given when nothing is left to try."""
    errors = journal.errors
    targets = {error.target for error in errors}
    if len(targets) == 1:
        return errors[-1]
    return AllTargetsFailed(f"all {len(targets)} targets failed:", errors)


def _with_trace(error: RouterError, journal: Journal) -> RouterError:
    error.trace = journal.trace()
    return error
