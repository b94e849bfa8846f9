"""urllib3's connections and requests' adapter, over sockets that keep limits."""

from __future__ import annotations

import http
import http.client
import math
import queue
import socket
import time
from collections import deque
from typing import Any

from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from router.transport.network import tls_context
from router.transport.settings import POOL_SIZE, TransportSettings
from router.transport.sockets import Exchange, Socket, TLSSocket, connect, current


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
        exchange = current.exchange
        assert exchange is not None
        exchange.connected = True
        exchange.connecting_until = exchange.limit.connect_until(time.monotonic())
        return connect(self, exchange)

    def connect(self) -> None:
        exchange = current.exchange
        assert exchange is not None
        try:
            super().connect()  # type: ignore[misc]  # a mixin for urllib3's connections
        finally:
            exchange.sending = False  # a proxy may have been asked for a tunnel, but no more
        exchange.connecting_until = math.inf
        self._take(exchange)

    def putrequest(self, *arguments: Any, **named: Any) -> None:
        exchange = current.exchange
        if self.sock is not None:
            self._take(exchange)
        super().putrequest(*arguments, **named)  # type: ignore[misc]  # likewise

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        if current.exchange is not None:
            current.exchange.sending = True
        super().send(data)  # type: ignore[misc]  # likewise

    def _take(self, exchange: Exchange | None) -> None:
        used = getattr(self.sock, "socket", self.sock)  # that of a proxy, under TLS in TLS
        if exchange is not None and isinstance(used, (Socket, TLSSocket)):
            exchange.hold(used)

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


class Adapter(HTTPAdapter):
    """requests' adapter, with our connections and one TLS context for all of them."""

    def __init__(self, settings: TransportSettings) -> None:
        self._context = tls_context(settings)
        self._context.sslsocket_class = TLSSocket
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
