"""The errors of Gemini's wire: what the service says went wrong, in the router's classes.

A body names a status in a word (`RESOURCE_EXHAUSTED`) and a number, and gives details of Google's
common kinds: an `ErrorInfo` with a reason, a `QuotaFailure` with the quotas, a `RetryInfo` with the
wait. The reason and the quota decide, then words of the message, then the number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

from router import (
    AuthError,
    ContextOverflow,
    ModelNotFound,
    PayloadTooLarge,
    PermissionDenied,
    QuotaExhausted,
    RouterError,
    UpstreamError,
    error_for_status,
)

STATUSES = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INTERNAL": 500,
    "DATA_LOSS": 500,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
"""The HTTP status that a word stands for (google.rpc.Code), where no number is given."""

WORD_ERRORS: dict[str, type[RouterError]] = {
    "API_KEY_INVALID": AuthError,  # with a 400
    "BILLING_DISABLED": QuotaExhausted,  # with a 403
    "FAILED_PRECONDITION": PermissionDenied,  # not in this country, or not without billing
}
"""What a reason, or else a status, means whatever the number beside it says."""

MESSAGE_ERRORS: dict[str, type[RouterError]] = {
    "api key not valid": AuthError,
    "api key expired": AuthError,
    "api key was reported as leaked": AuthError,  # with a 403
    "input token count": ContextOverflow,  # "... exceeds the maximum number of tokens allowed"
    "request payload size exceeds": PayloadTooLarge,
    "unexpected model name format": ModelNotFound,  # with a 400: a name with a space, say
}
"""How the service says what it has no reason for."""

LONGEST_WAIT = 300.0
"""Seconds; a quota that is back later than this is used up, by Google's own command line."""

A_MINUTE = 60.0
"""Seconds until a quota of a minute is back, where the service does not say."""

UNSAID = "the service reports an error"

_LONG_QUOTAS = ("PerDay", "Daily")
_MESSAGE_WAIT = re.compile(r"retry in (\d{1,9}(?:\.\d{1,12})?)s\b", re.IGNORECASE)
_DELAY = re.compile(r"(\d{1,9}(?:\.\d{1,12})?)(ms|s)")


class Problem(Struct, frozen=True, kw_only=True):
    """What the service says of an error.

    Attributes:
        message: On one line.
        word: Its status in a word, or "".
        status: Its status as a number, where it gives one.
        reason: Of the `ErrorInfo`, or "".
        quotas: The names of the quotas that are exceeded.
        delay: Seconds until another try makes sense.
    """

    message: str
    word: str = ""
    status: int | None = None
    reason: str = ""
    quotas: tuple[str, ...] = ()
    delay: float | None = None

    @classmethod
    def in_body(cls, body: Any) -> Problem | None:
        """The problem in `{"error": ...}`, also as the only item of a list, or `None`."""
        if isinstance(body, list) and len(body) == 1:
            body = body[0]
        error = body.get("error") if isinstance(body, dict) else None
        return None if error is None else cls.of(error)

    @classmethod
    def of(cls, error: Any) -> Problem:
        """The problem that stands under `error`: what the service says, or text of a proxy's."""
        if not isinstance(error, dict):
            return cls(message=_line(error) or UNSAID)
        listed = error.get("details")
        listed = listed if isinstance(listed, list) else []
        details = [each for each in listed if isinstance(each, dict)]
        word, code = error.get("status"), error.get("code")
        message = _line(error.get("message")) or UNSAID
        return cls(
            message=message,
            word=word if isinstance(word, str) else "",
            status=code if isinstance(code, int) and 400 <= code < 600 else None,
            reason=next(filter(None, (_text(each, "reason") for each in details)), ""),
            quotas=tuple(_quotas(details)),
            delay=_delay(details, message),
        )

    def error(self, status: int | None = None) -> RouterError:
        """The error that it stands for; its `code` is the service's reason, or its status.

        Args:
            status: That of the response, when it was no success.
        """
        status = status or self.status or STATUSES.get(self.word)
        code = self.reason or self.word or (None if status is None else str(status))
        kind = self._kind(status)
        if kind is not None:
            wait = self.delay if self.delay and self.delay > LONGEST_WAIT else None
            return kind(self.message, code=code, status=status, retry_after=wait)
        if status is None:
            return UpstreamError(self.message, code=code)
        return error_for_status(status, self.message, code=code, retry_after=self._wait(status))

    def _kind(self, status: int | None) -> type[RouterError] | None:
        """The class that a word, the quota or the message names, if one does."""
        for word in (self.reason, self.word):
            if word in WORD_ERRORS:
                return WORD_ERRORS[word]
        if status == 429 and self._is_used_up:
            return QuotaExhausted
        message = self.message.lower()
        return next((MESSAGE_ERRORS[words] for words in MESSAGE_ERRORS if words in message), None)

    @property
    def _is_used_up(self) -> bool:
        """Whether waiting for it makes no sense; the wait beside a day's quota is a minute's."""
        is_long = any(word in quota for quota in self.quotas for word in _LONG_QUOTAS)
        return is_long or (self.delay or 0) > LONGEST_WAIT

    def _wait(self, status: int) -> float | None:
        if self.delay is None and status == 429 and any("PerMinute" in q for q in self.quotas):
            return A_MINUTE
        return self.delay


def _quotas(details: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    """The names of the quotas, in a `QuotaFailure` or in the metadata of an `ErrorInfo`."""
    for detail in details:
        violations, metadata = detail.get("violations"), detail.get("metadata")
        for violation in violations if isinstance(violations, list) else ():
            if isinstance(violation, dict):
                yield _text(violation, "quotaId")
        if isinstance(metadata, dict):
            yield _text(metadata, "quota_limit")


def _delay(details: Iterable[Mapping[str, Any]], message: str) -> float | None:
    """The wait of a `RetryInfo` (`34.07s`, `900ms`), or else the one that the message names."""
    for detail in details:
        if found := _DELAY.fullmatch(_text(detail, "retryDelay")):
            return float(found[1]) / (1000 if found[2] == "ms" else 1)
    named = _MESSAGE_WAIT.search(message)
    return float(named[1]) if named else None


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""


def _line(value: Any) -> str:
    return " ".join(value.split()) if isinstance(value, str) else ""
