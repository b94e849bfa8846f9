"""One connection of the fault server: reads requests, plays the answer to each."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import time
from collections.abc import Iterable, Iterator
from typing import cast

from router.testing.plays import End, Step
from router.testing.stage import Stage
from router.testing.wire import Request, read_head, read_json, whole

TURN = 256 * 1024  # bytes that a connection may send before the others have their turn
FOREVER = 10 * 365 * 86400.0  # seconds; a timer cannot be infinite
NO_LINGER = struct.pack("ii", 1, 0)  # on, zero seconds: closing sends a reset
HANDSHAKE = 0x16  # the first byte of a TLS record, which no HTTP request has


class Player(asyncio.Protocol):
    """A connection.

    Args:
        stage: What is told of it, and asked what to answer.
        players: The open connections, of which it is one while it is open.
        context: With it, the connection speaks TLS.
        deaf: Whether nothing is ever answered.
    """

    def __init__(
        self,
        stage: Stage,
        players: set[Player],
        context: ssl.SSLContext | None = None,
        *,
        deaf: bool = False,
    ) -> None:
        self._stage = stage
        self._players = players
        self._context = context
        self._busy = deaf or context is not None
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._steps: Iterator[Step] | None = None
        self._timer: asyncio.Handle | None = None
        self._full = False
        self._closes = False
        self._ended = False
        self._handshake: asyncio.Task[None] | None = None

    def abort(self) -> None:
        """Closes at once."""
        self._ended = True
        self._below.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asyncio's: begins to read, or to shake hands."""
        self._below = self._above = cast(asyncio.Transport, transport)
        port = transport.get_extra_info("sockname")[1]
        self._connection = self._stage.connected(port)
        self._players.add(self)
        if self._context is not None:
            self._below.pause_reading()
            self._handshake = self._loop.create_task(self._secure(self._context))

    async def _secure(self, context: ssl.SSLContext) -> None:
        try:
            above = await self._loop.start_tls(self._below, self, context, server_side=True)
        except OSError:  # the client did not like the certificate, or had enough of waiting
            self.eof_received()
            self.connection_lost(None)
            return
        if self._below.is_closing():
            self.connection_lost(None)
            return
        self._above = cast(asyncio.Transport, above)
        self._busy = False  # a request that came with the end of the handshake has waited
        if self._buffer:
            self._take()

    def eof_received(self) -> None:
        """Asyncio's: the client has closed."""
        self._leave()
        self._below.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """Asyncio's: the socket is closed."""
        self._leave()
        self._stop()
        if self in self._players:  # asyncio says it twice where a handshake failed
            self._players.remove(self)
            self._stage.disconnected()

    def _leave(self) -> None:
        if not self._ended:
            self._ended = True
            self._stage.left(self._connection)

    def data_received(self, data: bytes) -> None:
        """Asyncio's: some more of a request."""
        self._buffer += data
        if not self._busy:
            self._take()

    def _take(self) -> None:
        try:
            request = self._read()
        except ValueError as error:
            self._begin([whole(400, "text/plain", str(error).encode()), End.CLOSE])
            return
        if request is not None:
            self._begin(self._stage.play(request))

    def _read(self) -> Request | None:
        """The next request, once it is here as a whole."""
        if self._buffer[:1] == bytes([HANDSHAKE]):
            raise ValueError("a TLS handshake on a port for plain HTTP")
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        method, path, headers = read_head(bytes(self._buffer[:end]))
        known = {name.lower(): value for name, value in headers}
        if "transfer-encoding" in known:
            raise ValueError("a chunked request: send a Content-Length")
        start, stop = end + 4, end + 4 + int(known.get("content-length", 0))
        if len(self._buffer) < stop:
            return None
        body = bytes(self._buffer[start:stop])
        del self._buffer[:stop]
        self._closes = known.get("connection", "").lower() == "close"
        self._connection.requests += 1
        value = read_json(body)
        return Request(method, path, headers, body, value, self._connection, time.monotonic())

    def _begin(self, steps: Iterable[Step]) -> None:
        self._busy = True
        self._steps = iter(steps)
        self._advance()

    def _advance(self) -> None:
        self._timer = None
        try:
            self._play()
        except Exception:
            self.abort()
            raise

    def _play(self) -> None:
        sent = 0
        while self._steps is not None and not self._full:
            step = next(self._steps, None)
            if isinstance(step, bytes):
                self._above.write(step)
                sent += len(step)
                if sent > TURN:
                    self._timer = self._loop.call_soon(self._advance)
                    return
            elif isinstance(step, int | float):
                self._timer = self._loop.call_later(min(step, FOREVER), self._advance)
                return
            else:
                self._end(step)

    def _end(self, how: End | None) -> None:
        """Ends the play, and the connection with it, unless it ends in no particular way."""
        self._stop()
        if how is End.RESET:
            linger = (socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
            self._below.get_extra_info("socket").setsockopt(*linger)
            self.abort()
        elif how is End.FREEZE:
            self._above.pause_reading()
        elif how is End.CLOSE or self._closes:
            self._ended = True
            self._above.close()
        else:
            self._busy = False
            if self._buffer:
                self._loop.call_soon(self._take)

    def _stop(self) -> None:
        self._steps = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def pause_writing(self) -> None:
        """Asyncio's: the client reads too slowly."""
        self._full = True

    def resume_writing(self) -> None:
        """Asyncio's: there is room again."""
        self._full = False
        if self._timer is None:
            self._advance()
