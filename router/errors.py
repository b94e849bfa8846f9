"""What can go wrong, as one flat tree.

RouterError
├── ConfigError                 the application's settings; nothing was sent
├── PluginError                 a plugin broke its contract
│   └── PluginLoadError         it could not be loaded or registered
├── BadRequest                  the call itself is wrong; no target would take it
├── UnsupportedParameter        no target takes a parameter or its value
├── ContextOverflow             the prompt is longer than the model's window
├── PayloadTooLarge             the body is larger than the server takes
├── ContentFiltered             the provider refuses the content
├── AuthError                   the key is missing, wrong or revoked
├── PermissionDenied            the key may not do this
├── ModelNotFound               the model is unknown here
├── QuotaExhausted              the money or the allowance is used up
├── RateLimited                 too many requests for now
├── Overloaded                  the server, or our own pool, is at its limit
├── UpstreamError               the server failed (5xx)
├── ProtocolError               the answer is not what the wire promises
├── TransportError              the network failed
│   ├── ConnectFailed           never connected: nothing was sent
│   ├── ConnectionLost          cut after the request was sent
│   └── TLSFailed               the certificate or handshake is bad
├── Timeout                     a limit in seconds ran out (`phase` says which)
├── DeadlineExceeded            the limit over the whole call ran out
├── StreamInterrupted           cut after content was delivered (`partial` holds it)
├── Cancelled                   the caller closed the call
└── AllTargetsFailed            every target failed; also an ExceptionGroup of their errors
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

from msgspec import Struct

if TYPE_CHECKING:
    from router.types import Attempt, Completion, Trace

Phase = Literal["connect", "first_token", "idle", "total"]


class RouterError(Exception):
    """Base of every error that reaches a caller.

    Attributes:
        provider, target: Where it happened, or `None` when nothing was tried yet.
        status: The HTTP status, where there was one.
        code: The provider's own code for it, or ours (`missing_key`, `local`).
        request_id: The provider's id of the failed request.
        retry_after: Seconds after which the server invites another try.
        should_retry: Whether the server says that trying again there makes sense; `None` where
            it does not say.
        phase: Which limit in time ran out; `None` for all but a `Timeout`.
        retryable: Whether the same call may succeed later or elsewhere.
        possibly_billed: Whether the provider may have done, and charged for, the work.
        trace: All attempts of the call; set on what a call raises.
    """

    phase: Phase | None = None
    retryable: bool = False
    possibly_billed: bool = False

    def __init__(
        self,
        message: str,
        *,
        provider: str | None = None,
        target: str | None = None,
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        retryable: bool | None = None,
        possibly_billed: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.provider = provider
        self.target = target
        self.status = status
        self.code = code
        self.request_id = request_id
        self.retry_after = retry_after
        self.should_retry: bool | None = None
        self.trace: Trace | None = None
        if retryable is not None:
            self.retryable = retryable
        if possibly_billed is not None:
            self.possibly_billed = possibly_billed

    @property
    def message(self) -> str:
        """What happened, without the target's name."""
        return str(self.args[0])

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """The attempts of the call that raised this, in order."""
        return self.trace.attempts if self.trace is not None else ()

    def to_dict(self) -> dict[str, Any]:
        """What it says, in plain types, without the trace and the partial answer."""
        return {
            "type": type(self).__name__,
            "message": self.message,
            "provider": self.provider,
            "target": self.target,
            "status": self.status,
            "code": self.code,
            "request_id": self.request_id,
            "retry_after": self.retry_after,
            "should_retry": self.should_retry,
            "phase": self.phase,
            "retryable": self.retryable,
            "possibly_billed": self.possibly_billed,
        }

    def __str__(self) -> str:
        return f"{self.target}: {self.message}" if self.target else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        """For copies and other processes: with all it says, whatever its constructor asks for."""
        return _made_again, (type(self), self.args), self.__dict__


def _made_again(kind: type[RouterError], args: tuple[Any, ...]) -> RouterError:
    return kind.__new__(kind, *args)


class Fault(Struct, frozen=True):
    """One thing that is wrong in the settings.

    Attributes:
        key: Where, dotted: `policy.deadline`; empty when it is the whole.
        problem: What is wrong there, or what was expected; never a key's value.
    """

    key: str
    problem: str

    def __str__(self) -> str:
        return f"{self.key}: {self.problem}" if self.key else self.problem


class ConfigError(RouterError):
    """The application's settings are wrong. Raised before anything is sent; never retried.

    Attributes:
        faults: Each thing that is wrong, where they were looked for one by one.
    """

    def __init__(self, message: str, *, faults: Sequence[Fault] = (), **fields: Any) -> None:
        super().__init__(message, **fields)
        self.faults = tuple(faults)


class PluginError(RouterError):
    """A plugin broke its contract. The router goes to the next target."""

    retryable = True


class PluginLoadError(PluginError):
    """A plugin could not be imported or registered; the others work on."""


class BadRequest(RouterError):
    """The request itself is wrong (400, 422). Fails at once: other targets would refuse it too."""


class UnsupportedParameter(RouterError):
    """No target takes a parameter, or its value. Raised before anything is sent, or by a server."""


class ContextOverflow(RouterError):
    """The prompt does not fit the model's context window. Only a larger window may help."""


class PayloadTooLarge(RouterError):
    """The request's body is larger than the server takes (413)."""


class ContentFiltered(RouterError):
    """The provider refuses the content of the request. The router asks nobody else unasked."""


class AuthError(RouterError):
    """The key is missing, wrong or revoked (401). The router goes to the next target."""

    retryable = True


class PermissionDenied(RouterError):
    """The key may not use this model or route (403). The router goes to the next target."""

    retryable = True


class ModelNotFound(RouterError):
    """The model is unknown: to every provider (nothing was sent), or to the one asked (404)."""

    retryable = True


class QuotaExhausted(RouterError):
    """The account's money or allowance is used up (402, some 429). Never retried there."""

    retryable = True


class RateLimited(RouterError):
    """Too many requests for now (429). Retried there after `retry_after`, or elsewhere."""

    retryable = True


class Overloaded(RouterError):
    """The server, or a pool of our own (`code="local"`), is at its limit (503, 529)."""

    retryable = True


class UpstreamError(RouterError):
    """The server failed to do its work (5xx)."""

    retryable = True


class ProtocolError(RouterError):
    """What came back is not what the wire promises: HTML, broken JSON, no terminal marker."""

    retryable = True
    possibly_billed = True


class TransportError(RouterError):
    """The network failed. Its children say how far the request had come."""

    retryable = True


class ConnectFailed(TransportError):
    """There was no connection, so nothing was sent: trying again is free."""


class ConnectionLost(TransportError):
    """The connection broke after the request was sent: whether the work was done is unknown.

    Attributes:
        stale: The connection was an old one that the server had just closed (trying again is
            normal then).
    """

    possibly_billed = True

    def __init__(self, message: str, *, stale: bool = False, **fields: Any) -> None:
        super().__init__(message, **fields)
        self.stale = stale


class TLSFailed(TransportError):
    """The certificate or the handshake is bad. Never tried again without verification."""


class Timeout(RouterError):
    """A limit of the policy ran out.

    Attributes:
        phase: `connect`, `first_token`, `idle` (between chunks) or `total` (of one attempt).
    """

    retryable = True

    def __init__(self, message: str, *, phase: Phase, **fields: Any) -> None:
        fields.setdefault("possibly_billed", phase != "connect")
        super().__init__(message, **fields)
        self.phase: Phase = phase


class DeadlineExceeded(RouterError):
    """The deadline over the whole call ran out, in an attempt or in a wait between two."""

    possibly_billed = True


class StreamInterrupted(RouterError):
    """A stream broke after content had been delivered; never passed off as an answer.

    Attributes:
        partial: What had been delivered, as a completion without a finish reason.
        cause: The error that broke it.
    """

    possibly_billed = True

    def __init__(
        self, message: str, *, partial: Completion, cause: RouterError, **fields: Any
    ) -> None:
        super().__init__(message, **fields)
        self.partial = partial
        self.cause = cause


class Cancelled(RouterError):
    """The caller closed the call from another thread while it was under way."""

    possibly_billed = True


class AllTargetsFailed(RouterError, ExceptionGroup[RouterError]):
    """Every target failed: an exception group of one error an attempt, in order."""

    def __new__(cls, message: str, errors: Sequence[RouterError]) -> Self:
        return ExceptionGroup.__new__(cls, message, list(errors))

    def __init__(self, message: str, errors: Sequence[RouterError]) -> None:
        RouterError.__init__(
            self,
            message,
            retryable=any(error.retryable for error in errors),
            possibly_billed=any(error.possibly_billed for error in errors),
        )

    def derive(self, errors: Sequence[RouterError]) -> AllTargetsFailed:  # type: ignore[override]  # a group of ours holds our errors alone
        derived = AllTargetsFailed(self.message, errors)
        derived.trace = self.trace
        return derived

    def __str__(self) -> str:
        return "\n".join([self.message, *(f"  {error}" for error in self.exceptions)])

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, self.exceptions), self.__dict__


STATUS_ERRORS: dict[int, type[RouterError]] = {
    400: BadRequest,
    401: AuthError,
    402: QuotaExhausted,
    403: PermissionDenied,
    404: ModelNotFound,
    413: PayloadTooLarge,
    422: BadRequest,
    429: RateLimited,
    503: Overloaded,
    529: Overloaded,
}

AMBIGUOUS_STATUSES = frozenset({408, 499, 502, 504, 524})
"""Statuses after which the work may have been done, and charged for, all the same."""


def error_for_status(status: int, message: str, **fields: Any) -> RouterError:
    """The error that an HTTP status stands for, when the body's own code says nothing better.

    408 and 504 are timeouts of the server's; of the others that stand for nothing else, 4xx are
    the caller's fault, but for 409 and 499, and the rest the server's. `fields` are those of
    `RouterError`.
    """
    fields = {"possibly_billed": status in AMBIGUOUS_STATUSES, **fields, "status": status}
    if status in (408, 504):
        return Timeout(message, phase="total", **fields)
    if 300 <= status < 400:
        fields = {**fields, "possibly_billed": False, "code": "redirect"}
        return ProtocolError(f"redirect refused: {message}", **fields)
    kind = STATUS_ERRORS.get(status)
    if kind is None:
        kind = BadRequest if 400 <= status < 500 and status not in (409, 499) else UpstreamError
    return kind(message, **fields)
