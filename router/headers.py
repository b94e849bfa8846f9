"""Headers: what a response's say of the request, and which ones a caller may add to it."""

from __future__ import annotations

import datetime
import email.utils
import math
import re
from collections.abc import Mapping

from router.errors import BadRequest

REQUEST_ID_HEADERS = ("x-request-id", "request-id", "x-amzn-requestid", "apim-request-id")
MAX_RETRY_AFTER = 86_400.0
"""A day, in seconds: what asks for more is taken as that."""

MAX_REQUEST_ID = 200
"""Characters of a request's id that are kept: it stands in logs."""

MAX_LIMIT = 200
"""Characters of what a header says of a limit that are kept: a number, a time, a short policy."""

TRANSPORTS_OWN = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers that say where a message ends, whom it is for and what becomes of the connection (RFC
9110, 7.6.1 and 8.6; RFC 9112, 6): with another value, the next request may be read as part of this
one, or never be answered."""

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_EPOCH = 1e9
"""From here on a number is seconds since the epoch (2001), below it seconds from now."""

_EPOCH_MS = 1e11
"""From here on it is milliseconds since then, as OpenRouter has it."""

_NUMBER = re.compile(r"\d+(?:\.\d*)?(?:e\d+)?", re.ASCII | re.IGNORECASE)
_DURATION_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|us|ns|h|m|s)")


def check_added(headers: Mapping[str, str]) -> None:
    """Check the headers that a caller adds to a request.

    Raises:
        BadRequest: One cannot be sent, or is the transport's own. The message has its name alone.
    """
    for name, value in headers.items():
        if not (isinstance(name, str) and _NAME.fullmatch(name)):
            raise BadRequest("extra_headers: a name in it is none that a header can have")
        if not (isinstance(value, str) and value.isprintable() and value.isascii()):
            raise BadRequest(f"extra_headers: {name[:40]!r} is no header that can be sent")
        if name.lower() in TRANSPORTS_OWN:
            raise BadRequest(f"extra_headers: {name!r} is the transport's own, not a caller's")


def request_id(headers: Mapping[str, str]) -> str | None:
    """The provider's id of the request, or `None`; cut, and never one that would break a log."""
    for name in REQUEST_ID_HEADERS:
        found = headers.get(name, "").partition("\n")[0][:MAX_REQUEST_ID]
        if found and found.isprintable():
            return found
    return None


def rate_limits(headers: Mapping[str, str]) -> dict[str, str]:
    """What a service says of its limits and what is left of them, header by header."""
    return {
        name: value[:MAX_LIMIT]
        for name, value in headers.items()
        if ("ratelimit" in name or "-limit" in name) and value.isprintable()
    }


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds after which the server invites another try, or `None` when it does not say.

    Read in this order: `retry-after-ms`, `retry-after` (seconds, or a date, which is measured
    against the response's own `date`), then the resets of used-up limits: OpenAI's relative
    durations (`6m0s`, or plain seconds) and Anthropic's absolute times. What is malformed,
    negative or no number is ignored; never raises.

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
        if reset is None and (seconds := _number(value)) is not None and seconds < _EPOCH:
            reset = seconds
        if reset is None and (instant := _timestamp(value)) is not None:
            reset = instant - now
        if reset is not None and reset >= 0:
            resets.append(min(reset, MAX_RETRY_AFTER))
    return max(resets, default=None)


def _number(text: str | None) -> float | None:
    """A number that is finite and not negative."""
    if text is None or not _NUMBER.fullmatch(text.strip()):
        return None
    value = float(text)
    return value if math.isfinite(value) else None


def _date(text: str | None) -> float | None:
    """An HTTP date as seconds since the epoch; the form of `asctime` has no zone and means UTC."""
    try:
        return _utc(email.utils.parsedate_to_datetime(text or ""))
    except (ValueError, TypeError, OverflowError):
        return None


def _timestamp(text: str) -> float | None:
    """An RFC 3339 time, or seconds or milliseconds since the epoch, as seconds since it."""
    if (number := _number(text)) is not None:
        if number >= _EPOCH_MS:
            return number / 1000
        return number if number >= _EPOCH else None
    try:
        return _utc(datetime.datetime.fromisoformat(text))
    except ValueError:
        return None


def _utc(moment: datetime.datetime) -> float:
    """Seconds since the epoch, of a moment that is in UTC where it does not say otherwise."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return moment.timestamp()
