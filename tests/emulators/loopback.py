"""An HTTP/1.1 server on 127.0.0.1 that has every byte of an answer in its hands.

It says what ordinary servers hide: where a chunk ends, whether the terminating chunk comes, whether
the connection is closed, cut, reset or left open.
"""

import json
import re
import socket
import socketserver
import struct
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from email.message import Message
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Any, Self, cast
from urllib.parse import parse_qsl


class Cut(Exception):
    """Raised by a body to end it without its terminating chunk, the connection closed.

    Attributes:
        reset: Whether the client sees a reset (RST) in place of an ordinary close (FIN).
    """

    def __init__(self, *, reset: bool = False) -> None:
        super().__init__()
        self.reset = reset


class LeftOpen(Exception):
    """Raised by a body that never ends: nothing follows until the client closes."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came in.

    Attributes:
        path: Without the query.
        headers: Looked up without regard to case.
        connection: The number of the connection it came over, counted from 1.
    """

    method: str
    path: str
    query: str
    headers: Message = field(repr=False)
    body: bytes = field(repr=False)
    connection: int

    def json(self) -> Any:
        """The body as JSON; raises `ValueError` when it is none."""
        return json.loads(self.body)

    def form(self) -> dict[str, str]:
        """The fields of a urlencoded body, the empty ones included."""
        return dict(parse_qsl(self.body.decode(), keep_blank_values=True))

    def cookies(self) -> dict[str, str]:
        """The cookies sent, as they are on the wire."""
        pairs = (part.partition("=") for part in self.headers.get("Cookie", "").split(";"))
        return {name.strip(): value.strip() for name, equals, value in pairs if equals}


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer to send.

    Attributes:
        body: Bytes, or a generator of chunks, each sent as one; it may raise `Cut` or `LeftOpen`.
        chunked: Whether bytes go out chunked in place of with a content-length.
        drain: Whether a generator runs to its end when the client has left.
        delay: Seconds before the status line.
    """

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | Generator[bytes, None, None] = b""
    chunked: bool = False
    drain: bool = False
    delay: float = 0.0

    @classmethod
    def text(
        cls, status: int, text: str, content_type: str = "text/plain", *, chunked: bool = False
    ) -> Self:
        """An answer of one piece of text."""
        return cls(status, (("content-type", content_type),), text.encode(), chunked)

    @classmethod
    def json(cls, status: int, value: object, *, chunked: bool = False) -> Self:
        """An answer in JSON, written as JavaScript does: compact, not escaped to ASCII."""
        return cls.text(status, compact(value), "application/json", chunked=chunked)

    def plus(self, *headers: tuple[str, str]) -> Self:
        """The same answer with more headers."""
        return replace(self, headers=(*self.headers, *headers))


def compact(value: object) -> str:
    """JSON without blanks, not escaped to ASCII."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class _Interception:
    method: str
    path: str
    reply: Reply | Callable[[Request], Reply | None]


class LoopbackServer:
    """The base of the emulators: a context manager that serves between enter and exit.

    Attributes:
        requests: Every request so far, in the order of arrival.
        url: `http://127.0.0.1:<port>`, without a slash at the end.
        port: The port, given by the system.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.closing = threading.Event()
        # Guards the state of the server; notified whenever something in it may have changed.
        self.changed = threading.Condition()
        self._interceptions: list[_Interception] = []
        self._sockets: dict[socket.socket, int] = {}
        self._connections = 0
        self._faults: list[BaseException] = []
        self._tcp = _Listener(self)
        self.port: int = self._tcp.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def handle(self, request: Request) -> Reply:
        """Answers a request; called with `changed` held."""
        raise NotImplementedError

    def intercept(
        self, method: str, path: str, reply: Reply | Callable[[Request], Reply | None]
    ) -> None:
        """Has the next request to a path answered as a proxy in front of the server would.

        Args:
            method: The method that the request has to have.
            path: A regular expression for its whole path.
            reply: The answer, or a function that is given the request. When the function returns
                None, the server answers after all, so that the state can be changed just before.
        """
        with self.changed:
            self._interceptions.append(_Interception(method, path, reply))

    def wait_for(self, predicate: Callable[[], object], timeout: float = 10.0) -> None:
        """Waits until the predicate holds; raises `AssertionError` after `timeout` seconds."""
        with self.changed:
            assert self.changed.wait_for(predicate, timeout), f"not so within {timeout} s"

    @property
    def connections(self) -> int:
        """How many connections are open."""
        with self.changed:
            return len(self._sockets)

    def close(self) -> None:
        """Cuts every connection and waits for every thread."""
        with self.changed:
            self.closing.set()
            self.changed.notify_all()
            sockets = list(self._sockets)
        for sock in sockets:
            _shut(sock)
        with suppress(OSError):  # closed before
            socket.create_connection(self._tcp.server_address).close()  # the thread waits for one
        self._thread.join()
        self._tcp.server_close()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
        if self._faults:
            raise self._faults[0]

    def _serve(self) -> None:
        while not self.closing.is_set():
            self._tcp.handle_request()

    def answer(self, request: Request) -> Reply:
        """Records a request and finds its answer."""
        with self.changed:
            self.requests.append(request)
            self.changed.notify_all()
            intercepted = self._intercepted(request)
            return self.handle(request) if intercepted is None else intercepted

    def _intercepted(self, request: Request) -> Reply | None:
        for found in self._interceptions:
            if found.method == request.method and re.fullmatch(found.path, request.path):
                self._interceptions.remove(found)
                return found.reply if isinstance(found.reply, Reply) else found.reply(request)
        return None

    def connected(self, sock: socket.socket) -> int:
        """Takes note of a connection, and gives its number."""
        with self.changed:
            self._connections += 1
            self._sockets[sock] = self._connections
            if self.closing.is_set():
                _shut(sock)
            return self._connections

    def disconnected(self, sock: socket.socket) -> None:
        """Forgets a connection."""
        with self.changed:
            del self._sockets[sock]
            self.changed.notify_all()

    def fault(self, error: BaseException) -> None:
        """Keeps an error of the emulator itself, which the exit raises."""
        with self.changed:
            self._faults.append(error)


class _Listener(socketserver.ThreadingTCPServer):
    request_queue_size = 64

    def __init__(self, owner: LoopbackServer) -> None:
        self.owner = owner
        super().__init__(("127.0.0.1", 0), _Connection)

    def handle_error(self, request: object, client_address: object) -> None:
        error = sys.exception()
        # Clients leave when they like: what their sockets raise is no fault of the emulator.
        if error is not None and not isinstance(error, OSError):
            self.owner.fault(error)


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # a chunk leaves when it is written, not when the next one does

    @property
    def owner(self) -> LoopbackServer:
        return cast(_Listener, self.server).owner

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: what a server did is in its attributes."""

    def setup(self) -> None:
        super().setup()
        self.number = self.owner.connected(self.connection)

    def finish(self) -> None:
        self.owner.disconnected(self.connection)
        super().finish()

    def serve(self) -> None:
        path, _, query = self.path.partition("?")
        request = Request(self.command, path, query, self.headers, self._body(), self.number)
        reply = self.owner.answer(request)
        if reply.delay:
            self.owner.closing.wait(reply.delay)
        self._send(reply)
        with self.owner.changed:
            self.owner.changed.notify_all()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = serve  # noqa: N815 (the base's names)

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        pieces = []
        while size := int(self.rfile.readline(), 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def _send(self, reply: Reply) -> None:
        self.send_response_only(reply.status)
        for name, value in reply.headers:
            self.send_header(name, value)
        self.send_header("Date", formatdate(usegmt=True))
        self.send_header("Connection", "close" if self.close_connection else "keep-alive")
        if isinstance(reply.body, bytes) and not reply.chunked:
            self.send_header("content-length", str(len(reply.body)))
            self.end_headers()
            self._write(reply.body)
            return
        self.send_header("Transfer-Encoding", "chunked")
        body = _once(reply.body) if isinstance(reply.body, bytes) else reply.body
        self._stream(body, reply.drain)

    def _stream(self, body: Generator[bytes, None, None], drain: bool) -> None:
        there = self._begin()
        try:
            for piece in body:
                there = there and self._write(_chunk(piece))
                if not there and not drain:
                    return
        except Cut as cut:
            self._cut(cut)
        except LeftOpen:
            self._wait_for_close()
        else:
            self._write(b"0\r\n\r\n")
        finally:
            body.close()

    def _begin(self) -> bool:
        """Sends the headers; like `_write`."""
        try:
            self.end_headers()
        except OSError:
            self.close_connection = True
            return False
        return True

    def _write(self, data: bytes) -> bool:
        """Whether the client is still there, as far as one can know."""
        try:
            self.wfile.write(data)
        except OSError:
            self.close_connection = True
            return False
        return True

    def _cut(self, cut: Cut) -> None:
        self.close_connection = True
        if cut.reset:
            # With a linger time of zero seconds, closing sends a reset.
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()
        else:
            _shut(self.connection)

    def _wait_for_close(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.recv(1)


def _once(data: bytes) -> Generator[bytes, None, None]:
    yield data


def _chunk(data: bytes) -> bytes:
    # An empty chunk would be the terminating one.
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def _shut(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
