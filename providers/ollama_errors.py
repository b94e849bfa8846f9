"""The errors of Ollama's own wire: what the server says went wrong, in the router's classes.

Its bodies hold a text and no code, so the words decide, then the status. An error inside an answer
that began with a 200 may have no status at all.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from router import (
    ContextOverflow,
    ModelNotFound,
    QuotaExhausted,
    RouterError,
    UnsupportedParameter,
    UpstreamError,
    error_for_status,
)

PHRASES: dict[str, type[RouterError]] = {
    "try pulling it first": ModelNotFound,
    "does not support": UnsupportedParameter,  # tools, thinking, pictures: by the model's template
    "max context length": ContextOverflow,
    "exceeds the available context size": ContextOverflow,
    "input length exceeds": ContextOverflow,
    "usage limit": QuotaExhausted,  # of the hosted models: by the hour and the week
}
"""What words of the message mean, the first that are in it."""


class Problem(Struct, frozen=True, kw_only=True):
    """What the server says of an error.

    Attributes:
        message: On one line.
        status: The HTTP status that the line names, in an answer that began with a 200.
    """

    message: str
    status: int | None = None

    @classmethod
    def of(cls, body: Any) -> Problem | None:
        """The problem in a body or a line, `{"error": ...}`; `None` when it holds none."""
        if not isinstance(body, dict):
            return None
        told, status = body.get("error"), body.get("status_code")
        if isinstance(told, dict):  # as on the wire that imitates OpenAI's
            told = told.get("message")
        if not isinstance(told, str):
            return None
        is_status = isinstance(status, int) and 400 <= status < 600
        return cls(message=" ".join(told.split()), status=status if is_status else None)

    def error(self, status: int | None = None) -> RouterError:
        """The error that it stands for.

        Args:
            status: That of the response, when it was no success.
        """
        status = status or self.status
        message = self.message.lower()
        code = None if status is None else str(status)
        kind = next((kind for phrase, kind in PHRASES.items() if phrase in message), None)
        if kind is None and status is not None:
            return error_for_status(status, self.message, code=code)
        return (kind or UpstreamError)(self.message, code=code, status=status)
