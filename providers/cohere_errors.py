"""The errors of Cohere's wire: what the service says went wrong, in the router's classes.

Its bodies hold a message and no code, so the words of the message decide where one status stands
for several things, and the status everywhere else.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from router import (
    BadRequest,
    ContentFiltered,
    ContextOverflow,
    QuotaExhausted,
    RouterError,
    UpstreamError,
    error_for_status,
)

PHRASES: dict[str, type[RouterError]] = {
    "max tokens must be": BadRequest,  # more asked for than the model can say
    "too many tokens": ContextOverflow,
    "blocked input": ContentFiltered,
    "blocked output": ContentFiltered,
    "/ month": QuotaExhausted,  # a trial key's calls; those of a minute are a rate
}
"""Words of the message, the first that are in it count; where none are, the status does."""

PHRASED = frozenset({None, 400, 422, 429})
"""The statuses whose message is looked at; `None` is an error inside an answer."""

DENY_LISTED = 498
"""What Cohere answers where a prompt or an answer holds a word that is on its list."""


class Problem(Struct, frozen=True, kw_only=True):
    """What the service says of an error.

    Attributes:
        message: On one line.
        request_id: Its name for the request that failed.
    """

    message: str
    request_id: str | None = None

    @classmethod
    def of(cls, body: Any) -> Problem | None:
        """The problem in a body, `{"id": ..., "message": ...}`; `None` when it holds none.

        An `error` that is a text is taken too: so an answer ends that fails midway.
        """
        if not isinstance(body, dict):
            return None
        message, id_ = body.get("message") or body.get("error"), body.get("id")
        if not isinstance(message, str):
            return None
        return cls(
            message=" ".join(message.split()), request_id=id_ if isinstance(id_, str) else None
        )

    def error(self, status: int | None = None) -> RouterError:
        """The error that it stands for.

        Args:
            status: That of the response, when it was no success.
        """
        kind = ContentFiltered if status == DENY_LISTED else self._told(status)
        code = None if status is None else str(status)
        if kind is None and status is not None:
            return error_for_status(status, self.message, code=code, request_id=self.request_id)
        make = kind or UpstreamError
        return make(self.message, code=code, status=status, request_id=self.request_id)

    def _told(self, status: int | None) -> type[RouterError] | None:
        message = self.message.lower()
        told = (kind for phrase, kind in PHRASES.items() if phrase in message)
        return next(told, None) if status in PHRASED else None
