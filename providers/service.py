"""What every wire asks of a service: where it is, and whether its body is the stream asked for."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeAlias
from urllib.parse import urlsplit

from router import ConfigError, HttpResponse, ProtocolError, RouterError, error_for_status

MAX_BODY_BYTES = 64 * 1024 * 1024
"""The largest whole body where a stream was asked for: what the host allows elsewhere."""

BLANK = b" \t\r\n\xef\xbb\xbf"
"""What may stand before a body's first character: keep-alives, and a byte order mark."""

Reading: TypeAlias = Generator[HttpResponse, bytes, bytes]


def check_url(url: str, source: str) -> str:
    """The URL, without a slash at its end.

    Args:
        url: Where a service is.
        source: The setting or variable that says so, for the error.

    Raises:
        ConfigError: It is no HTTP URL, or holds a user or a password. The message does not hold it.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{source} is a URL that begins with http:// or https://")
    if "@" in parts.netloc:
        raise ConfigError(f"{source} holds a user or a password: use a key, or a header")
    return url.rstrip("/")


def beginning(response: HttpResponse) -> Reading:
    """A streamed body's first bytes, up to one that is not blank: it tells what the body is.

    Raises:
        ProtocolError: There is none.
    """
    data = b""
    while not data.strip(BLANK) and (more := (yield response)):
        data += more
    return filled(data)


def rest(response: HttpResponse, data: bytes) -> Reading:
    """The whole of a streamed body that turned out to be no stream.

    Raises:
        ProtocolError: It is larger than `MAX_BODY_BYTES`.
    """
    pieces, size = [data], len(data)
    while more := (yield response):
        pieces.append(more)
        size += len(more)
        if size > MAX_BODY_BYTES:
            raise ProtocolError(f"a body of more than {MAX_BODY_BYTES} bytes: it is too large")
    return b"".join(pieces)


def filled(body: bytes) -> bytes:
    """The body.

    Raises:
        ProtocolError: It is empty, or blank.
    """
    if not body.strip(BLANK):
        raise ProtocolError("an empty body where an answer was expected")
    return body


def shown(response: HttpResponse) -> str:
    """What a body that nobody can read is, for a message."""
    if response.body.lstrip(BLANK).startswith(b"<"):
        return "a page of HTML"
    return response.excerpt or "no body"


def unexplained(response: HttpResponse, base_url: str, url_variable: str) -> RouterError:
    """The error of a status that is no success, and whose body is no error of the wire's."""
    status = response.status
    if status == 404:
        return ProtocolError(
            f"no such API at {base_url}: check {url_variable} or the setting base_url",
            status=status,
            possibly_billed=False,
        )
    return error_for_status(status, f"status {status} with {shown(response)}")
