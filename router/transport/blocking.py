"""Sync HTTP over requests, with limits that hold however slowly a server trickles.

The timeout of requests is one for each `recv`, so a server that sends a byte now and then is
never cut. Here every `recv` gets what is left of the limit as its timeout: requests' `HTTPAdapter`
is given connections (`router.transport.connections`) whose sockets (`router.transport.sockets`)
see to that.
"""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Iterator
from typing import Any

import urllib3
from requests import PreparedRequest
from urllib3.exceptions import NameResolutionError

from router.contract import HttpRequest, HttpResponse
from router.errors import (
    Cancelled,
    ConnectFailed,
    ConnectionLost,
    ProtocolError,
    RouterError,
    TLSFailed,
    TransportError,
)
from router.foreign import chain, local_failure, tls_reason
from router.transport.body import encode, wire_headers
from router.transport.chunked import Chunked
from router.transport.connections import Adapter
from router.transport.network import connection_hint, proxy_for
from router.transport.settings import (
    MAX_BODY_BYTES,
    MAX_ERROR_BYTES,
    READ_BYTES,
    TransportSettings,
)
from router.transport.sockets import Exchange, current

_DRAIN_SECONDS = 0.005
"""How long the end marker of a whole answer is waited for: it is sent right behind the answer."""


class _Body:
    """A streamed body: urllib3's response, and what it brings, read by read."""

    __slots__ = ("pieces", "raw")

    def __init__(self, raw: Any) -> None:
        self.raw = raw
        if raw.chunked and "content-encoding" not in raw.headers:
            self.pieces: Iterator[bytes] = _unframed(raw)
        else:
            self.pieces = iter(lambda: raw.read1(READ_BYTES, decode_content=True), b"")


def _unframed(raw: Any) -> Iterator[bytes]:
    """The content of a chunked body, past urllib3, which would read it chunk by chunk."""
    response, frames = raw._original_response, Chunked()
    while not frames.done:
        if not (data := response.fp.read1(READ_BYTES)):
            raise http.client.IncompleteRead(b"")
        if content := frames.feed(data):
            yield content
    response.close()
    raw.release_conn()


class BlockingTransport:
    """Sends requests in the caller's thread; safe under threads."""

    def __init__(self, settings: TransportSettings) -> None:
        self._settings = settings
        self._adapter = Adapter(settings)

    def send(self, request: HttpRequest, exchange: Exchange) -> HttpResponse:
        """Send a request and read its headers, and its body unless that is streamed.

        Raises:
            RouterError: One of the transport's kinds, Timeout, DeadlineExceeded, ProtocolError,
                Cancelled.
        """
        failure: RouterError
        try:
            return self._send(request, exchange)
        except RouterError as error:
            failure = error
        except Exception as error:  # noqa: BLE001  # the table below knows them
            failure = self._translate(error, exchange)
        # Raised here, where no frame holds the revealed headers.
        raise failure.with_traceback(None) from None

    def read(self, response: HttpResponse, exchange: Exchange) -> bytes:
        """The next bytes of a streamed body, `b""` at its end.

        Raises:
            RouterError: As `send`.
        """
        failure: RouterError
        try:
            data: bytes = next(response.source.pieces, b"")
            return data
        except RouterError as error:
            failure = error
        except Exception as error:  # noqa: BLE001  # likewise
            failure = self._translate(error, exchange)
        raise failure.with_traceback(None) from None

    def finish(self, response: HttpResponse, exchange: Exchange, *, drain: bool) -> None:
        """Close a streamed body; its connection is kept where the body was read to its end.

        Args:
            response: The response.
            exchange: What read it.
            drain: Whether the answer is whole, so that what is left is at most an end marker:
                then a moment is given to it, since a new connection would cost more.
        """
        body, response.source = response.source, None
        if body is None:
            return
        raw = body.raw
        try:
            if drain and not raw.isclosed():
                exchange.limit.until = time.monotonic() + _DRAIN_SECONDS
                for _ in body.pieces:
                    continue
        except Exception:  # noqa: BLE001  # closed below, whatever it was
            return
        finally:
            _close(raw, exchange)

    def close(self) -> None:
        """Close all idle connections."""
        self._adapter.close()

    def _send(self, request: HttpRequest, exchange: Exchange) -> HttpResponse:
        prepared = _prepare(request)
        proxy = proxy_for(self._settings, request.url)
        current.exchange = exchange
        try:
            raw: Any = self._adapter.send(
                prepared,
                stream=True,
                timeout=exchange.remaining(),
                proxies={"http": proxy, "https": proxy} if proxy else None,
            )
        finally:
            current.exchange = None
        exchange.answered = True
        headers = _headers(raw)
        if request.stream and raw.status < 400:
            return HttpResponse(raw.status, headers, streamed=True, source=_Body(raw))
        limit = MAX_BODY_BYTES if raw.status < 400 else MAX_ERROR_BYTES
        try:
            return HttpResponse(raw.status, headers, _read_whole(raw, limit, exchange))
        finally:
            _close(raw, exchange)

    def _translate(self, error: BaseException, exchange: Exchange) -> RouterError:
        """What an exception of requests, urllib3, http.client or a socket is to us."""
        now = time.monotonic()
        causes = chain(error)
        if exchange.cancelled:
            return Cancelled("closed by the caller")
        connecting = exchange.connected and not exchange.sending
        if any(isinstance(cause, TimeoutError) for cause in causes):
            return exchange.limit.error(now, connecting=connecting)
        if (local := local_failure(causes)) is not None:
            return local
        for cause in causes:
            if isinstance(cause, ssl.SSLError) and connecting:
                return TLSFailed(f"the TLS handshake failed: {tls_reason(cause)}")
            if isinstance(cause, NameResolutionError):
                hint = connection_hint(self._settings)
                return ConnectFailed("the host's name cannot be resolved" + hint, code="dns")
            if isinstance(cause, urllib3.exceptions.DecodeError):
                return ProtocolError("the answer's compression is broken")
            if isinstance(cause, http.client.HTTPException) and not isinstance(
                cause, http.client.RemoteDisconnected | http.client.IncompleteRead
            ):
                return ProtocolError(f"the answer is no HTTP ({type(cause).__name__})")
        if connecting:
            return ConnectFailed(_why(causes) + connection_hint(self._settings))
        if exchange.sending:
            return ConnectionLost(
                "the connection was cut before the answer was whole",
                stale=not (exchange.connected or exchange.answered),
            )
        return TransportError(f"the request could not be sent: {type(error).__name__}")


def _prepare(request: HttpRequest) -> PreparedRequest:
    """The request as requests has it, made by hand: a Session costs as much again."""
    body, content_type = encode(request)
    prepared = PreparedRequest()
    prepared.method = request.method
    prepared.url = request.url
    headers = wire_headers(request, content_type)
    if body is not None or request.method not in ("GET", "HEAD"):
        headers["Content-Length"] = str(len(body or b""))
    # As bytes: of a str http.client makes Latin-1, where aiohttp makes UTF-8.
    encoded = {name: value.encode() for name, value in headers.items()}
    prepared.headers = encoded  # type: ignore[assignment]  # its own is slow, and says no more
    prepared.body = body
    return prepared


def _headers(raw: Any) -> dict[str, str]:
    """Names in lower case, the values of one name joined by a line feed, which no value holds."""
    headers: dict[str, str] = {}
    for name, value in raw.headers.iteritems():
        key = name.lower()
        headers[key] = f"{headers[key]}\n{value}" if key in headers else value
    return headers


def _close(raw: Any, exchange: Exchange) -> None:
    """Give a connection back, or end it where the body was not read to its end."""
    if not raw.isclosed():
        exchange.cancel()  # a close alone ends nothing while a forked child has the socket too
    exchange.let_go()
    raw.close()
    raw.release_conn()


def _read_whole(raw: Any, limit: int, exchange: Exchange) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while data := raw.read(READ_BYTES, decode_content=True):
        size += len(data)
        if size > limit:
            raise ProtocolError(f"the body is larger than {limit} bytes", code="too_large")
        exchange.remaining()  # a small read may inflate to much, without any wait
        pieces.append(data)
    return b"".join(pieces)


def _why(causes: list[BaseException]) -> str:
    for cause in causes:
        if isinstance(cause, ConnectionRefusedError):
            return "the connection was refused"
        if isinstance(cause, OSError) and cause.strerror:
            return f"no connection could be made: {cause.strerror}"
    return "no connection could be made"
