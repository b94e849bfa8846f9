"""The errors of OpenAI's wire: what a service says went wrong, in the router's classes.

The code in the body decides, then the status: a 429 may be about the rate or about money, and an
error inside an answer that began with a 200 has no other status.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, TypeAlias

from msgspec import Struct

from router import (
    AuthError,
    BadRequest,
    ContentFiltered,
    ContextOverflow,
    ModelNotFound,
    Overloaded,
    PayloadTooLarge,
    PermissionDenied,
    QuotaExhausted,
    RateLimited,
    RouterError,
    Timeout,
    UnsupportedParameter,
    UpstreamError,
    error_for_status,
)

CODE_ERRORS: dict[str, type[RouterError]] = {
    "insufficient_quota": QuotaExhausted,
    "credit_balance_exhausted": QuotaExhausted,
    "organization_spend_limit_exceeded": QuotaExhausted,
    "project_spend_limit_exceeded": QuotaExhausted,
    "organization_usage_limit_exceeded": QuotaExhausted,
    "billing_hard_limit_reached": QuotaExhausted,
    "billing_not_active": QuotaExhausted,
    "billing_error": QuotaExhausted,
    "exceeded_current_quota_error": QuotaExhausted,  # Moonshot
    "context_length_exceeded": ContextOverflow,
    "exceed_context_size_error": ContextOverflow,  # llama.cpp
    "tokens_limit_reached": ContextOverflow,  # GitHub, with a 413
    "too_many_prompt_tokens": ContextOverflow,  # Perplexity
    "string_above_max_length": PayloadTooLarge,
    "request_too_large": PayloadTooLarge,
    "content_filter": ContentFiltered,
    "content_policy_violation": ContentFiltered,
    "data_inspection_failed": ContentFiltered,  # Alibaba
    "invalid_api_key": AuthError,
    "wrong_api_key": AuthError,  # Cerebras
    "invalid_authentication_error": AuthError,  # Moonshot
    "authentication_error": AuthError,
    "permission_error": PermissionDenied,
    "permission_denied": PermissionDenied,
    "unsupported_country_region_territory": PermissionDenied,
    "model_not_found": ModelNotFound,
    "model_decommissioned": ModelNotFound,  # Groq, with a 400
    "deploymentnotfound": ModelNotFound,  # Azure
    "unknown_model": ModelNotFound,  # GitHub, with a 400
    "unavailable_model": ModelNotFound,  # the same
    "invalid_model": ModelNotFound,  # Mistral and Perplexity, with a 400
    "model_not_available": ModelNotFound,  # Together, with a 400
    "model_not_supported": ModelNotFound,  # Hugging Face, with a 400
    "arrearage": QuotaExhausted,  # Alibaba, with a 400
    "rate_limit_exceeded": RateLimited,
    "rate_limit_error": RateLimited,
    "slow_down": Overloaded,
    "server_is_overloaded": Overloaded,
    "overloaded_error": Overloaded,
    "engine_overloaded_error": Overloaded,  # Moonshot
    "capacity_exceeded": Overloaded,  # Groq's flex tier
    "unavailable_error": Overloaded,  # llama.cpp, while it loads the weights
    "unsupported_parameter": UnsupportedParameter,
    "unsupported_value": UnsupportedParameter,
}
"""What the `code`, or else the `type`, of an error body means, whatever the status says."""

TYPE_ERRORS: dict[str, Callable[..., RouterError]] = {
    "invalid_request_error": BadRequest,
    "badrequesterror": BadRequest,  # vLLM
    "not_found_error": ModelNotFound,
    "notfounderror": ModelNotFound,  # vLLM
    "timeout": partial(Timeout, phase="total"),
    "timeout_error": partial(Timeout, phase="total"),
}
"""What a `code` or `type` means where there is no status: in an answer that began with a 200.

These words are too broad to stand against a status: OpenAI calls a model that it does not have an
`invalid_request_error`. Any other word is a failure of the service's.
"""

OVERFLOW_PHRASES = (
    "maximum context length",  # DeepSeek, OpenRouter, vLLM
    "max context length",  # Ollama
    "context size has been exceeded",  # llama.cpp, with a 500
    "maximum prompt length",  # xAI
    "exceeded model token limit",  # Moonshot
    "range of input length",  # Alibaba
    "tokens + `max_new_tokens` must be",  # Hugging Face's text generation inference, Together
    "`inputs` must have less than",  # the same
    "longer than the model's context length",  # Together
    "prompt is too long",
)
"""How services that have no code for it say that the prompt does not fit."""

PHRASES: dict[str, type[RouterError]] = {
    "incorrect api key": AuthError,  # xAI, with a 400
    "is not a valid model id": ModelNotFound,  # OpenRouter, with a 400
    "model not exist": ModelNotFound,  # DeepSeek, with a 400
    "content exists risk": ContentFiltered,  # DeepSeek, with a 400
    "content violates usage guidelines": ContentFiltered,  # xAI, with a 403
    "have any credits": QuotaExhausted,  # xAI, with a 403
    "used all available credits": QuotaExhausted,  # xAI, with a 429
}
"""What services that have no code for it mean by words of their message, at `PHRASED`."""

PHRASED = frozenset({400, 403, 429})

OVERFLOW_STATUSES = frozenset({None, 400, 413, 422, 500})

Codes: TypeAlias = Mapping[str, type[RouterError]]

NO_CODES: Codes = MappingProxyType({})

NO_ROUTE_MESSAGES = ("Not Found", "File Not Found")
"""How web frameworks (FastAPI; llama.cpp's) say that they have no such path."""


class Problem(Struct, frozen=True, kw_only=True):
    """What a service says of an error, whatever the shape it says it in.

    Attributes:
        message: On one line.
        words: Its own words for the kind of error: the code first, then the type.
        status: The HTTP status that the body names, for an answer that began with a 200.
        is_moderated: Whether it shows which part of the prompt it took offence at.
        relayed: What the service behind it said, for a gateway. It may repeat the prompt.
    """

    message: str
    words: tuple[str, ...] = ()
    status: int | None = None
    is_moderated: bool = False
    relayed: str = ""

    @classmethod
    def of(cls, body: Any) -> Problem | None:
        """The problem in a body, or `None` when it holds none.

        Takes `{"error": {...}}`, `{"error": "text"}`, vLLM's `{"object": "error", "message": ...}`,
        FastAPI's `{"detail": ...}`, and any of them as the only item of a list.
        """
        if isinstance(body, list) and len(body) == 1:
            body = body[0]
        if not isinstance(body, dict):
            return None
        inner = body.get("error") or body.get("detail")
        if isinstance(inner, dict):
            nested = inner.get("error")
            return cls._read(nested if isinstance(nested, dict) else inner)
        if inner:
            return cls._read({**body, "message": body.get("message") or inner})
        return cls._read(body) if "message" in body else None

    @classmethod
    def _read(cls, fields: Mapping[str, Any]) -> Problem:
        code, metadata = fields.get("code"), fields.get("metadata")
        metadata = metadata if isinstance(metadata, dict) else {}  # OpenRouter
        words = [word for word in (code, fields.get("type")) if isinstance(word, str)]
        statuses = map(_status, (fields.get("status_code"), code, fields.get("status")))
        return cls(
            message=_message(fields.get("message")) or "the service reports an error",
            words=tuple(word for word in words if _status(word) is None),
            status=next((status for status in statuses if status is not None), None),
            is_moderated="flagged_input" in metadata,
            relayed=raw if isinstance(raw := metadata.get("raw"), str) else "",
        )

    @property
    def is_no_route(self) -> bool:
        """Whether it is a web framework that speaks, which has no such path."""
        return self.message in NO_ROUTE_MESSAGES

    def error(self, status: int | None = None, own: Codes = NO_CODES) -> RouterError:
        """The error that it stands for; its `code` is the service's word, or else its number.

        Args:
            status: That of the response, when it was no success.
            own: What codes mean that are this service's alone, such as numbers.
        """
        status = status or self.status
        code = self.words[0] if self.words else None if status is None else str(status)
        names = [word.lower() for word in self.words]
        known = {**CODE_ERRORS, **own}
        kind = next((known[name] for name in names if name in known), None)
        if kind is None:
            kind = self._unnamed(status)
        if kind is not None:
            return kind(self.message, code=code, status=status)
        if status is not None:
            return error_for_status(status, self.message, code=code)
        make = next((TYPE_ERRORS[name] for name in names if name in TYPE_ERRORS), UpstreamError)
        return make(self.message, code=code)

    def _unnamed(self, status: int | None) -> type[RouterError] | None:
        """The errors that services have no code for."""
        if self.is_moderated:
            return ContentFiltered
        said = self.message.lower()
        kind = next((kind for phrase, kind in PHRASES.items() if phrase in said), None)
        if kind is not None and status in PHRASED:
            return kind
        told = f"{said} {self.relayed.lower()}"
        if status in OVERFLOW_STATUSES and any(p in told for p in OVERFLOW_PHRASES):
            return ContextOverflow
        return None


def _message(value: Any) -> str:
    """A message as one line. FastAPI's is a list, whose items repeat the prompt in `input`."""
    if isinstance(value, dict):  # Mistral has FastAPI's whole body as the message
        return _message(value.get("detail"))
    if isinstance(value, list):
        return "; ".join(map(_item, value))
    return " ".join(value.split()) if isinstance(value, str) else ""


def _item(value: Any) -> str:
    if isinstance(value, dict):
        return f"{'.'.join(map(str, value.get('loc', ())))}: {value.get('msg', '')}"
    return _message(value)


def _status(value: Any) -> int | None:
    """A number that can be the status of an error, or `None`."""
    if isinstance(value, str) and len(value) == 3 and value.isdecimal():
        value = int(value)
    return value if isinstance(value, int) and 400 <= value < 600 else None
