"""What the router does about each kind of error: the fault matrix, as one table.

A row is found by the error's class and its code or status, then by its class, then by the
classes that it derives from. An application overrides a row with `Router(rules={...})`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

from msgspec import Struct

from router.errors import (
    AuthError,
    BadRequest,
    Cancelled,
    ConfigError,
    ConnectFailed,
    ConnectionLost,
    ContentFiltered,
    ContextOverflow,
    DeadlineExceeded,
    ModelNotFound,
    Overloaded,
    PayloadTooLarge,
    PermissionDenied,
    PluginError,
    ProtocolError,
    QuotaExhausted,
    RateLimited,
    RouterError,
    Timeout,
    TLSFailed,
    UnsupportedParameter,
    UpstreamError,
)

Again = Literal["never", "at_once", "once", "last"]
Elsewhere = Literal["yes", "no", "larger_window", "if_asked"]
Scope = Literal["nothing", "target", "quota", "host", "key"]

LONG = 900.0
"""Seconds until a target that was cooled for money, a key or a missing model is probed again: a
rejected probe costs nothing, and a restored account comes back without a restart."""


class Rule(Struct, frozen=True, kw_only=True):
    """One row.

    Attributes:
        again: Another attempt at the same target: never; at once; or last, after a back-off and
            only when no other target is left, `once` or up to the policy's `retries`.
        elsewhere: Whether the next target is tried; `larger_window` only those with a larger
            context window, `if_asked` only where the policy says so.
        cools: What of the target is kept from further calls. `quota` is the target, or its
            quota group where it has one.
        seconds: For how long, where the error itself is a command to stay away and the server does
            not say; `None` where it is only counted, and the breaker draws the conclusion.
        base: The first back-off, in seconds.
    """

    again: Again
    elsewhere: Elsewhere
    cools: Scope
    seconds: float | None = None
    base: float = 0.5


RuleKey: TypeAlias = type[RouterError] | tuple[type[RouterError], str | int]
Rules: TypeAlias = Mapping[RuleKey, Rule]

_STOP = Rule(again="never", elsewhere="no", cools="nothing")
_NEXT = Rule(again="never", elsewhere="yes", cools="nothing")
_BUSY = Rule(again="last", elsewhere="yes", cools="target", base=1.0)

RULES: Rules = {
    # The call itself is wrong, or nobody waits for it any more.
    BadRequest: _STOP,
    # Groq: what the model wrote fits neither tools nor schema. Another try may, another model too.
    (BadRequest, "tool_use_failed"): Rule(again="last", elsewhere="yes", cools="nothing"),
    (BadRequest, "json_validate_failed"): Rule(again="last", elsewhere="yes", cools="nothing"),
    PayloadTooLarge: _STOP,
    DeadlineExceeded: _STOP,
    Cancelled: _STOP,
    ContextOverflow: Rule(again="never", elsewhere="larger_window", cools="nothing"),
    ContentFiltered: Rule(again="never", elsewhere="if_asked", cools="nothing"),
    # This target cannot take it; another may.
    UnsupportedParameter: _NEXT,
    ConfigError: _NEXT,
    PluginError: _NEXT,
    ModelNotFound: Rule(again="never", elsewhere="yes", cools="target", seconds=LONG),
    PermissionDenied: Rule(again="never", elsewhere="yes", cools="target", seconds=LONG),
    AuthError: Rule(again="never", elsewhere="yes", cools="key", seconds=LONG),
    (AuthError, "missing_key"): _NEXT,
    QuotaExhausted: Rule(again="never", elsewhere="yes", cools="key", seconds=LONG),
    # It may come back.
    RateLimited: Rule(again="last", elsewhere="yes", cools="quota", seconds=1.0, base=1.0),
    Overloaded: _BUSY,
    # A 503 comes from the host's front door, unless its body says that the model is meant.
    (Overloaded, 503): Rule(again="last", elsewhere="yes", cools="host"),
    (Overloaded, "slow_down"): _BUSY,
    (Overloaded, "server_is_overloaded"): _BUSY,
    (Overloaded, "UNAVAILABLE"): _BUSY,  # Gemini's "The model is overloaded"
    (Overloaded, "local"): Rule(again="never", elsewhere="yes", cools="nothing"),
    UpstreamError: Rule(again="last", elsewhere="yes", cools="host"),
    (UpstreamError, 409): Rule(again="once", elsewhere="yes", cools="nothing"),
    Timeout: Rule(again="last", elsewhere="yes", cools="host"),
    (Timeout, "connect"): Rule(again="never", elsewhere="yes", cools="host"),
    (Timeout, "first_token"): Rule(again="never", elsewhere="yes", cools="host"),
    ProtocolError: Rule(again="never", elsewhere="yes", cools="target"),
    (ProtocolError, "redirect"): _STOP,
    (ProtocolError, "too_large"): _STOP,
    # The network.
    ConnectFailed: Rule(again="last", elsewhere="yes", cools="host"),
    (ConnectFailed, "dns"): Rule(again="once", elsewhere="yes", cools="host"),
    (ConnectFailed, "local"): Rule(again="last", elsewhere="yes", cools="nothing"),
    ConnectionLost: Rule(again="last", elsewhere="yes", cools="host"),
    (ConnectionLost, "stale"): Rule(again="at_once", elsewhere="yes", cools="nothing"),
    TLSFailed: Rule(again="never", elsewhere="yes", cools="host"),
    RouterError: Rule(again="never", elsewhere="yes", cools="host"),
}


def with_rows(rows: Rules) -> Rules:
    """The table, with an application's rows in place of its own.

    Raises:
        ConfigError: One is of no error, or is no rule.
    """
    for key, rule in rows.items():
        kind = key[0] if isinstance(key, tuple) and len(key) == 2 else key
        if not (isinstance(kind, type) and issubclass(kind, RouterError)):
            raise ConfigError(
                f"rules: a row is of a class of errors, or that and a code, not {key!r}"
            )
        if not isinstance(rule, Rule):
            raise ConfigError(
                f"rules: {kind.__name__} has a {type(rule).__name__}, which is no Rule"
            )
    return {**RULES, **rows}


def rule_for(error: RouterError, rules: Rules) -> Rule:
    """The row of an error."""
    for kind in type(error).__mro__:
        for detail in _details(error):
            if (rule := rules.get((kind, detail))) is not None:
                return rule
        if (rule := rules.get(kind)) is not None:
            return rule
    return RULES[RouterError]


def _details(error: RouterError) -> list[str | int]:
    """What tells errors of one class apart, most telling first."""
    found: list[str | int | None] = [error.code]
    if isinstance(error, ConnectionLost) and error.stale:
        found.insert(0, "stale")
    if isinstance(error, Timeout):
        found.insert(0, error.phase)
    found.append(error.status)
    return [detail for detail in found if detail is not None]
