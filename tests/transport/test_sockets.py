"""Sockets that keep limits: they end when asked to, in whichever wait, and with no one else's."""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from calling import USER
from routed import PROMPTLY, Kind, Routed, service

from router import (
    Cancelled,
    ConnectFailed,
    HttpRequest,
    Policy,
    Router,
    RouterError,
    Timeout,
    TLSFailed,
)
from router.limit import Limit
from router.testing import Fault, FaultServer
from router.transport.blocking import BlockingTransport
from router.transport.settings import TransportSettings
from router.transport.sockets import Exchange


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


def new_exchange() -> Exchange:
    policy = Policy(connect=30.0)
    return Exchange(Limit(policy, time.monotonic(), None, first_token=False, idle=False))


@pytest.mark.parametrize("fault", [Fault.UNREACHABLE, Fault.TLS_HANG, Fault.SILENCE])
def test_a_cancel_wakes_whichever_wait_a_request_is_in(server: FaultServer, fault: Fault) -> None:
    """Connecting, and the handshake, went on to their limits."""
    transport, exchange = BlockingTransport(TransportSettings()), new_exchange()
    request = HttpRequest("POST", f"{server.url_for(fault)}/chat/completions", json={"model": "m"})
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(transport.send, request, exchange)
        time.sleep(0.1)  # it waits by now; were it not to, the cancel would be easier to obey
        assert not sent.done()
        cancelled = time.monotonic()
        exchange.cancel()
        with pytest.raises(Cancelled):
            sent.result(10)
    assert time.monotonic() - cancelled < PROMPTLY
    transport.close()


def test_a_cancelled_exchange_connects_to_nobody(server: FaultServer) -> None:
    transport, exchange = BlockingTransport(TransportSettings()), new_exchange()
    exchange.cancel()
    with pytest.raises(Cancelled):
        transport.send(HttpRequest("GET", server.url), exchange)
    assert server.opened == 0


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_that_closes_a_stream_leaves_its_parents_socket_alone(
    server: FaultServer,
) -> None:
    """A thread of the parent was in its read at the fork: the child shut its socket down."""
    server.script(Fault.OK(seconds=0.1))
    with Router([service("one", server.url)], allow=[]) as router, ThreadPoolExecutor(1) as pool:
        answer = router.create_completion("one/model", USER, stream=True)
        reader = pool.submit(lambda: "".join(answer))
        time.sleep(0.05)  # it waits for the next piece
        child = os.fork()
        if child == 0:
            answer.close()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert reader.result(10) == "The sea is 🌊 and deep."


# -- what this machine is out of


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("number", [errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.EMFILE])
def test_what_this_machine_is_out_of_is_held_against_no_host(
    kind: Kind, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all local ports in use, each host that was called was cooled."""

    def exhausted(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(socket.socket, "connect", exhausted, raising=False)
    with Routed(kind, [service("one", "http://127.0.0.1:9/v1")], policy={"retries": 0}) as routed:
        error = routed.call("one/model").error
        assert isinstance(error, ConnectFailed)
        assert error.code == "local"
        assert not error.possibly_billed
        assert routed.router.health() == []


@pytest.mark.parametrize("order", [("127.0.0.1", "127.0.0.2"), ("127.0.0.2", "127.0.0.1")])
def test_a_host_that_refuses_is_not_excused_by_an_address_out_of_reach(
    order: tuple[str, str], server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where IPv6 is off, an address of it cannot be assigned; aiohttp does not ask for one."""
    port = int(server.url_for(Fault.REFUSED).rsplit(":", 1)[1].split("/")[0])
    connect: Any = socket.socket.connect

    def unassigned(made: socket.socket, address: tuple[str, int]) -> None:
        if address[0] == "127.0.0.2":
            raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
        connect(made, address)

    def resolved(*_: object, **__: object) -> list[Any]:
        tcp = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
        return [(*tcp, (address, port)) for address in order]

    monkeypatch.setattr(socket.socket, "connect", unassigned, raising=False)
    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    up = service("one", f"http://up.invalid:{port}/v1")
    with Router([up], allow=[], policy={"retries": 0}) as router:
        with pytest.raises(ConnectFailed) as caught:
            router.create_completion("one/model", USER)
        assert caught.value.code is None
        [row] = router.health()
        assert row.scope == "host"


# -- proxies


class Proxy:
    """A proxy that answers each request for a tunnel with what it is told to."""

    def __init__(self, answer: bytes, *, trickles: bool = False, hangs_up: bool = False) -> None:
        self._answer = answer
        self._trickles = trickles
        self._hangs_up = hangs_up
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Proxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        socket.create_connection(self._listener.getsockname()).close()  # it waits for one
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        client, _ = self._listener.accept()
        with client:
            client.recv(65536)
            pieces = [self._answer]
            if self._trickles:
                pieces = [self._answer[at : at + 1] for at in range(len(self._answer))]
            for piece in pieces:
                try:
                    client.sendall(piece)
                except OSError:
                    return
                if self._trickles and self._closed.wait(0.05):
                    return
            if not self._hangs_up:
                self._closed.wait(10)


REFUSES = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"


def through(kind: Kind, proxy: Proxy, limit: float = 10.0) -> RouterError:
    policy = {"retries": 0, "connect": limit}
    proxies = {"https": proxy.url}
    up = service("one", "https://up.invalid/v1")
    with Routed(kind, [up], policy=policy, proxies=proxies) as routed:
        error = routed.call("one/model").error
    assert error is not None
    return error


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize(
    "answer", [REFUSES, b"", b"HTTP/1.1 200"], ids=["refuses", "hangs up", "breaks off"]
)
def test_a_tunnel_that_a_proxy_does_not_make_was_no_request(kind: Kind, answer: bytes) -> None:
    """What was sent to the proxy passed for the request, which may have been billed then."""
    with Proxy(answer, hangs_up=True) as proxy:
        error = through(kind, proxy)
    assert isinstance(error, ConnectFailed | TLSFailed)  # http.client takes a cut head for whole
    assert not error.possibly_billed


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("trickles", [False, True], ids=["silent", "trickles"])
def test_a_proxy_makes_its_tunnel_within_the_limit_of_a_connection(
    kind: Kind, trickles: bool
) -> None:
    """One that sent a byte now and then was waited for without end in the sync router."""
    answer = b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 100 if trickles else b""
    with Proxy(answer, trickles=trickles) as proxy:
        began = time.monotonic()
        error = through(kind, proxy, limit=0.3)
        assert time.monotonic() - began < 0.3 + PROMPTLY
    assert isinstance(error, Timeout)
    assert error.phase == "connect"
    assert not error.possibly_billed
