import asyncio
import json
import resource
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from rawclient import (
    KEY,
    TEXT,
    ask,
    chunks,
    connect,
    contents,
    receive,
    receive_one,
    send,
    shake_hands,
    shows_good,
)

from router.testing import End, Fault, FaultServer
from router.testing.faults import Case, main

REPOSITORY = Path(__file__).resolve().parents[2]
DESCRIPTORS = Path("/proc/self/fd")


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


# The choice of a fault.


def test_script_is_played_in_order_and_then_the_default():
    with FaultServer(Fault.HTTP_500(code="mine")) as server:
        server.script(Fault.HTTP_404, Fault.STALL(chunks=1, seconds=0.01), Fault.RESET)
        replies = [ask(server.url, stream=True) for _ in range(4)]
        assert [reply.raw and reply.status for reply in replies] == [404, 200, b"", 500]
        shown = [request.fault for request in server.requests]
    assert shown == ["http-404", "stall;seconds=0.01;chunks=1", "reset", "http-500;code=mine"]


def test_script_takes_the_place_of_what_was_left_of_another(server):
    server.script(Fault.HTTP_404, Fault.HTTP_404)
    server.script(Fault.HTTP_409)
    assert [ask(server.url).status for _ in range(2)] == [409, 200]


def test_model_chooses_a_fault_and_leaves_the_script_alone(server):
    server.script(Fault.HTTP_404)
    assert ask(server.url, model="http-503;seconds=2").headers("Retry-After") == ["2"]
    assert ask(server.url, model="HTTP_503").status == 503
    assert ask(server.url, model="gpt-9").status == 404


def test_url_goes_before_the_model(server):
    assert ask(server.url_for(Fault.HTTP_503), model="http-404").status == 503


@pytest.mark.parametrize(
    ("model", "why"),
    [
        ("stall;size=3", "stall takes no 'size'; its parameters: seconds, chunks"),
        ("stall;chunks=-1", "stall: chunks is -1, which is not >= 0"),
        ("stall;seconds=nan", "stall: seconds is nan, which is not >= 0"),
        ("http-429;code=a b", "http-429: a code is of letters, digits, '_', '.' and '-'"),
        ("stall;chunks", "invalid literal for int() with base 10: ''"),
        ("refused", "refused is a fault of connecting: use FaultServer.url_for"),
    ],
)
def test_wrong_choice_is_answered_with_what_is_wrong(server, model, why):
    reply = ask(server.url, model=model)
    assert (reply.status, reply.body.decode()) == (501, why)
    assert server.requests[-1].fault == "misused"


def test_parameter_that_a_fault_does_not_take_is_refused():
    with pytest.raises(TypeError, match="reset takes no 'seconds'; its parameters: none"):
        Fault.RESET(seconds=1)


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault.play is None])
def test_fault_of_connecting_cannot_be_scripted(server, fault):
    with pytest.raises(ValueError, match="fault of connecting"):
        server.script(fault)
    with pytest.raises(ValueError, match="fault of connecting"):
        FaultServer(fault)


def cases() -> st.SearchStrategy[Case]:
    values = {
        "seconds": st.floats(min_value=0, allow_nan=False),
        "chunks": st.integers(min_value=0),
        "size": st.integers(min_value=0),
        "code": st.from_regex(r"[A-Za-z0-9_.-]+", fullmatch=True),
    }

    def case(fault: Fault) -> st.SearchStrategy[Case]:
        optional = {name: values[name] for name in fault.parameters}
        return st.fixed_dictionaries({}, optional=optional).map(lambda given: fault(**given))

    return st.sampled_from(Fault).flatmap(case)


@given(cases())
def test_case_is_read_from_its_text(case):
    assert Case.parse(case.text) == case


def test_play_of_the_users_own_is_shown_and_recorded_by_name(server):
    def half(scene):
        yield b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"
        yield scene.request.model.encode()
        yield 0.02
        yield End.RESET

    server.script(half)
    reply = ask(server.url, model="half")
    assert (reply.framed, reply.end, server.requests[-1].fault) == (b"half", "reset", "half")
    assert reply.seconds >= 0.02


def test_play_that_raises_ends_its_connection_alone_and_is_logged(server, caplog):
    def broken(scene):
        yield b"HTTP/1.1 200 OK\r\n"
        yield 0.01
        raise LookupError("my own mistake")

    server.script(broken)
    assert ask(server.url).end in ("eof", "reset")
    assert ask(server.url).status == 200
    assert "my own mistake" in caplog.text


# Answers.


def test_answer_can_be_given_or_made_for_each_request():
    with FaultServer(answer=["ä", "b"]) as server:
        assert contents(chunks(ask(server.url, stream=True).body)) == ["ä", "b"]

    with FaultServer(answer=lambda request: [request.model, "!"]) as server:
        for model in ("one", "two"):
            assert contents(chunks(ask(server.url, model=model, stream=True).body)) == [model, "!"]


WITH_CHUNKS = [
    fault(size=1000) if "size" in fault.parameters else fault(chunks=2)
    for fault in Fault
    if "chunks" in fault.parameters
]


@pytest.mark.parametrize("case", WITH_CHUNKS, ids=lambda case: case.text)
def test_fault_can_be_shown_in_an_answer_without_content(case):
    with FaultServer(case, answer=[]) as server:
        for stream in (True, False):
            assert ask(server.url, stream=stream, idle=0.05).status in (200, 501)


# What the server has seen.


def test_request_is_kept_with_headers_body_and_connection(server):
    reply = requests.post(server.url + "/chat/completions", json={"model": "m"}, timeout=5)
    assert reply.status_code == HTTPStatus.OK
    request = server.requests[-1]
    assert (request.method, request.path) == ("POST", "/v1/chat/completions")
    assert (request.json, request.model, request.stream) == ({"model": "m"}, "m", False)
    assert request.body == b'{"model": "m"}'
    assert request.header("CONTENT-type") == "application/json"
    assert request.header("x-missing") is None
    assert request.connection.opened_at <= request.received_at <= time.monotonic()


def test_request_does_not_show_keys_or_prompts(server):
    ask(server.url)
    request = server.requests[-1]
    assert request.header("Authorization") == f"Bearer {KEY}"
    assert KEY not in repr(request)
    assert "Where?" not in repr(request)


def test_requests_over_one_connection_share_it(server):
    with closing(connect(server.url)) as sock:
        for _ in range(3):
            send(sock, server.url)
            shows_good(receive_one(sock), stream=False)
    ours = server.requests[-3:]
    assert len({request.connection.number for request in ours}) == 1
    assert ours[0].connection.requests == 3


def test_requests_sent_at_once_are_answered_in_turn(server):
    with closing(connect(server.url)) as sock:
        for model in ("http-404", "silence;seconds=0.02", "http-409"):
            send(sock, server.url, model=model)
        assert [receive_one(sock).status for _ in range(3)] == [404, 200, 409]


def test_request_that_comes_byte_by_byte_is_answered(server):
    with closing(connect(server.url)) as sock:
        for byte in b'POST /v1/x HTTP/1.1\r\nContent-Length: 13\r\n\r\n{"model":"m"}':
            sock.send(bytes([byte]))
        shows_good(receive_one(sock), stream=False)


def test_only_the_latest_requests_are_kept():
    with FaultServer(keep=2) as server:
        for model in "abc":
            ask(server.url, model=model)
        assert [request.model for request in server.requests] == ["b", "c"]
        assert server.opened == 3


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"\x16\x03\x01 a TLS handshake",
    ],
)
def test_what_is_no_request_is_refused(server, data):
    with closing(connect(server.url)) as sock:
        sock.sendall(data)
        reply = receive(sock)
    assert (reply.status, reply.end) == (400, "eof")


@pytest.mark.parametrize("fault", [Fault.SILENCE, Fault.STALL, Fault.COMMENTS_ONLY])
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_time_of_the_clients_close_is_noted_at_once(server, fault, reset):
    with closing(connect(server.url)) as sock:
        before = len(server.requests)
        send(sock, server.url, model=fault.text, stream=True)
        server.wait_for(lambda: len(server.requests) > before)
        connection = server.requests[-1].connection
        assert connection.closed_at is None
        if reset:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        closed = time.monotonic()
        sock.close()
        server.wait_for(lambda: connection.closed_at is not None)
    assert closed <= connection.closed_at <= closed + 1


def test_close_by_the_server_is_no_close_by_the_client(server):
    ask(server.url_for(Fault.EOF))
    connection = server.requests[-1].connection
    closed = server.closed
    with closing(connect(server.url)):
        pass
    server.wait_for(lambda: server.closed > closed)
    assert connection.closed_at is None


def test_waiting_for_what_does_not_come_ends_with_an_error(server):
    with pytest.raises(TimeoutError):
        server.wait_for(lambda: False, timeout=0.01)


# TLS.


def test_server_speaks_tls_and_shows_faults_over_it():
    with FaultServer(tls=True) as server:
        assert server.url.startswith("https://127.0.0.1:")
        with requests.Session() as session:
            session.trust_env = False
            session.verify = str(server.authority)
            answer = session.post(server.url + "/chat/completions", json={"model": "m"}, timeout=5)
            assert answer.json()["choices"][0]["message"]["content"] == TEXT
            for fault in (Fault.RESET, Fault.CUT_CHUNKED, Fault.CUT_RESET, Fault.CUT_LENGTH):
                with pytest.raises(requests.RequestException):
                    session.post(server.url_for(fault) + "/x", json={"model": "m"}, timeout=5)
        with pytest.raises(ssl.SSLError):
            shake_hands(server.url_for(Fault.TLS_PLAIN), server.authority)
    assert not server.authority.exists()


# Life.


def descriptors() -> int:
    return len(list(DESCRIPTORS.iterdir()))


@pytest.mark.skipif(not DESCRIPTORS.is_dir(), reason="counts descriptors in /proc")
def test_end_frees_every_socket_and_thread_and_cuts_every_connection():
    threads, before = threading.active_count(), descriptors()
    with FaultServer() as server:
        urls = {server.url_for(fault) for fault in Fault}
        socks = [
            connect(server.url_for(Fault.TLS_EXPIRED)),
            connect(server.url_for(Fault.TLS_HANG)),
        ]
        for model in ("silence", "half-open", "comments-only", "endless-body", "ok"):
            socks.append(connect(server.url))
            send(socks[-1], server.url, model=model, stream=True)
        server.wait_for(lambda: len(server.requests) == 5)
    assert (server.opened, server.closed) == (7, 7)
    assert len(urls) == len(Fault)
    assert threading.active_count() == threads
    for sock in socks:
        assert receive(sock).end in ("eof", "reset")
        sock.close()
    assert descriptors() == before


def test_end_of_a_busy_server_comes_at_once():
    with FaultServer() as server:
        socks = [connect(server.url) for _ in range(50)]
        for sock in socks:
            send(sock, server.url, model="endless-body")
        server.wait_for(lambda: len(server.requests) == 50)
        before = time.monotonic()
    assert time.monotonic() - before < 5
    for sock in socks:
        sock.close()


def test_port_that_is_taken_is_an_error_that_leaves_nothing():
    threads = threading.active_count()
    with FaultServer() as server, pytest.raises(OSError, match="in use"):
        FaultServer(port=urlsplit(server.url).port).__enter__()
    assert threading.active_count() == threads


def test_without_trustme_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "trustme", None)
    with FaultServer() as server, pytest.raises(ImportError, match=r"pluggable-router\[testing\]"):
        server.url_for(Fault.TLS_EXPIRED)


def test_a_thousand_stalled_streams_are_served_at_once_and_freed():
    raise_descriptor_limit(4096)

    async def stalled(server: FaultServer, number: int, everybody: asyncio.Barrier) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(server.url).port)
        body = json.dumps({"model": f"model-{number}", "stream": True}).encode()
        writer.write(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        received = await reader.readuntil(b"sea")
        await everybody.wait()
        writer.close()
        await writer.wait_closed()
        return received

    async def all_of_them(server: FaultServer) -> list[bytes]:
        everybody = asyncio.Barrier(1000)
        async with asyncio.timeout(50):
            return await asyncio.gather(*(stalled(server, n, everybody) for n in range(1000)))

    with FaultServer(Fault.STALL(chunks=2)) as server:
        received = asyncio.run(all_of_them(server))
        server.wait_for(lambda: server.closed == 1000)
        assert all(request.connection.closed_at is not None for request in server.requests)
    assert all(f'"model-{n}"'.encode() in received[n] for n in range(1000))


def raise_descriptor_limit(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= hard < wanted:
        pytest.skip(f"needs {wanted} descriptors, and may have {hard}")
    if 0 <= soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def test_process_of_its_own_prints_its_url_and_ends_when_told():
    program = [sys.executable, "-W", "error", "-m", "router.testing.faults", "--default"]
    with subprocess.Popen(
        [*program, "http-503;seconds=2"], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
    ) as process:
        try:
            url = process.stdout.readline().strip()
            reply = ask(url)
        finally:
            process.terminate()
    assert (reply.status, reply.headers("Retry-After")) == (503, ["2"])
    assert process.returncode == 0


@pytest.mark.parametrize("words", ["refused", "rezet", "stall;size=1", "stall;chunks=-1"])
def test_process_refuses_what_is_no_fault_of_a_request(words, capsys):
    with pytest.raises(SystemExit):
        main(["--default", words])
    assert words.partition(";")[0] in capsys.readouterr().err


def test_list_tells_every_fault_and_its_parameters(capsys):
    main(["--list"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [fault.text for fault in Fault]
    assert all(fault.about in line for fault, line in zip(Fault, lines, strict=True))
    assert lines[[*Fault].index(Fault.STALL)].endswith("(seconds=inf chunks=2)")
