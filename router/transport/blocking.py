"""Sync HTTP over requests, with limits that hold however slowly a server trickles.

The timeout of requests is one for each `recv`, so a server that sends a byte now and then is
never cut. Here every `recv` gets what is left of the limit as its timeout. To do so the sockets
are of a class of ours, which looks the limit up at each read; requests' `HTTPAdapter` is given
connections that make such sockets. A limit is therefore exact, without a watching thread.
"""

from __future__ import annotations

import errno
import http
import http.client
import os
import queue
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import urllib3
from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import NameResolutionError, NewConnectionError

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
from router.foreign import LOCAL_ERRNOS, chain, tls_reason
from router.limit import Limit
from router.transport.body import encode, wire_headers
from router.transport.chunked import Chunked
from router.transport.network import connection_hint, proxy_for, tls_context
from router.transport.settings import (
    MAX_BODY_BYTES,
    MAX_ERROR_BYTES,
    POOL_SIZE,
    READ_BYTES,
    TransportSettings,
)

_LEAST = 1e-6
"""A timeout of zero would make a socket non-blocking."""

_DRAIN_SECONDS = 0.005
"""How long the end marker of a whole answer is waited for: it is sent right behind the answer."""


class Exchange:
    """What one running request is, to the sockets under it: its limit, and how far it came.

    Attributes:
        limit: Read at every wait.
        connected: Whether this request made a connection of its own.
        sending: Whether the request may have left this machine.
        answered: Whether the headers of its response have come.
        cancelled: Whether another thread asked for its end.
    """

    __slots__ = (
        "answered",
        "cancelled",
        "connected",
        "connecting_until",
        "limit",
        "process",
        "sending",
        "socket",
    )

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self.connected = False
        self.connecting_until = 0.0
        self.sending = False
        self.answered = False
        self.cancelled = False
        self.process = os.getpid()
        self.socket: socket.socket | None = None

    def remaining(self) -> float:
        """Seconds until the limit, as a socket's timeout.

        Raises:
            TimeoutError: It has passed, even if bytes are there: a flood is no progress.
            OSError: Another thread asked for the end, or the request is that of a parent process.
        """
        if self.cancelled or self.process != os.getpid():
            raise OSError(errno.ECANCELED, "cancelled")
        left = self.limit.until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def cancel(self) -> None:
        """End the connection; a read in another thread fails at once."""
        self.cancelled = True
        if (held := self.socket) is not None:
            try:
                held.shutdown(socket.SHUT_RDWR)
            except OSError:
                return


class _Limited:
    """A socket that waits for no longer than the limit of the request that uses it."""

    exchange: Exchange | None = None

    def recv_into(self, *arguments: Any, **named: Any) -> int:
        if self.exchange is not None:
            self.settimeout(self.exchange.remaining())  # type: ignore[attr-defined]  # a mixin for sockets
        return super().recv_into(*arguments, **named)  # type: ignore[misc,no-any-return]  # likewise

    def sendall(self, *arguments: Any) -> None:
        if self.exchange is not None:
            self.settimeout(self.exchange.remaining())  # type: ignore[attr-defined]  # likewise
        super().sendall(*arguments)  # type: ignore[misc]  # likewise


class _Socket(_Limited, socket.socket):
    """A plain one."""


class _TLSSocket(_Limited, ssl.SSLSocket):
    """One under TLS."""


class _Current(threading.local):
    """The request that this thread is sending: how it is told to a pooled connection."""

    exchange: Exchange | None = None


_current = _Current()
"""Per thread and set only while a request is being sent; no state of any router."""


class _Response(http.client.HTTPResponse):
    """One that skips every informational response; http.client skips 100 alone."""

    def _read_status(self) -> Any:
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]  # not in its stubs
            if not 100 < status < 200 or status == http.HTTPStatus.SWITCHING_PROTOCOLS:
                return version, status, reason
            http.client.parse_headers(self.fp)


class _Connection:
    """A connection whose sockets keep the limit of the request that uses them."""

    def _new_conn(self) -> socket.socket:
        exchange = _current.exchange
        assert exchange is not None
        exchange.connected = True
        exchange.connecting_until = exchange.limit.connect_until(time.monotonic())
        return _connect(self, exchange)

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]  # a mixin for urllib3's connections
        self._take(_current.exchange)

    def putrequest(self, *arguments: Any, **named: Any) -> None:
        exchange = _current.exchange
        if self.sock is not None:
            self._take(exchange)
        super().putrequest(*arguments, **named)  # type: ignore[misc]  # likewise

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        if _current.exchange is not None:
            _current.exchange.sending = True
        super().send(data)  # type: ignore[misc]  # likewise

    def _take(self, exchange: Exchange | None) -> None:
        if exchange is not None and isinstance(self.sock, _Limited):
            self.sock.exchange = exchange
            exchange.socket = self.sock  # type: ignore[assignment]  # a _Limited is always a socket

    sock: Any


class _HTTPConnection(_Connection, HTTPConnection):
    response_class = _Response


class _HTTPSConnection(_Connection, HTTPSConnection):
    response_class = _Response


class _Idle:
    """A pool's idle connections, the last one in is the first one out.

    Without a lock, which a fork may find held by a thread that it lacks, for ever.
    """

    def __init__(self, maxsize: int) -> None:
        self._maxsize = maxsize
        self._connections: deque[Any] = deque()

    def put(self, connection: Any, block: bool = False) -> None:
        if len(self._connections) >= self._maxsize:
            raise queue.Full
        self._connections.append(connection)

    def get(self, block: bool = False, timeout: float | None = None) -> Any:
        try:
            return self._connections.pop()
        except IndexError:
            raise queue.Empty from None


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _HTTPConnection
    QueueCls = _Idle  # type: ignore[assignment]  # what urllib3 asks of one, and no more


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection
    QueueCls = _Idle  # type: ignore[assignment]  # likewise


def _connect(connection: Any, exchange: Exchange) -> socket.socket:
    """Connect to any of the host's addresses, within one limit for all of them."""
    try:
        found = socket.getaddrinfo(
            connection._dns_host, connection.port, socket.AF_UNSPEC, socket.SOCK_STREAM
        )
    except (OSError, UnicodeError) as error:
        raise NameResolutionError(connection.host, connection, error) from None  # type: ignore[arg-type]  # a UnicodeError is told likewise
    failure: OSError = OSError("the name has no address")
    for family, kind, protocol, _, address in found:
        made = None
        try:
            made = _Socket(family, kind, protocol)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            made.settimeout(_until(exchange.connecting_until))
            made.connect(address)
            made.settimeout(_until(exchange.connecting_until))
            return made
        except OSError as error:
            failure = error
            if made is not None:
                made.close()
    raise NewConnectionError(connection, str(failure)) from failure


def _until(instant: float) -> float:
    return max(instant - time.monotonic(), _LEAST)


class _Adapter(HTTPAdapter):
    """requests' adapter, with our connections and one TLS context for all of them."""

    def __init__(self, settings: TransportSettings) -> None:
        self._context = tls_context(settings)
        self._context.sslsocket_class = _TLSSocket
        self._pools: dict[Any, Any] = {}
        super().__init__(pool_connections=32, pool_maxsize=POOL_SIZE)

    def init_poolmanager(self, *arguments: Any, **named: Any) -> None:
        super().init_poolmanager(*arguments, **named, ssl_context=self._context)
        self.poolmanager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}

    def proxy_manager_for(self, proxy: str, **named: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **named, ssl_context=self._context)
        manager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}
        return manager

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Nothing: the context holds the certificates already, loaded once for all."""

    def build_response(self, req: PreparedRequest, resp: Any) -> Any:
        """urllib3's response as it is: what requests would make of it is not needed."""
        return resp

    def get_connection_with_tls_context(
        self, request: PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> Any:
        """The pool of an origin; requests looks it up by all that could tell two of them apart."""
        key = (*str(request.url).split("/", 3)[:3], proxies and proxies["http"])
        pool = self._pools.get(key)
        if pool is None:
            pool = super().get_connection_with_tls_context(request, verify, proxies, cert)
            self._pools[key] = pool
        return pool

    def close(self) -> None:
        self._pools.clear()  # a pool ends its connections when nobody holds it any more
        super().close()

    def request_url(self, request: PreparedRequest, proxies: Any) -> str:
        return super().request_url(request, proxies) if proxies else request.path_url

    def build_connection_pool_key_attributes(
        self, request: PreparedRequest, verify: Any, cert: Any = None
    ) -> Any:
        host, _ = super().build_connection_pool_key_attributes(request, True, cert)
        return host, {"ssl_context": self._context}


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
        self._adapter = _Adapter(settings)

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
        _current.exchange = exchange
        try:
            raw: Any = self._adapter.send(
                prepared,
                stream=True,
                timeout=exchange.remaining(),
                proxies={"http": proxy, "https": proxy} if proxy else None,
            )
        finally:
            _current.exchange = None
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
        for cause in causes:
            if isinstance(cause, OSError) and cause.errno in LOCAL_ERRNOS:
                return ConnectFailed(
                    f"this machine is out of resources ({cause.strerror})", code="local"
                )
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
    prepared.headers = CaseInsensitiveDict(headers)
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
    exchange.socket = None  # from here on it is another request's: a late cancel must not end it
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
