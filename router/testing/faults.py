r"""A server of broken answers, on a loopback socket.

It speaks the wire of OpenAI's chat completions, streamed and whole, as the request asks. What it
does wrong is a `Fault`, chosen by the request itself, by a script, or for all requests:

    with FaultServer() as server:
        router = Router(settings={"vllm": {"base_url": server.url}})
        server.script(Fault.RESET, Fault.HTTP_503(seconds=2), Fault.OK)

- **By the URL.** `server.url_for(Fault.STALL(chunks=1))` is a base URL at which every request is
  shown that fault, so that clients can choose theirs at the same time. Faults of connecting
  (`REFUSED`, `UNREACHABLE`, `UNREAD`, `NO_SUCH_HOST`, `TLS_*`) can be chosen in this way alone.
- **By the model.** A request for the model `stall;chunks=1` is shown it too.
- **By a script.** `server.script(...)` says what the next requests are shown, in their order.
- **By default.** `FaultServer(Fault.HTML_502)` shows it to all other requests.

Each of the four takes a fault as it is, or called with other parameters: `chunks` (how many with
content come first), `seconds` (of silence, or of a Retry-After), `size` (in bytes), `code` (of an
error). `Fault.STALL.parameters` tells which it takes and their values where you say nothing,
`Fault.STALL.about` what the client sees, and `python -m router.testing.faults --list` both for all
of them. A fault that a request cannot be shown (one of event streams, for a whole answer) is
answered with a 501 that says so.

For a fault of your own, give a function (a *play*) in place of a fault. It is given a `Scene`, and
gives the bytes to send, numbers of seconds to be silent, and an `End`:

    def half_an_answer(scene):
        yield b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"
        yield 0.2
        yield End.RESET

The server keeps what it saw: `server.requests` with their headers and bodies, and of each the
connection with the time at which the client closed it; `server.opened` and `server.closed`;
`server.followed`, the requests that came to the host that redirects point to.
`server.wait_for(lambda: server.closed == 1)` waits for such a thing.

One server is one host, at which health is measured: take two for a broken target and a healthy one.
All connections are served by one thread, which ends with the `with`, as do all sockets. Nothing but
127.0.0.1 is ever bound. A server in a process of its own prints its URL, and serves until it gets a
SIGTERM:

    python -m router.testing.faults --port 0 --default 'stall;chunks=1'

Certificates (`tls=True`, `TLS_UNTRUSTED`, `TLS_WRONG_HOST` and `TLS_EXPIRED`) need the package
trustme, which `pip install 'pluggable-router[testing]'` brings.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Coroutine, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from router.testing.catalog import Case, Fault
from router.testing.certificates import Certificates
from router.testing.player import Player
from router.testing.plays import End, Play, Scene, Step
from router.testing.stage import Pieces, Shown, Stage
from router.testing.wire import Connection, Request

__all__ = ["Case", "Connection", "End", "Fault", "FaultServer", "Play", "Request", "Scene", "Step"]

PIECES = ("The", " sea", " is", " 🌊", " and", " deep", ".")
BACKLOG = 4096  # what Linux allows: thousands that connect at once find room
FILLERS = 4  # more than any system's shortest queue of connections holds

T = TypeVar("T")


class FaultServer:
    """A server of broken answers on 127.0.0.1, see the module; a context manager, entered once.

    Args:
        default: What a request is shown that chose nothing, when no script is left.
        answer: The pieces of the good answer, a chunk each; or a function that gives them for a
            request, so that each client can know its own.
        tls: Whether it speaks TLS, with a certificate that `authority` vouches for.
        port: The port to bind; 0 for one that is free.
        keep: How many requests are kept, the latest ones.

    Raises:
        ValueError: The default is a fault of connecting.
    """

    def __init__(
        self,
        default: Shown = Fault.OK,
        *,
        answer: Pieces = PIECES,
        tls: bool = False,
        port: int = 0,
        keep: int = 10_000,
    ) -> None:
        self._stage = Stage(default, answer, keep)
        self._scheme = "https" if tls else "http"
        self._port = port
        self._players: set[Player] = set()
        self._servers: list[asyncio.Server] = []
        self._doors: dict[Fault, str] = {}
        self._lock = threading.Lock()
        self._certificates: Certificates | None = None
        self._closing = ExitStack()

    def __enter__(self) -> Self:
        """Begins to serve.

        Raises:
            OSError: The port is taken.
            ImportError: With `tls`: trustme is missing.
        """
        with ExitStack() as closing:
            self._closing = closing
            self._loop = asyncio.new_event_loop()
            closing.callback(self._loop.close)
            thread = threading.Thread(
                target=self._loop.run_forever, name="fault-server", daemon=True
            )
            thread.start()
            closing.callback(thread.join)
            closing.callback(self._loop.call_soon_threadsafe, self._loop.stop)
            closing.callback(lambda: self._call(self._hang_up()))
            self._stage.elsewhere = self._serve()
            context = self._vouched().context() if self._scheme == "https" else None
            self._port = self._serve(context, port=self._port)
            self._closing = closing.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Closes every connection and socket, and ends the thread."""
        self._closing.close()

    @property
    def url(self) -> str:
        """The base URL, `http://127.0.0.1:<port>/v1`."""
        return f"{self._scheme}://127.0.0.1:{self._port}/v1"

    @property
    def authority(self) -> Path:
        """The certificate (a PEM file) of the authority behind the server's certificates.

        All but that of `TLS_UNTRUSTED` are signed by it, so that a client that trusts it sees what
        is wrong with the others.

        Raises:
            ImportError: trustme is missing.
        """
        with self._lock:
            return self._vouched().authority

    def url_for(self, fault: Fault | Case) -> str:
        """The base URL at which every request is shown that fault.

        Raises:
            ImportError: It is one of a certificate, and trustme is missing.
        """
        case = fault.case({}) if isinstance(fault, Fault) else fault
        if case.fault.play is not None:
            return f"{self._scheme}://127.0.0.1:{self._port}/{case.text}/v1"
        with self._lock:
            if case.fault not in self._doors:
                self._doors[case.fault] = self._open(case.fault) + "/v1"
            return self._doors[case.fault]

    def script(self, *shown: Shown) -> None:
        """Says what the next requests are shown that choose nothing by URL or model.

        In the order in which they come in whole; after the last it is the default again. What was
        left of an earlier script is forgotten.

        Raises:
            ValueError: One is a fault of connecting: use `url_for`.
        """
        self._stage.script(shown)

    @property
    def requests(self) -> list[Request]:
        """The requests so far, in the order in which they came in whole."""
        with self._stage.changed:
            return list(self._stage.requests)

    @property
    def followed(self) -> list[Request]:
        """The requests to the host that redirects point to: no client should send one."""
        with self._stage.changed:
            return list(self._stage.followed)

    @property
    def opened(self) -> int:
        """How many connections were opened, those to `REFUSED`, `UNREACHABLE`, `UNREAD` aside."""
        return self._stage.opened

    @property
    def closed(self) -> int:
        """How many of them are closed, by whichever side."""
        return self._stage.closed

    def wait_for(self, predicate: Callable[[], object], timeout: float = 5.0) -> None:
        """Waits until the predicate holds: for a request, or for a connection's end.

        Raises:
            TimeoutError: It does not within `timeout` seconds.
        """
        with self._stage.changed:
            if not self._stage.changed.wait_for(predicate, timeout):
                raise TimeoutError(f"not so within {timeout} s")

    def _open(self, fault: Fault) -> str:
        """The origin at which connecting shows that fault."""
        if fault is Fault.NO_SUCH_HOST:
            return "http://fault.invalid"  # RFC 6761: a name that never resolves
        if fault is Fault.TLS_PLAIN:
            return f"https://127.0.0.1:{self._stage.elsewhere}"
        if fault is Fault.TLS_HANG:
            return f"https://127.0.0.1:{self._serve(deaf=True)}"
        if fault in (Fault.REFUSED, Fault.UNREACHABLE, Fault.UNREAD):
            return f"http://127.0.0.1:{self._leave_unserved(fault)}"
        return f"https://127.0.0.1:{self._serve(self._vouched().context(fault))}"

    def _leave_unserved(self, fault: Fault) -> int:
        unserved = self._bind()
        self._closing.callback(unserved.close)
        port: int = unserved.getsockname()[1]
        if fault is Fault.UNREAD:
            unserved.listen(BACKLOG)
        elif fault is Fault.UNREACHABLE:
            unserved.listen(0)
            for _ in range(FILLERS):
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", port))
                self._closing.callback(filler.close)
        return port

    def _serve(
        self, context: ssl.SSLContext | None = None, *, deaf: bool = False, port: int = 0
    ) -> int:
        """Listens on a port, and gives its number."""

        def player() -> Player:
            return Player(self._stage, self._players, context, deaf=deaf)

        listener = self._bind(port)
        served = self._loop.create_server(player, sock=listener, backlog=BACKLOG)
        self._servers.append(self._call(served))
        bound: int = listener.getsockname()[1]
        return bound

    @staticmethod
    def _bind(port: int = 0) -> socket.socket:
        bound = socket.socket()
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(("127.0.0.1", port))
        except OSError:
            bound.close()
            raise
        return bound

    def _vouched(self) -> Certificates:
        if self._certificates is None:
            self._certificates = Certificates()
            self._closing.callback(self._certificates.close)
        return self._certificates

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Runs it in the loop's thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _hang_up(self) -> None:
        for server in self._servers:
            server.close()
        # The other tasks are clients being let in: some may come to be players yet.
        while self._players or len(asyncio.all_tasks()) > 1:
            for player in tuple(self._players):
                player.abort()
            await asyncio.sleep(0)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the base URL of a server, which serves until SIGINT or SIGTERM.

    Args:
        arguments: Those of the command line; `None` for the process's own.
    """
    parser = argparse.ArgumentParser("python -m router.testing.faults", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--port", type=int, default=0, help="0 (the default) for one that is free")
    parser.add_argument("--default", type=_case, default=Fault.OK(), metavar="FAULT")
    parser.add_argument("--list", action="store_true", help="tell all faults, and leave")
    options = parser.parse_args(arguments)
    if options.list:
        sys.stdout.writelines(_line(fault) for fault in Fault)
        return
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit())
    with FaultServer(options.default, port=options.port, keep=0) as server:
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        threading.Event().wait()


def _case(text: str) -> Case:
    try:
        case = Case.parse(text)
    except (TypeError, ValueError) as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if case is None or case.fault.play is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no fault of a request: see --list")
    return case


def _line(fault: Fault) -> str:
    own = "".join(f" {name}={value}" for name, value in fault.parameters.items() if value != "")
    return f"{fault.text:24}{fault.about}{own and f' ({own[1:]})'}\n"


if __name__ == "__main__":
    main()
