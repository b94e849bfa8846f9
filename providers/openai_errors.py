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
    ProtocolError,
    QuotaExhausted,
    RateLimited,
    RouterError,
    Timeout,
    UnsupportedParameter,
    UpstreamError,
    decode_json,
    error_for_status,
)

from . import gemini_errors as google_errors

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
    "invalid_prompt": ContentFiltered,  # OpenAI's reasoning models, with a 400
    "data_inspection_failed": ContentFiltered,  # Alibaba
    "datainspectionfailed": ContentFiltered,  # the same
    "invalid_api_key": AuthError,
    "wrong_api_key": AuthError,  # Cerebras
    "invalid_authentication_error": AuthError,  # Moonshot
    "authentication_error": AuthError,
    "permission_error": PermissionDenied,
    "permission_denied": PermissionDenied,
    "unsupported_country_region_territory": PermissionDenied,
    "organization_restricted": PermissionDenied,  # Groq, with a 400
    "model_terms_required": PermissionDenied,  # Groq, with a 400: not accepted yet
    "allocationquota.freetieronly": PermissionDenied,  # Alibaba: the free share of one model
    "model_not_found": ModelNotFound,
    "model_decommissioned": ModelNotFound,  # Groq, with a 400
    "deploymentnotfound": ModelNotFound,  # Azure
    "operationnotsupported": ModelNotFound,  # Azure, with a 400: it is no model to chat with
    "unknown_model": ModelNotFound,  # GitHub, with a 400
    "unavailable_model": ModelNotFound,  # the same
    "invalid_model": ModelNotFound,  # Mistral and Perplexity, with a 400
    "model_not_available": ModelNotFound,  # Together, with a 400
    "model_not_supported": ModelNotFound,  # Hugging Face, with a 400
    "arrearage": QuotaExhausted,  # Alibaba, with a 400
    "rate_limit_exceeded": RateLimited,
    "rate_limit_error": RateLimited,
    "rate_limit_reached_error": RateLimited,  # Moonshot
    "ratelimitreached": RateLimited,  # GitHub
    "request_quota_exceeded": RateLimited,  # Cerebras: of a minute, an hour or a day
    "token_quota_exceeded": RateLimited,  # the same
    "throttling": RateLimited,  # Alibaba
    "throttling.ratequota": RateLimited,
    "throttling.burstrate": RateLimited,
    "throttling.allocationquota": RateLimited,
    "slow_down": Overloaded,
    "server_is_overloaded": Overloaded,
    "overloaded_error": Overloaded,
    "engine_overloaded_error": Overloaded,  # Moonshot
    "capacity_exceeded": Overloaded,  # Groq's flex tier
    "queue_exceeded": Overloaded,  # Cerebras, with a 429
    "service_tier_capacity_exceeded": Overloaded,  # Mistral, with a 429
    "overloaded": Overloaded,  # Hugging Face's text generation inference, with a 429
    "unavailable_error": Overloaded,  # llama.cpp, while it loads the weights
    # What the model wrote was no good, which is not the request's fault: it may do better. (Groq
    # says so with a 400: `router.rules` has rows for its codes.)
    "generation": UpstreamError,  # Hugging Face's text generation inference, with a 424
    "incomplete_generation": UpstreamError,
    "unsupported_parameter": UnsupportedParameter,
    "unsupported_value": UnsupportedParameter,
}
"""What the `code`, or else the `type`, of an error body means, whatever the status says."""

TYPE_ERRORS: dict[str, Callable[..., RouterError]] = {
    "invalid_request_error": BadRequest,
    "badrequesterror": BadRequest,  # vLLM
    "validation": BadRequest,  # Hugging Face's text generation inference
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
    "maximum context length",  # DeepSeek, Mistral, OpenRouter, SambaNova, vLLM
    "model's context length is only",  # vLLM
    "the maximum model length of",  # the same
    "too long to fit into the model",  # the same, with pictures
    "max context length",  # Ollama
    "exceeds the context length",  # the same
    "context size has been exceeded",  # llama.cpp, with a 500
    "exceeds the available context size",  # the same
    "exceed context window of",  # llama.cpp's server in Python
    "greater than the context length",  # LM Studio
    "with context length of only",  # the same
    "cannot truncate prompt with n_keep",  # the same
    "maximum prompt length",  # xAI
    "exceeded model token limit",  # Moonshot
    "range of input length",  # Alibaba
    "tokens + `max_new_tokens` must be",  # Hugging Face's text generation inference, Together
    "`inputs` must have less than",  # the same
    "longer than the model's context length",  # Together
    "exceed context limit",  # Anthropic, behind gateways
    "exceeds the maximum number of tokens",  # Gemini, likewise
    "prompt is too long",
)
"""How services that have no code for it say that the prompt does not fit."""

PHRASES: dict[str, type[RouterError]] = {
    "incorrect api key": AuthError,  # xAI, with a 400
    "authorization failed": AuthError,  # NVIDIA, with a 403
    "is not a valid model id": ModelNotFound,  # OpenRouter, with a 400
    "model not found": ModelNotFound,  # xAI, with a 400
    "model not exist": ModelNotFound,  # DeepSeek, with a 400
    "content exists risk": ContentFiltered,  # DeepSeek, with a 400
    "content violates usage guidelines": ContentFiltered,  # xAI, with a 403
    "have any credits": QuotaExhausted,  # xAI, with a 403
    "used all available credits": QuotaExhausted,  # xAI, with a 429
    "key limit exceeded": QuotaExhausted,  # OpenRouter, with a 403
    "is suspended": QuotaExhausted,  # Fireworks, with a 412: the account, for want of money
}
"""What services that have no code for it mean by words of their message, at `PHRASED`."""

PHRASED = frozenset({400, 403, 412, 429})

IN_VAIN = (
    "request too large for",  # OpenAI and Groq: it is more than a whole minute's tokens
    "free-models-per-day",  # OpenRouter
    "free allocated quota exceeded",  # Alibaba
)
"""How services say of a limit on the rate that the same request will not pass there soon."""

OVERFLOW_STATUSES = frozenset({None, 400, 403, 413, 422, 500})
"""The statuses of prompts that do not fit: 403 is Together's, by its list of errors."""

OF_THE_REQUEST = (ContextOverflow, ContentFiltered, PayloadTooLarge, UnsupportedParameter)
"""What is told of what a service behind a gateway says: the rest (a key, a quota, a model) is
between those two."""

WORDS = ("code", "type", "error_type")
"""Where services put their words for the kind of error; the last is Hugging Face's."""

STATUSES = ("status_code", "http_status_code", "code", "status")
"""Where they put the status."""

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
        google: The same as Google says it, which serves this wire too.
    """

    message: str
    words: tuple[str, ...] = ()
    status: int | None = None
    is_moderated: bool = False
    relayed: str = ""
    google: google_errors.Problem | None = None

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
        metadata = fields.get("metadata")
        metadata = metadata if isinstance(metadata, dict) else {}  # OpenRouter
        words = [word for name in WORDS if isinstance(word := fields.get(name), str)]
        statuses = map(_status, map(fields.get, STATUSES))
        is_google = isinstance(word := fields.get("status"), str) and word in google_errors.STATUSES
        return cls(
            message=_message(fields.get("message")) or "the service reports an error",
            words=tuple(word for word in words if _status(word) is None),
            status=next((status for status in statuses if status is not None), None),
            is_moderated="flagged_input" in metadata,
            relayed=_relayed(metadata.get("raw")),
            google=google_errors.Problem.of(fields) if is_google else None,
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
        if self.google is not None:
            return self.google.error(status)
        status = status or self.status
        error = self._error(status, {**CODE_ERRORS, **own})
        if any(phrase in self.message.lower() for phrase in IN_VAIN):
            error.should_retry = False
        return error

    def _error(self, status: int | None, known: Codes) -> RouterError:
        code = self.words[0] if self.words else None if status is None else str(status)
        names = [word.lower() for word in self.words]
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
        return self._behind()

    def _behind(self) -> type[RouterError] | None:
        """What the service behind a gateway says of the request."""
        try:
            problem = Problem.of(decode_json(self.relayed.encode()))
        except ProtocolError:  # its own words, or none
            return None
        kinds = [CODE_ERRORS.get(word.lower()) for word in problem.words] if problem else []
        return next((kind for kind in kinds if kind in OF_THE_REQUEST), None)


def _message(value: Any) -> str:
    """A message as one line. FastAPI's is a list, whose items repeat the prompt in `input`."""
    if isinstance(value, dict):  # Mistral has FastAPI's whole body as the message
        return _message(value.get("detail"))
    if isinstance(value, list):
        return "; ".join(map(_item, value))
    return " ".join(value.split()) if isinstance(value, str) else ""


def _relayed(raw: Any) -> str:
    """The body that a gateway passes on, as text; OpenRouter has it in an object at times."""
    raw = raw.get("data") if isinstance(raw, dict) else raw
    return raw if isinstance(raw, str) else ""


def _item(value: Any) -> str:
    if isinstance(value, dict):
        return f"{'.'.join(map(str, value.get('loc', ())))}: {value.get('msg', '')}"
    return _message(value)


def _status(value: Any) -> int | None:
    """A number that can be the status of an error, or `None`."""
    if isinstance(value, str) and len(value) == 3 and value.isdecimal():
        value = int(value)
    return value if isinstance(value, int) and 400 <= value < 600 else None
