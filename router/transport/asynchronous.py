"""Async HTTP over aiohttp; the limits are those of the blocking transport."""

from __future__ import annotations

import asyncio
import io
import math
import ssl
import time
from collections.abc import AsyncGenerator
from typing import Any, TypeAlias

import aiohttp
from aiohttp import client_exceptions as known
from aiohttp.client_proto import ResponseHandler
from yarl import URL

from router.contract import HttpRequest, HttpResponse
from router.errors import (
    ConnectFailed,
    ConnectionLost,
    ProtocolError,
    RouterError,
    TLSFailed,
    TransportError,
)
from router.foreign import chain, local_failure, tls_reason
from router.limit import Limit
from router.transport.body import encode, wire_headers
from router.transport.network import connection_hint, proxy_for, tls_context
from router.transport.settings import (
    KEEP_ALIVE_SECONDS,
    MAX_BODY_BYTES,
    MAX_ERROR_BYTES,
    READ_BYTES,
    TransportSettings,
)

_MAX_HEADER = 65536
"""The longest header line, in bytes: twice what the usual servers allow."""

_LARGE_BYTES = 1024 * 1024
"""What is larger is sent piece by piece, between which others have their turn: as one piece it
would hold the event loop up, of which aiohttp warns."""

_DRAIN_SECONDS = 0.005
"""As in the blocking transport: the end marker of a whole answer is sent right behind it."""

Keeper: TypeAlias = AsyncGenerator[aiohttp.ClientSession, None]


class AsyncExchange:
    """What one running request is: its limit, and how far it came.

    Attributes:
        limit: Read at every wait.
        reused: Whether the request went out on an idle connection.
        connected: Whether the connection stood.
        answered: Whether the headers of its response have come.
    """

    __slots__ = ("answered", "connected", "limit", "reused")

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self.reused = False
        self.connected = False
        self.answered = False


class _Connector(aiohttp.TCPConnector):
    """Ends what is not to be kept at once: a close waits until all is sent, which may be never."""

    def _release(self, key: Any, protocol: ResponseHandler, *, should_close: bool = False) -> None:
        if should_close and protocol.transport is not None:
            protocol.transport.abort()
        super()._release(key, protocol, should_close=should_close)


class AsyncTransport:
    """Sends requests; one instance serves several event loops, each with connections of its own."""

    def __init__(self, settings: TransportSettings) -> None:
        self._settings = settings
        self._context = tls_context(settings)
        self._sessions: dict[asyncio.AbstractEventLoop, aiohttp.ClientSession] = {}
        self._keepers: dict[asyncio.AbstractEventLoop, Keeper] = {}

    async def send(self, request: HttpRequest, exchange: AsyncExchange) -> HttpResponse:
        """Send a request and read its headers, and its body unless that is streamed.

        Raises:
            RouterError: One of the transport's kinds, Timeout, DeadlineExceeded, ProtocolError.
        """
        failure: RouterError
        try:
            async with asyncio.timeout(exchange.limit.until - time.monotonic()):
                return await self._send(request, exchange)
        except RouterError as error:
            failure = error
        except Exception as error:  # noqa: BLE001  # the table below knows them
            failure = self._translate(error, exchange)
        # Raised here, where no frame holds the revealed headers.
        raise failure.with_traceback(None) from None

    async def read(self, response: HttpResponse, exchange: AsyncExchange) -> bytes:
        """The next bytes of a streamed body, `b""` at its end.

        Raises:
            RouterError: As `send`.
        """
        content: aiohttp.StreamReader = response.source.content
        failure: RouterError
        try:
            left = exchange.limit.until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            if content.exception() is None and (data := content.read_nowait(READ_BYTES)):
                return data
            async with asyncio.timeout(left):
                return await content.readany()
        except Exception as error:  # noqa: BLE001  # likewise
            failure = self._translate(error, exchange)
        raise failure.with_traceback(None) from None

    async def finish(self, response: HttpResponse, exchange: AsyncExchange, *, drain: bool) -> None:
        """Close a streamed body; its connection is kept where the body was read to its end.

        Args:
            response: The response.
            exchange: What read it.
            drain: Whether the answer is whole, so that what is left is at most an end marker.
        """
        raw, response.source = response.source, None
        if raw is None:
            return
        try:
            if drain and not raw.content.at_eof():
                async with asyncio.timeout(_DRAIN_SECONDS):
                    while await raw.content.readany():
                        continue
        except Exception:  # noqa: BLE001  # closed below, whatever it was
            return
        finally:
            raw.close()

    async def close(self) -> None:
        """Close the connections of the running event loop; those of others end with them."""
        keeper = self._keepers.get(asyncio.get_running_loop())
        if keeper is not None:
            await keeper.aclose()

    async def _send(self, request: HttpRequest, exchange: AsyncExchange) -> HttpResponse:
        body, content_type = encode(request)
        session = self._sessions.get(asyncio.get_running_loop()) or await self._new_session()
        raw = await session.request(
            request.method,
            URL(request.url, encoded=True),
            data=io.BytesIO(body) if body is not None and len(body) > _LARGE_BYTES else body,
            headers=wire_headers(request, content_type),
            allow_redirects=False,
            proxy=proxy_for(self._settings, request.url),
            timeout=aiohttp.ClientTimeout(
                total=None,
                connect=exchange.limit.connect_until(time.monotonic()) - time.monotonic(),
                ceil_threshold=math.inf,  # else what is above 5 s is rounded up to whole seconds
            ),
            trace_request_ctx=exchange,
        )
        exchange.answered = True
        headers: dict[str, str] = {}
        for name, value in raw.headers.items():
            key = name.lower()
            headers[key] = f"{headers[key]}\n{value}" if key in headers else value
        if request.stream and raw.status < 400:
            return HttpResponse(raw.status, headers, streamed=True, source=raw)
        try:
            limit = MAX_BODY_BYTES if raw.status < 400 else MAX_ERROR_BYTES
            return HttpResponse(raw.status, headers, await _read_whole(raw, limit, exchange))
        finally:
            raw.close() if not raw.content.at_eof() else raw.release()

    async def _new_session(self) -> aiohttp.ClientSession:
        for loop in list(self._sessions):
            if loop.is_closed():  # and did not end its generators, which would have ended this
                self._forget(loop)
        keeper = self._keep_session()
        self._keepers[asyncio.get_running_loop()] = keeper
        return await anext(keeper)

    async def _keep_session(self) -> Keeper:
        """Make the connections of an event loop, and close them with it.

        A loop ends the asynchronous generators that were begun in it before it closes; there is
        no other way to hear of that.
        """
        loop = asyncio.get_running_loop()
        trace = aiohttp.TraceConfig()
        trace.on_connection_reuseconn.append(_reused)
        trace.on_connection_create_end.append(_connected)
        connector = _Connector(limit=0, ssl=self._context, keepalive_timeout=KEEP_ALIVE_SECONDS)
        async with aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=True,
            skip_auto_headers=("Content-Type",),
            max_line_size=_MAX_HEADER,
            max_field_size=_MAX_HEADER,
            trace_configs=[trace],
        ) as session:
            self._sessions[loop] = session
            try:
                yield session
            finally:
                self._forget(loop)

    def _forget(self, loop: asyncio.AbstractEventLoop) -> None:
        self._sessions.pop(loop, None)
        self._keepers.pop(loop, None)

    def _translate(self, error: BaseException, exchange: AsyncExchange) -> RouterError:
        """What an exception of aiohttp, asyncio or a socket is to us."""
        now = time.monotonic()
        connecting = not exchange.connected
        hint = connection_hint(self._settings)
        if isinstance(error, known.ConnectionTimeoutError):
            return exchange.limit.error(now, connecting=True)
        if isinstance(error, TimeoutError):
            return exchange.limit.error(now, connecting=connecting)
        causes = chain(error)
        if (local := local_failure(causes)) is not None:
            return local
        for cause in causes:
            if (
                connecting
                and isinstance(cause, ssl.SSLError)
                and not isinstance(cause, known.ClientError)  # it is both, and says less
            ):
                return TLSFailed(f"the TLS handshake failed: {tls_reason(cause)}")
        match error:
            case known.ClientConnectorDNSError():
                return ConnectFailed("the host's name cannot be resolved" + hint, code="dns")
            case known.ClientConnectorError():
                return ConnectFailed(_why(error) + hint)
            case RuntimeError() if connecting:  # no thread can be begun, to look the name up
                return ConnectFailed("this machine is out of resources (threads)", code="local")
            case known.InvalidURL():
                return ProtocolError("the URL is not one that can be asked")
            case known.ClientError() | OSError() if connecting:  # a proxy made no tunnel
                return ConnectFailed("no connection could be made" + hint)
            case known.ClientPayloadError():
                return _payload_error(error)
            case known.ServerDisconnectedError() | known.ClientOSError():
                return ConnectionLost(
                    "the connection was cut before the answer was whole",
                    stale=exchange.reused and not exchange.answered,
                )
            case known.ClientResponseError():
                return ProtocolError(f"the answer is no HTTP ({type(error).__name__})")
            case known.ClientConnectionError() | OSError():
                return ConnectionLost("the connection was cut before the answer was whole")
        return TransportError(f"the request could not be sent: {type(error).__name__}")


def _payload_error(error: BaseException) -> RouterError:
    if any(
        isinstance(cause, aiohttp.http_exceptions.ContentEncodingError) for cause in chain(error)
    ):
        return ProtocolError("the answer's compression is broken")
    return ConnectionLost("the connection was cut before the answer was whole")


def _why(error: known.ClientConnectorError) -> str:
    if isinstance(error.os_error, ConnectionRefusedError):
        return "the connection was refused"
    return f"no connection could be made: {error.os_error.strerror or type(error).__name__}"


async def _reused(_: Any, context: Any, __: Any) -> None:
    context.trace_request_ctx.reused = True
    context.trace_request_ctx.connected = True


async def _connected(_: Any, context: Any, __: Any) -> None:
    context.trace_request_ctx.connected = True


async def _read_whole(raw: aiohttp.ClientResponse, limit: int, exchange: AsyncExchange) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while data := await raw.content.readany():
        size += len(data)
        if size > limit:
            raise ProtocolError(f"the body is larger than {limit} bytes", code="too_large")
        if time.monotonic() >= exchange.limit.until:  # what is there already is read without a wait
            raise TimeoutError
        pieces.append(data)
    return b"".join(pieces)
