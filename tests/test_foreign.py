"""What a blocking provider's own client raises, as an error of the router."""

from __future__ import annotations

import errno
import http.client
import ssl
import urllib.error
from collections.abc import Iterator
from io import BytesIO

import pytest

from router import (
    AuthError,
    ConfigError,
    ConnectFailed,
    ConnectionLost,
    Overloaded,
    ProtocolError,
    Router,
    RouterError,
    Timeout,
    TLSFailed,
    provider,
)

ASK = [{"role": "user", "content": "Hi"}]
URL = "http://example.invalid/?key=canary"
HEADERS = http.client.HTTPMessage()
REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, "refused")


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (urllib.error.URLError(REFUSED), ConnectFailed),
        (urllib.error.URLError(TimeoutError("timed out")), Timeout),
        (urllib.error.URLError(ssl.SSLCertVerificationError("self-signed")), TLSFailed),
        (urllib.error.URLError("unknown url type: canary"), ConfigError),
        (urllib.error.HTTPError(URL, 401, "canary", HEADERS, BytesIO()), AuthError),
        (urllib.error.HTTPError(URL, 503, "canary", HEADERS, BytesIO()), Overloaded),
        (urllib.error.ContentTooShortError("canary", ("", HEADERS)), ConnectionLost),
        (http.client.RemoteDisconnected("canary"), ConnectionLost),
        (http.client.IncompleteRead(b"canary"), ConnectionLost),
        (http.client.BadStatusLine("canary"), ProtocolError),
        (ssl.SSLEOFError(8, "EOF occurred in violation of protocol"), ConnectionLost),
        (ssl.SSLError("made by hand"), TLSFailed),
        (OSError(errno.EHOSTUNREACH, "No route to host"), ConnectFailed),
    ],
    ids=repr,
)
def test_a_failure_of_the_network_under_a_blocking_provider_is_one_of_the_network(
    raised: Exception, expected: type[RouterError]
) -> None:
    """Those of urllib passed for bugs of the plugin, which cool nothing; a TLS error that was made
    by hand ended the call with an AttributeError."""

    @provider("blocking", models=["model"])
    def blocking(model: str, messages: list, stream: bool) -> Iterator[str]:  # type: ignore[type-arg]
        yield from ()
        raise raised

    with Router([blocking], allow=[], policy={"retries": 0}) as r, pytest.raises(expected) as told:
        r.create_completion("blocking/model", ASK)
    assert type(told.value) is expected
    assert "canary" not in str(told.value)
