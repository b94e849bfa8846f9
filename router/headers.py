"""What a response's headers say of the request: its id, and when to come back."""

from __future__ import annotations

import datetime
import email.utils
import math
import re
from collections.abc import Mapping

REQUEST_ID_HEADERS = ("x-request-id", "request-id", "x-amzn-requestid", "apim-request-id")
MAX_RETRY_AFTER = 86_400.0
"""A day, in seconds: what asks for more is taken as that."""

_DURATION_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|us|ns|h|m|s)")


def request_id(headers: Mapping[str, str]) -> str | None:
    """The provider's id of the request, or `None`."""
    return next((headers[name] for name in REQUEST_ID_HEADERS if headers.get(name)), None)


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds after which the server invites another try, or `None` when it does not say.

    Read in this order: `retry-after-ms`, `retry-after` (seconds, or a date, which is measured
    against the response's own `date`), then the resets of used-up limits: OpenAI's relative
    durations (`6m0s`) and Anthropic's absolute times. What is malformed, negative or no number
    is ignored; never raises.

    Args:
        headers: Names in lower case.
        now: Seconds since the epoch, for absolute times without a `date` header.
    """
    if (milliseconds := _number(headers.get("retry-after-ms"))) is not None:
        return min(milliseconds / 1000, MAX_RETRY_AFTER)
    if (seconds := _number(headers.get("retry-after"))) is not None:
        return min(seconds, MAX_RETRY_AFTER)
    sent = _date(headers.get("date"))
    instant = now if sent is None else sent
    if (date := _date(headers.get("retry-after"))) is not None:
        return min(max(date - instant, 0.0), MAX_RETRY_AFTER)
    return _used_up(headers, instant)


def duration(text: str | None) -> float | None:
    """A duration as Go writes it (`1h2m3s`, `12ms`), in seconds; `None` if it is none."""
    if not text or not re.fullmatch(f"(?:{_DURATION.pattern})+", text):
        return None
    seconds = sum(float(n) * _DURATION_UNITS[unit] for n, unit in _DURATION.findall(text))
    return seconds if math.isfinite(seconds) else None


def _used_up(headers: Mapping[str, str], now: float) -> float | None:
    """The latest reset of the limits of which nothing remains."""
    resets = []
    for name, value in headers.items():
        if "ratelimit" not in name or "-reset" not in name:
            continue
        prefix, _, suffix = name.partition("-reset")
        remaining = headers.get(f"{prefix}-remaining{suffix}")
        if remaining is not None and _number(remaining) != 0:
            continue
        reset = duration(value)
        if reset is None and (instant := _timestamp(value)) is not None:
            reset = instant - now
        if reset is not None and reset >= 0:
            resets.append(min(reset, MAX_RETRY_AFTER))
    return max(resets, default=None)


def _number(text: str | None) -> float | None:
    """A number that is finite and not negative."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def _date(text: str | None) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(text or "").timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def _timestamp(text: str) -> float | None:
    """An RFC 3339 time, or seconds since the epoch, as seconds since the epoch."""
    if (number := _number(text)) is not None:
        return number if number > 1e9 else None
    try:
        parsed = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    if parsed.tzinfo is None:
        parsed = parsed.replace(tzinfo=datetime.UTC)
    return parsed.timestamp()
