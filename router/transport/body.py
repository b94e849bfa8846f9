"""A request's body and headers as they go on the wire, the same for both transports."""

from __future__ import annotations

from urllib.parse import urlencode

import msgspec

from router.contract import HttpRequest
from router.errors import BadRequest
from router.secret import header_value

USER_AGENT = "pluggable-router"


def encode(request: HttpRequest) -> tuple[bytes | None, str | None]:
    """The body and its content type.

    Raises:
        BadRequest: It holds something that JSON has no form for; says its type.
    """
    if request.content is not None:
        return request.content, None
    if request.form is not None:
        return urlencode(request.form).encode(), "application/x-www-form-urlencoded"
    if request.json is None:
        return None, None
    try:
        return msgspec.json.encode(request.json), "application/json"
    except (TypeError, ValueError, RecursionError) as error:
        raise BadRequest(f"the request cannot be written as JSON: {error}") from None


def wire_headers(request: HttpRequest, content_type: str | None) -> dict[str, str]:
    """The headers with their secrets revealed; the caller must not keep them.

    A name comes once, however it is spelt: the last one counts. The body's length is left to the
    transport, which counts it. Compression is refused for streams, where a decompressor may hold
    pieces back.
    """
    headers = {
        "User-Agent": USER_AGENT,
        "Accept": "*/*",
        "Accept-Encoding": "identity" if request.stream else "gzip, deflate",
    }
    if content_type is not None:
        headers["Content-Type"] = content_type
    spelt = {name.lower(): name for name in headers}
    for name, value in request.headers.items():
        key = name.lower()
        if key == "content-length":
            continue
        headers.pop(spelt.get(key, ""), None)
        spelt[key] = name
        headers[name] = header_value(value)
    return headers
