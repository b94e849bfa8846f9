"""What a call tells the world: log events and observer hooks. Never raises."""

from __future__ import annotations

from typing import Any

from router import events
from router.errors import Cancelled, RouterError
from router.events import Log
from router.hookspecs import CallSummary
from router.plugins import PluginHost
from router.types import Attempt, Completion, PassedOver, Trace


class Report:
    """The reporter of one call.

    Args:
        request_id: Names the call in every event.
        log: Where events go.
        host: Whose plugins observe.
    """

    __slots__ = ("_host", "_log", "_observers", "_request_id")

    def __init__(self, request_id: str, log: Log, host: PluginHost) -> None:
        self._request_id = request_id
        self._log = log
        self._host = host
        self._observers = host.observers

    def attempt_started(self, attempt: Attempt) -> None:
        if self._log.hears("debug"):
            self._log.debug(events.ATTEMPT_STARTED, **self._who(attempt), **_fitted(attempt))
        if "attempt_started" in self._observers:
            self._host.observe("attempt_started", attempt=attempt)

    def attempt_finished(self, attempt: Attempt) -> None:
        if attempt.outcome == "succeeded":
            if self._log.hears("debug"):
                fields = {**self._who(attempt), **_measured(attempt)}
                self._log.debug(events.ATTEMPT_SUCCEEDED, **fields)
        elif attempt.outcome != "cancelled":
            fields = {**self._who(attempt), **_measured(attempt), **_failure(attempt.error)}
            fields["possibly_billed"] = attempt.possibly_billed or None
            self._log.warning(events.ATTEMPT_FAILED, **fields)
        if "attempt_finished" in self._observers:
            self._host.observe("attempt_finished", attempt=attempt)

    def succeeded(self, completion: Completion, latency_ms: float) -> None:
        """The call is answered."""
        if self._log.hears("info"):
            attempt = completion.trace.attempts[-1]
            self._log.info(
                events.COMPLETION_SUCCEEDED,
                **{**self._who(attempt), **_measured(attempt), **_fitted(attempt)},
                attempts=len(completion.trace.attempts),
                total_ms=round(latency_ms, 1),
            )
        self._finished(completion.trace, completion.target, None, latency_ms)

    def failed(self, trace: Trace, error: BaseException, latency_ms: float) -> None:
        """The call ends without a whole answer: by an error, or because nobody wants it any more.

        Args:
            trace: What it did; the error is given it.
            error: What ends it. One that is no `Exception` is told as `Cancelled`.
            latency_ms: From the call to its end, in milliseconds.
        """
        if not isinstance(error, Exception):
            error = Cancelled("closed by the caller")
        elif isinstance(error, RouterError) and error.trace is None:
            error.trace = trace
        cancelled = isinstance(error, Cancelled)
        tell = self._log.info if cancelled else self._log.error
        tell(
            events.COMPLETION_CANCELLED if cancelled else events.COMPLETION_FAILED,
            request_id=self._request_id,
            attempts=len(trace.attempts),
            total_ms=round(latency_ms, 1),
            **_failure(error),
        )
        self._finished(trace, None, error, latency_ms)

    def _finished(
        self, trace: Trace, target: str | None, error: BaseException | None, latency_ms: float
    ) -> None:
        if "completion_finished" in self._observers:
            summary = CallSummary(trace=trace, target=target, error=error, latency_ms=latency_ms)
            self._host.observe("completion_finished", summary=summary)

    def passed_over(self, skipped: PassedOver) -> None:
        self._log.info(
            events.TARGET_PASSED_OVER,
            request_id=self._request_id,
            target=skipped.target,
            reason=skipped.reason,
            detail=skipped.detail,
        )

    def _who(self, attempt: Attempt) -> dict[str, Any]:
        return {
            "request_id": self._request_id,
            "target": attempt.target,
            "provider": attempt.provider,
            "model": attempt.model,
            "attempt": attempt.number,
        }


def _fitted(attempt: Attempt) -> dict[str, Any]:
    """What was done to the caller's parameters, where anything was."""
    return {
        "renamed": dict(attempt.renamed) or None,
        "dropped": list(attempt.dropped) or None,
        "unchecked": list(attempt.unchecked) or None,
        "left_out": list(attempt.left_out) or None,
    }


def _measured(attempt: Attempt) -> dict[str, Any]:
    usage = attempt.usage
    return {
        "outcome": attempt.outcome,
        "status": attempt.status,
        "upstream_request_id": attempt.request_id,
        "latency_ms": _rounded(attempt.latency_ms),
        "ttft_ms": _rounded(attempt.ttft_ms),
        "input_tokens": usage.input_tokens if usage else None,
        "output_tokens": usage.output_tokens if usage else None,
        "cost_usd": attempt.cost_usd,
        "finish_reason": attempt.finish_reason,
    }


def _failure(error: BaseException | None) -> dict[str, Any]:
    if error is None:
        return {}
    return {
        "error_type": type(error).__name__,
        "error": getattr(error, "message", None),
        "code": getattr(error, "code", None),
    }


def _rounded(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else round(milliseconds, 1)
