"""Sockets that wait for no longer than the request that uses them may, and that end with it.

A socket looks up the limit of its request at each wait, so that the limit is exact without a
watching thread; another thread ends a wait by shutting the socket down.
"""

from __future__ import annotations

import errno
import math
import os
import socket
import ssl
import threading
import time
from typing import Any

from urllib3.exceptions import NameResolutionError, NewConnectionError

from router.foreign import LOCAL_ERRNOS
from router.limit import Limit


class Exchange:
    """What one running request is, to the sockets under it: its limit, and how far it came.

    Attributes:
        limit: Read at every wait.
        connected: Whether this request made a connection of its own.
        connecting_until: When that has to stand, while it is made.
        sending: Whether the request may have left this machine.
        answered: Whether the headers of its response have come.
        cancelled: Whether another thread asked for its end.
    """

    __slots__ = (
        "_lock",
        "_socket",
        "answered",
        "cancelled",
        "connected",
        "connecting_until",
        "limit",
        "process",
        "sending",
    )

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self.connected = False
        self.connecting_until = math.inf
        self.sending = False
        self.answered = False
        self.cancelled = False
        self.process = os.getpid()
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None

    def remaining(self) -> float:
        """Seconds until the limit, as a socket's timeout.

        Raises:
            TimeoutError: It has passed, even if bytes are there: a flood is no progress.
            OSError: Another thread asked for the end, or the request is that of a parent process.
        """
        if self.cancelled or self.process != os.getpid():
            raise OSError(errno.ECANCELED, "cancelled")
        left = min(self.limit.until, self.connecting_until) - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def hold(self, used: _Limited) -> None:
        """From here on the request uses this socket, and ends with it."""
        used.exchange = self
        self._socket = used  # type: ignore[assignment]  # a _Limited is always a socket

    def let_go(self) -> None:
        """The socket is another request's from here on: a late cancel must not end that."""
        with self._lock:
            self._socket = None

    def cancel(self) -> None:
        """End the connection; a wait in another thread fails at once."""
        if self.process != os.getpid():
            return  # the parent's, which would find its socket shut down
        self.cancelled = True
        with self._lock:
            if self._socket is None:
                return
            try:
                # Not TLS's own, which takes the cipher off under the thread that reads.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
            except OSError:
                return


class _Limited:
    """A socket that waits for no longer than the limit of the request that uses it."""

    exchange: Exchange | None = None

    def recv(self, *arguments: Any) -> bytes:
        self.limit_wait()
        return super().recv(*arguments)  # type: ignore[misc,no-any-return]  # a mixin for sockets

    def recv_into(self, *arguments: Any, **named: Any) -> int:
        self.limit_wait()
        return super().recv_into(*arguments, **named)  # type: ignore[misc,no-any-return]  # likewise

    def sendall(self, *arguments: Any) -> None:
        self.limit_wait()
        super().sendall(*arguments)  # type: ignore[misc]  # likewise

    def limit_wait(self) -> None:
        """Let the next wait end with the limit."""
        if self.exchange is not None:
            self.settimeout(self.exchange.remaining())  # type: ignore[attr-defined]  # likewise


class Socket(_Limited, socket.socket):
    """A plain one."""


class TLSSocket(_Limited, ssl.SSLSocket):
    """One under TLS."""

    def do_handshake(self, block: bool = False) -> None:
        if current.exchange is not None:
            current.exchange.hold(self)
        try:
            self.limit_wait()
            super().do_handshake(block)
        except BaseException:  # what interrupts it may keep it from being collected
            self.close()
            raise


class _Current(threading.local):
    """The request that this thread is sending: how it is told to a pooled connection."""

    exchange: Exchange | None = None


current = _Current()
"""Per thread and set only while a request is being sent; no state of any router."""


def connect(connection: Any, exchange: Exchange) -> socket.socket:
    """Connect to any of the host's addresses, within one limit for all of them.

    Raises:
        NameResolutionError, NewConnectionError: As urllib3 has them of its connections.
    """
    try:
        found = socket.getaddrinfo(
            connection._dns_host, connection.port, socket.AF_UNSPEC, socket.SOCK_STREAM
        )
    except (OSError, UnicodeError) as error:
        raise NameResolutionError(connection.host, connection, error) from None  # type: ignore[arg-type]  # a UnicodeError is told likewise
    failure: OSError | None = None
    for family, kind, protocol, _, address in found:
        try:
            return _connect(Socket(family, kind, protocol), address, exchange)
        except OSError as error:
            # What the host says of itself is not hidden by an address that we cannot reach at all.
            if failure is None or error.errno not in LOCAL_ERRNOS:
                failure = error
    failure = failure or OSError("the name has no address")
    raise NewConnectionError(connection, str(failure)) from failure


def _connect(made: Socket, address: Any, exchange: Exchange) -> Socket:
    try:
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        exchange.hold(made)
        made.limit_wait()
        made.connect(address)
        exchange.remaining()  # one that was shut down meanwhile passes for connected
    except BaseException:
        made.close()
        raise
    return made
