"""Exceptions of other people's code, translated to the router's errors in one place.

By type and table, most specific first; never by a message's text, and never with it where it may
hold a URL, a header or a key.
"""

from __future__ import annotations

import errno
import sys
from typing import TYPE_CHECKING

from router.errors import (
    ConfigError,
    ConnectFailed,
    ConnectionLost,
    PluginError,
    ProtocolError,
    RouterError,
    Timeout,
    TLSFailed,
    TransportError,
    error_for_status,
)

if TYPE_CHECKING:
    import ssl

LOCAL_ERRNOS = frozenset(
    {
        errno.EADDRINUSE,
        errno.EADDRNOTAVAIL,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOBUFS,
        errno.ENOMEM,
    }
)
"""Our own machine is out of descriptors, ports or memory: no upstream is to blame."""

_NETWORK_LIBRARIES = frozenset({"requests", "urllib3", "aiohttp", "httpx", "httpcore", "http"})


def translate(error: BaseException) -> RouterError:
    """The router's error for what a provider raised, or what a library below raised.

    A `RouterError` comes back as it is. What is unknown is a `PluginError` that names the type.
    """
    if isinstance(error, RouterError):
        return error
    if isinstance(error, OSError) and (found := _os_error(error)) is not None:
        return found
    if "requests" in sys.modules and (found := _requests_error(error)) is not None:
        return found
    if "http.client" in sys.modules and (found := _urllib_error(error)) is not None:
        return found
    kind = type(error)
    if kind.__module__.partition(".")[0] in _NETWORK_LIBRARIES:
        return TransportError(f"{kind.__module__}.{kind.__qualname__}", possibly_billed=True)
    text = str(error)
    return PluginError(f"{kind.__qualname__}: {text}" if text else kind.__qualname__)


def _os_error(error: OSError) -> RouterError | None:
    import socket
    import ssl  # costs 10 ms: where an error is of it, it has been imported

    if (local := local_failure([error])) is not None:
        return local
    match error:
        case socket.gaierror():
            return ConnectFailed("the host's name cannot be resolved", code="dns")
        case ssl.SSLEOFError() | ssl.SSLZeroReturnError():
            return ConnectionLost("the connection was cut")
        case ssl.SSLError():
            return TLSFailed(f"the TLS handshake failed: {tls_reason(error)}")
        case ConnectionRefusedError():
            return ConnectFailed("the connection was refused")
        case ConnectionError():
            return ConnectionLost("the connection was cut")
        case TimeoutError():
            return Timeout("the operation timed out", phase="total")
        case OSError(errno=errno.EHOSTUNREACH | errno.ENETUNREACH):
            return ConnectFailed("no connection could be made")
    return None


def local_failure(causes: list[BaseException]) -> RouterError | None:
    """The error of what our own machine is out of, if one of the causes says so."""
    import socket

    if any(isinstance(cause, socket.gaierror) for cause in causes):
        causes = [*causes, *_lacking()]
    for cause in causes:
        if isinstance(cause, OSError) and cause.errno in LOCAL_ERRNOS:
            return ConnectFailed(
                f"this machine is out of resources ({cause.strerror})", code="local"
            )
    return None


def _lacking() -> list[OSError]:
    """Why no socket can be made, if so: a name that is looked up without one is not found."""
    import socket

    try:
        socket.socket().close()
    except OSError as error:
        return [error]
    return []


def tls_reason(error: ssl.SSLError) -> str:
    """What is wrong with the certificate or the handshake, without the host's name."""
    import ssl

    # One that a library made by hand has neither attribute.
    if isinstance(error, ssl.SSLCertVerificationError):
        return getattr(error, "verify_message", "") or "the certificate cannot be verified"
    return (getattr(error, "reason", None) or type(error).__name__).lower().replace("_", " ")


def _requests_error(error: BaseException) -> RouterError | None:
    """For blocking providers, which may use requests themselves."""
    from requests import exceptions as known

    match error:
        case known.HTTPError() if error.response is not None:
            status = error.response.status_code
            return error_for_status(status, f"the server answered {status}")
        case known.SSLError():
            return TLSFailed("the TLS handshake failed")
        case known.ConnectTimeout():
            return Timeout("no connection in time", phase="connect")
        case known.Timeout():
            return Timeout("no answer in time", phase="total")
        case known.ChunkedEncodingError():
            return ConnectionLost("the connection was cut in the middle of the answer")
        case known.JSONDecodeError():
            return ProtocolError("the answer is no JSON")
        case known.ConnectionError():
            return _connection_error(error)
        case known.ContentDecodingError():
            return ProtocolError("the answer's compression is broken")
        case known.InvalidURL() | known.MissingSchema() | known.InvalidSchema():
            return ConfigError("the URL is not one that can be asked")
        case known.InvalidHeader():
            return ConfigError("a header holds characters that no header may carry")
        case known.RequestException():
            return TransportError(type(error).__name__, possibly_billed=True)
    return None


def _urllib_error(error: BaseException) -> RouterError | None:
    """For blocking providers, which may use the standard library's client."""
    from http.client import HTTPException, IncompleteRead
    from urllib.error import ContentTooShortError, HTTPError, URLError

    match error:
        case HTTPError():
            return error_for_status(error.code, f"the server answered {error.code}")
        case ContentTooShortError() | IncompleteRead():
            return ConnectionLost("the connection was cut in the middle of the answer")
        case URLError() if isinstance(error.reason, OSError):
            return translate(error.reason)
        case URLError():  # it says why in words
            return ConfigError("the URL is not one that can be asked")
        case HTTPException():
            return ProtocolError(f"the answer is no HTTP ({type(error).__name__})")
    return None


def _connection_error(error: BaseException) -> RouterError:
    """Never connected, or cut: told by the exception that urllib3 gave as the reason."""
    from urllib3 import exceptions as below

    causes = chain(error)
    if (local := local_failure(causes)) is not None:
        return local
    for cause in causes:
        if isinstance(cause, below.NameResolutionError):
            return ConnectFailed("the host's name cannot be resolved", code="dns")
        if isinstance(cause, below.NewConnectionError):
            return ConnectFailed("no connection could be made")
    return ConnectionLost("the connection was cut")


def chain(error: BaseException) -> list[BaseException]:
    """An exception, what it was made from, and what it was raised from or during."""
    seen: list[BaseException] = []
    queue: list[object] = [error]
    while queue:
        current = queue.pop(0)
        if isinstance(current, BaseException) and current not in seen:
            seen.append(current)
            queue += [*current.args, getattr(current, "reason", None)]
            queue += [current.__cause__, current.__context__]
    return seen
