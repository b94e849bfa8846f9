"""The record of one call: its attempts as they are made, and whom it passed over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

import msgspec

from router.answer import Answer
from router.errors import RouterError
from router.exchange import Notes
from router.types import Attempt, PassedOver, Prices, Target, Trace


class Run(Protocol):
    """An attempt under way, as the flow sees it; the drivers have their own."""

    answer: Answer
    notes: Notes


class Reporter(Protocol):
    """Whom a call tells what it does; it must not raise."""

    def attempt_started(self, attempt: Attempt) -> None: ...

    def attempt_finished(self, attempt: Attempt) -> None: ...

    def passed_over(self, skipped: PassedOver) -> None: ...


class Journal:
    """Writes the trace of one call.

    Args:
        request_id: Names the call.
        started: When it began, on the monotonic clock.
        reporter: Who is told of each entry.
    """

    def __init__(self, request_id: str, started: float, reporter: Reporter) -> None:
        self._request_id = request_id
        self._started = started
        self._reporter = reporter
        self._attempts: list[Attempt] = []
        self._passed_over: list[PassedOver] = []
        self._began = started
        self._prices: Prices | None = None

    def trace(self) -> Trace:
        """All that happened so far."""
        return Trace(
            request_id=self._request_id,
            attempts=tuple(self._attempts),
            passed_over=tuple(self._passed_over),
        )

    @property
    def count(self) -> int:
        """How many attempts were begun."""
        return len(self._attempts)

    @property
    def errors(self) -> list[RouterError]:
        """One for each attempt that failed."""
        return [a.error for a in self._attempts if isinstance(a.error, RouterError)]

    @property
    def running(self) -> bool:
        """Whether an attempt is under way."""
        return bool(self._attempts) and self._attempts[-1].outcome == "running"

    def passed_over(self, skipped: PassedOver) -> None:
        """A target is not asked."""
        self._passed_over.append(skipped)
        self._reporter.passed_over(skipped)

    def begin(
        self,
        target: Target,
        now: float,
        *,
        renamed: Mapping[str, str],
        dropped: tuple[str, ...],
        unchecked: tuple[str, ...],
        left_out: tuple[str, ...],
        prices: Prices | None = None,
    ) -> None:
        """An attempt starts."""
        self._began = now
        self._prices = prices
        attempt = Attempt(
            number=len(self._attempts) + 1,
            target=str(target),
            provider=target.provider,
            model=target.model,
            outcome="running",
            started_ms=1000 * (now - self._started),
            renamed=renamed,
            dropped=dropped,
            unchecked=unchecked,
            left_out=left_out,
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
        changes: dict[str, object] = {
            "outcome": outcome,
            "latency_ms": 1000 * (now - self._began),
            "error": error,
        }
        if run is not None:
            changes["status"] = run.notes.status
            changes["request_id"] = run.notes.request_id
            changes["rate_limits"] = run.notes.rate_limits
            changes["ignored"] = run.answer.ignored
            changes["usage"] = run.answer.usage
            if outcome == "succeeded" and self._prices:  # else the usage may be of a part
                changes["cost_usd"] = self._prices.cost(run.answer.usage)
            changes["finish_reason"] = run.answer.finish_reason
            sent = run.notes.host is not None or run.answer.has_content
            changes["possibly_billed"] = sent and outcome == "cancelled"
        if error is not None:
            error.__traceback__ = None  # its frames hold the call, which holds this journal
            changes["possibly_billed"] = error.possibly_billed
        self._change(**changes)
        self._reporter.attempt_finished(self._attempts[-1])

    def _change(self, **changes: object) -> None:
        self._attempts[-1] = msgspec.structs.replace(self._attempts[-1], **changes)
