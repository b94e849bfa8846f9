"""The errors of Anthropic's wire: what the service says went wrong, in the router's classes.

The type in the body decides, then the status: an error inside an answer that began with a 200 has
no other status, and a 429 may be about the rate or about money. The same goes for a 400, which has
one type for everything, so that some are told by their words alone.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from router import (
    ContentFiltered,
    ContextOverflow,
    QuotaExhausted,
    RouterError,
    error_for_status,
)

STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "conflict_error": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""What status the service sends with each type, by its reference of errors."""

CATCH_ALL = "invalid_request_error"
"""The type of every 4xx that has none of its own."""

CODES: dict[str, type[RouterError]] = {"enforced_spend_limit_reached": QuotaExhausted}
"""What `error.details.error_code` means, whatever type and status say."""

PHRASES: dict[str, type[RouterError]] = {
    "prompt is too long": ContextOverflow,
    "exceed context limit": ContextOverflow,  # input and max_tokens together
    "credit balance is too low": QuotaExhausted,
    "api usage limits": QuotaExhausted,  # a spend limit that the account set itself
    "monthly spend limit": QuotaExhausted,
    "blocked by content filtering policy": ContentFiltered,
}
"""How the errors that have no type of their own begin to differ: words of the message."""

PHRASED = frozenset({CATCH_ALL, "rate_limit_error"})
"""The types whose message is looked at."""

NO_ROUTE_MESSAGES = ("Not Found", "Not found")
"""What a path that does not exist is answered with, under the type of an unknown model."""


class Problem(Struct, frozen=True, kw_only=True):
    """What the service says of an error.

    Attributes:
        message: On one line.
        kind: The service's word for it.
        code: Its narrower word, where it has one.
        request_id: Its name for the request that failed.
    """

    message: str
    kind: str | None = None
    code: str | None = None
    request_id: str | None = None

    @classmethod
    def of(cls, body: Any) -> Problem | None:
        """The problem in a body, `{"type": "error", "error": {...}}`; `None` when it holds none.

        An error that is a text alone, as proxies send it, is taken too.
        """
        inner = body.get("error") if isinstance(body, dict) else None
        if isinstance(inner, str):
            inner = {"message": inner}
        if not isinstance(inner, dict):
            return None
        details = inner.get("details")
        code = details.get("error_code") if isinstance(details, dict) else None
        message = inner.get("message")
        return cls(
            message=" ".join(message.split())
            if isinstance(message, str)
            else "the service reports an error",
            kind=_word(inner.get("type")),
            code=_word(code),
            request_id=_word(body.get("request_id")),
        )

    @property
    def is_no_route(self) -> bool:
        """Whether it is about the path, which does not exist."""
        return self.message in NO_ROUTE_MESSAGES

    def error(self, status: int | None = None) -> RouterError:
        """The error that it stands for; its `code` is the service's narrowest word.

        Args:
            status: That of the response, when it was no success.
        """
        meant = STATUSES.get(self.kind or "")
        if meant is None or (self.kind == CATCH_ALL and status is not None):
            meant = status or meant or STATUSES["api_error"]
        code = self.code or self.kind
        named = CODES.get(self.code or "") or self._phrased()
        if named is not None:
            error = named(self.message, code=code)
        else:
            error = error_for_status(meant, self.message, code=code)
        error.status, error.request_id = status or meant, self.request_id
        return error

    def _phrased(self) -> type[RouterError] | None:
        if self.kind not in PHRASED:
            return None
        message = self.message.lower()
        return next((kind for phrase, kind in PHRASES.items() if phrase in message), None)


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) else None
