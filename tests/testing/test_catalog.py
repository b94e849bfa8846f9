import gzip
import json
import math
import re
import socket
import ssl
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from rawclient import (
    KEY,
    SOON,
    TEXT,
    Reply,
    ask,
    chunks,
    connect,
    contents,
    events,
    finishes,
    receive,
    receive_one,
    send,
    shake_hands,
    shows_good,
    shows_good_stream,
    shows_good_whole,
)

from router.testing import Fault, FaultServer
from router.testing.plays import MIB

DESCRIPTORS = Path("/proc/self/fd")


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


# What shows each fault: a function that is given the server and a way to ask, which fails where
# the fault is not seen. A fault without one fails the test below.

CHECKS: dict[Fault, list[Callable[[FaultServer], None]]] = {fault: [] for fault in Fault}


def shows(*faults: Fault):
    """Has the function called with the server and the fault, for each of them."""

    def add(check):
        for fault in faults:
            CHECKS[fault].append(partial(check, fault=fault))
        return check

    return add


@pytest.mark.parametrize("fault", Fault, ids=lambda fault: fault.text)
def test_fault_shows_what_it_says(fault, server):
    assert CHECKS[fault], f"no check observes {fault.text}"
    for check in CHECKS[fault]:
        check(server)


# Good answers.


@shows(Fault.OK, Fault.LOWERCASE_HEADERS, Fault.DUPLICATE_HEADERS, Fault.HUGE_HEADER)
@shows(Fault.ONE_BYTE, Fault.SPLIT_UTF8)
def good_both_ways(server, fault):
    for stream in (True, False):
        shows_good(ask(server.url_for(fault), stream=stream), stream=stream)


@shows(Fault.SILENCE, Fault.SILENCE_AFTER_HEADERS, Fault.STALL)
@shows(Fault.TRICKLED_HEADERS, Fault.TRICKLED_BODY)
def good_in_the_end(server, fault):
    trickled = fault in (Fault.TRICKLED_HEADERS, Fault.TRICKLED_BODY)
    for stream in (True, False):
        case = fault(seconds=0.0 if trickled else 0.05)
        reply = ask(server.url_for(case), stream=stream)
        shows_good(reply, stream=stream)
        assert trickled or reply.seconds >= 0.05


@shows(Fault.SPLIT_CRLF, Fault.ODD_EVENTS, Fault.PINGS)
def good_stream(server, fault):
    shows_good(ask(server.url_for(fault), stream=True), stream=True)


@shows(Fault.OK)
def paced(server, fault):
    streamed = ask(server.url_for(fault(seconds=0.01)), stream=True)
    shows_good(streamed, stream=True)
    assert streamed.seconds >= 0.07
    whole = ask(server.url_for(fault(seconds=0.05)))
    shows_good(whole, stream=False)
    assert whole.seconds >= 0.05


@shows(Fault.OK)
def usage_only_where_asked(server, fault):
    url = server.url_for(fault)
    assert "usage" not in chunks(ask(url, stream=True, usage=False).body)[-1]
    assert "usage" in ask(url, usage=False).json


@shows(Fault.USAGE_MISSING)
def no_usage(server, fault):
    streamed = chunks(ask(server.url_for(fault), stream=True).body)
    assert ("".join(contents(streamed)), finishes(streamed)) == (TEXT, ["stop"])
    assert not any("usage" in chunk for chunk in [*streamed, ask(server.url_for(fault)).json])


@shows(Fault.OTHER_MODEL)
def other_model(server, fault):
    streamed = chunks(ask(server.url_for(fault), stream=True).body)
    assert {chunk["model"] for chunk in streamed} == {"another-model"}
    assert ask(server.url_for(fault)).json["model"] == "another-model"


@shows(Fault.EMPTY_COMPLETION)
def empty_completion(server, fault):
    streamed = chunks(ask(server.url_for(fault), stream=True).body)
    assert (contents(streamed), finishes(streamed)) == ([], ["stop"])
    assert ask(server.url_for(fault)).json["choices"][0]["message"]["content"] == ""


@shows(Fault.FINISH_LENGTH, Fault.FINISH_CONTENT_FILTER)
def other_finish(server, fault):
    reason = fault.name.removeprefix("FINISH_").lower()
    text = TEXT if fault is Fault.FINISH_LENGTH else "The sea"
    streamed = chunks(ask(server.url_for(fault), stream=True).body)
    assert ("".join(contents(streamed)), finishes(streamed)) == (text, [reason])
    choice = ask(server.url_for(fault)).json["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == (text, reason)


@shows(Fault.REFUSAL)
def refusal(server, fault):
    streamed = chunks(ask(server.url_for(fault), stream=True).body)
    assert streamed[1]["choices"][0]["delta"] == {"refusal": "I cannot help with that."}
    message = ask(server.url_for(fault)).json["choices"][0]["message"]
    assert (message["content"], message["refusal"]) == (None, "I cannot help with that.")


@shows(Fault.INTERLEAVED_CHOICES)
def interleaved_choices(server, fault):
    streamed = chunks(ask(server.url_for(fault), stream=True).body)
    order = [
        chunk["choices"][0]["index"]
        for chunk in streamed
        if contents([chunk], 0) or contents([chunk], 1)
    ]
    assert order == [0, 1] * 7
    texts = [TEXT, TEXT.upper()]
    assert ["".join(contents(streamed, index)) for index in (0, 1)] == texts
    choices = ask(server.url_for(fault)).json["choices"]
    assert [choice["message"]["content"] for choice in choices] == texts


@shows(Fault.INTERLEAVED_TOOLS, Fault.BAD_TOOL_JSON, Fault.UNKNOWN_TOOL)
def tool_calls(server, fault):
    indexes, calls = {
        Fault.INTERLEAVED_TOOLS: ([0, 2, 0, 2, 0, 2], {"first": '{"x": 1}', "second": '{"y": 2}'}),
        Fault.BAD_TOOL_JSON: ([0, 0, 0], {"first": '{"x": 1'}),
        Fault.UNKNOWN_TOOL: ([0, 0], {"no_such_tool": "{}"}),
    }[fault]
    streamed = chunks(ask(server.url_for(fault), stream=True).body)
    pieces = [
        call
        for chunk in streamed
        for choice in chunk["choices"]
        for call in choice["delta"].get("tool_calls", [])
    ]
    assert [piece["index"] for piece in pieces] == indexes
    names = {piece["index"]: piece["function"]["name"] for piece in pieces if "id" in piece}
    joined = dict.fromkeys(names.values(), "")
    for piece in pieces:
        joined[names[piece["index"]]] += piece["function"]["arguments"]
    assert (joined, finishes(streamed)) == (calls, ["tool_calls"])
    message = ask(server.url_for(fault)).json["choices"][0]["message"]
    functions = [call["function"] for call in message["tool_calls"]]
    assert {each["name"]: each["arguments"] for each in functions} == calls


@shows(Fault.GZIP)
def compressed(server, fault):
    for stream in (True, False):
        reply = ask(server.url_for(fault), stream=stream)
        assert reply.headers("Content-Encoding") == ["gzip"]
        (shows_good_stream if stream else shows_good_whole)(gzip.decompress(reply.body))


@shows(Fault.GZIP)
def compressed_event_by_event(server, fault):
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    found = [unpacker.decompress(chunk) for chunk in ask(server.url_for(fault), stream=True).chunks]
    assert all(data.endswith(b"\n\n") for data in found if data)
    assert len([data for data in found if data]) == 11  # role, 7 pieces, finish, usage, [DONE]


@shows(Fault.INFORMATIONAL)
def informed(server, fault):
    reply = ask(server.url_for(fault))
    first, second, answer = reply.raw.split(b"\r\n\r\n", 2)
    assert (first[:12], second[:12]) == (b"HTTP/1.1 100", b"HTTP/1.1 103")
    shows_good(Reply(answer, "eof"), stream=False)


@shows(Fault.LOWERCASE_HEADERS)
def lower_case(server, fault):
    names = re.findall(rb"(?m)^[^:\s]+(?=: )", ask(server.url_for(fault)).head)
    assert b"content-type" in names
    assert all(name == name.lower() for name in names)


@shows(Fault.DUPLICATE_HEADERS)
def duplicates(server, fault):
    reply = ask(server.url_for(fault))
    assert len(set(reply.headers("x-request-id"))) == len(set(reply.headers("Set-Cookie"))) == 2


@shows(Fault.HUGE_HEADER)
def huge_header(server, fault):
    for size in (70_000, 100):
        url = server.url_for(fault(size=size))
        lines = ask(url).head.split(b"\r\n")
        assert size in [len(line) for line in lines]


@shows(Fault.ONE_BYTE)
def one_byte(server, fault):
    sizes = {len(chunk) for chunk in ask(server.url_for(fault), stream=True).chunks[:-1]}
    assert sizes == {1}


@shows(Fault.SPLIT_UTF8)
def split_inside_a_character(server, fault):
    for stream in (True, False):
        split = [
            chunk
            for chunk in ask(server.url_for(fault), stream=stream).chunks
            if not decodes(chunk)
        ]
        assert b"".join(split).decode().count("🌊") == 1
        assert len(split) == 4


def decodes(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


@shows(Fault.SPLIT_CRLF)
def split_inside_line_ends(server, fault):
    found = ask(server.url_for(fault), stream=True).chunks
    assert all(chunk.endswith(b"\r") for chunk in found[:-2])
    assert all(chunk.startswith(b"\n") for chunk in found[1:-1])


@shows(Fault.ODD_EVENTS)
def odd_events(server, fault):
    body = ask(server.url_for(fault), stream=True).body
    assert body.startswith(b"\xef\xbb\xbf: a comment\rid: 1\rretry: 10\r")
    assert b"\n" not in body
    assert body.count(b'\rdata:"choices"') == 10


@shows(Fault.PINGS)
def pinged(server, fault):
    body = ask(server.url_for(fault), stream=True).body
    assert body.count(b": ping\n\ndata: ") == body.count(b"data: ") == 11


@shows(Fault.EMPTY_CHUNKS)
def empty_chunks(server, fault):
    found = chunks(ask(server.url_for(fault), stream=True).body)
    assert [chunk["choices"] for chunk in found[::2]] == [[]] * 11
    assert ("".join(contents(found)), finishes(found)) == (TEXT, ["stop"])


@shows(Fault.NO_DONE)
def no_done(server, fault):
    found = [json.loads(data) for data in events(ask(server.url_for(fault), stream=True).body)]
    assert ("".join(contents(found)), finishes(found)) == (TEXT, ["stop"])


@shows(Fault.DUPLICATE_FINISH)
def duplicate_finish(server, fault):
    found = chunks(ask(server.url_for(fault), stream=True).body)
    assert ("".join(contents(found)), finishes(found)) == (TEXT, ["stop", "length"])


@shows(Fault.DATA_AFTER_FINISH)
def data_after_finish(server, fault):
    found = chunks(ask(server.url_for(fault), stream=True).body)
    at = next(index for index, chunk in enumerate(found) if finishes([chunk]))
    assert "".join(contents(found[:at])) == "".join(contents(found[at:])) == TEXT


@shows(Fault.SECOND_DONE)
def second_done(server, fault):
    found = events(ask(server.url_for(fault), stream=True).body)
    first = found.index(b"[DONE]")
    shows_good_stream(b"".join(b"data: %b\n\n" % data for data in found[: first + 1]))
    assert "".join(contents([json.loads(data) for data in found[first + 1 : -1]])) == TEXT
    assert found[-1] == b"[DONE]"


# Connecting.


@shows(Fault.NO_SUCH_HOST)
def no_such_host(server, fault):
    with pytest.raises(socket.gaierror):
        socket.getaddrinfo(urlsplit(server.url_for(fault)).hostname, 80)


@shows(Fault.REFUSED)
def refused(server, fault):
    with pytest.raises(ConnectionRefusedError):
        connect(server.url_for(fault))


@shows(Fault.UNREACHABLE)
def unreachable(server, fault):
    with closing(socket.socket()) as sock:
        sock.settimeout(SOON)
        with pytest.raises(TimeoutError):
            sock.connect(("127.0.0.1", urlsplit(server.url_for(fault)).port))


@shows(Fault.UNREAD)
def unread(server, fault):
    assert ask(server.url_for(fault), first=SOON).end == "silence"
    with closing(connect(server.url_for(fault))) as sock:
        sock.settimeout(SOON)
        with pytest.raises(TimeoutError):
            sock.sendall(b"a" * 64 * MIB)  # more than the buffers of a connection hold


@shows(Fault.TLS_UNTRUSTED, Fault.TLS_WRONG_HOST, Fault.TLS_EXPIRED)
def bad_certificate(server, fault):
    words = {
        Fault.TLS_UNTRUSTED: "unable to get local issuer",
        Fault.TLS_WRONG_HOST: "IP address mismatch",
        Fault.TLS_EXPIRED: "certificate has expired",
    }
    with pytest.raises(ssl.SSLCertVerificationError, match=words[fault]):
        shake_hands(server.url_for(fault), server.authority)


@shows(Fault.TLS_HANG)
def handshake_hangs(server, fault):
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        shake_hands(server.url_for(fault), server.authority, timeout=SOON)
    assert time.monotonic() - began >= SOON


@shows(Fault.TLS_PLAIN)
def plain_text_for_tls(server, fault):
    with pytest.raises(ssl.SSLError, match=r"(?i)wrong.version.number"):
        shake_hands(server.url_for(fault), server.authority)


# The connection.


@shows(Fault.RESET, Fault.EOF)
def ended_before_any_byte(server, fault):
    reply = ask(server.url_for(fault))
    assert (reply.raw, reply.end) == (b"", fault.text)


@shows(Fault.RESET_REUSED, Fault.EOF_REUSED)
def ended_when_reused(server, fault):
    url = server.url_for(fault)
    with closing(connect(url)) as sock:
        send(sock, url)
        shows_good(receive_one(sock), stream=False)
        send(sock, url)
        reply = receive(sock)
    assert (reply.raw, reply.end) == (b"", fault.text.removesuffix("-reused"))


@shows(Fault.STALE)
def stale(server, fault):
    url = server.url_for(fault)
    with closing(connect(url)) as sock:
        send(sock, url)
        reply = receive(sock)
    shows_good(reply, stream=False)
    assert reply.headers("Connection") == []
    assert reply.end == "eof"


@shows(Fault.SILENCE)
def silent(server, fault):
    reply = ask(server.url_for(fault), first=SOON)
    assert (reply.raw, reply.end) == (b"", "silence")


@shows(Fault.SILENCE_AFTER_HEADERS)
def silent_after_headers(server, fault):
    reply = ask(server.url_for(fault), stream=True, idle=SOON)
    assert (reply.status, reply.framed, reply.end) == (200, b"", "silence")
    assert reply.raw.endswith(b"\r\n\r\n")


@shows(Fault.TRICKLED_HEADERS, Fault.TRICKLED_BODY)
def trickled(server, fault):
    url = server.url_for(fault(seconds=0.02))
    with closing(connect(url)) as sock:
        began = time.monotonic()
        send(sock, url)
        head = b""
        while fault is Fault.TRICKLED_BODY and not head.endswith(b"\r\n\r\n"):
            head += sock.recv(1)
        trickle = [sock.recv(1) for _ in range(8)]
        seconds = time.monotonic() - began
    assert all(trickle)
    assert seconds >= 0.02 * 6


@shows(Fault.STALL, Fault.HALF_OPEN)
def stalled(server, fault):
    reply = ask(server.url_for(fault), stream=True, idle=SOON)
    assert (begun(reply), reply.end) == (["The", " sea"], "silence")
    reply = ask(server.url_for(fault), idle=SOON)
    assert reply.end == "silence"
    assert not is_json(b"".join(reply.chunks))


@shows(Fault.HALF_OPEN)
def blind_to_the_close(server, fault):
    """Unlike in a stall, the client's close is not seen."""
    url = server.url_for(fault)
    with closing(connect(url)) as sock:
        send(sock, url)
        receive(sock, idle=0.05)
        sock.shutdown(socket.SHUT_WR)
        assert receive(sock, first=SOON).end == "silence"
    assert server.requests[-1].connection.closed_at is None


@shows(Fault.CUT_RESET, Fault.CUT_CHUNKED, Fault.CUT_LENGTH, Fault.CUT_CLOSED)
def cut(server, fault):
    for count in (0, 2):
        reply = ask(server.url_for(fault(chunks=count)), stream=True)
        assert reply.end == ("reset" if fault is Fault.CUT_RESET else "eof")
        assert begun(reply) == ["The", " sea"][:count]
    reply = ask(server.url_for(fault))
    data = b"".join(reply.chunks) if reply.headers("Transfer-Encoding") else reply.framed
    assert data.startswith(b'{"id":')
    assert not is_json(data)


@shows(Fault.CUT_LENGTH)
def shorter_than_told(server, fault):
    reply = ask(server.url_for(fault), stream=True)
    assert int(reply.headers("Content-Length")[0]) > len(reply.framed)


@shows(Fault.CUT_CLOSED)
def without_framing(server, fault):
    reply = ask(server.url_for(fault), stream=True)
    assert reply.headers("Content-Length") == reply.headers("Transfer-Encoding") == []


def begun(reply: Reply) -> list[str]:
    """The content of a stream that is not whole."""
    chunked = reply.headers("Transfer-Encoding") == ["chunked"]
    assert not chunked or reply.chunks[-1] != b""
    found = [
        json.loads(data) for data in events(b"".join(reply.chunks) if chunked else reply.framed)
    ]
    assert found[0]["choices"][0]["delta"]["role"] == "assistant"
    return contents(found)


def is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except ValueError:
        return False
    return True


# Responses that are no answer.


@shows(Fault.HTML_200, Fault.HTML_404, Fault.HTML_502)
def html(server, fault):
    reply = ask(server.url_for(fault), stream=True)
    assert reply.status == int(fault.name[-3:])
    assert reply.headers("Content-Type") == ["text/html; charset=utf-8"]
    assert reply.body.startswith(b"<!doctype html>")


@shows(Fault.TEXT, Fault.EMPTY, Fault.UNKNOWN_SUCCESS)
def not_an_answer(server, fault):
    reply = ask(server.url_for(fault))
    expected = {
        Fault.TEXT: (200, b"ok"),
        Fault.EMPTY: (200, b""),
        Fault.UNKNOWN_SUCCESS: (299, b"{}"),
    }
    assert (reply.status, reply.body) == expected[fault]


@shows(Fault.NO_CONTENT)
def no_content(server, fault):
    reply = ask(server.url_for(fault))
    assert (reply.status, reply.framed, reply.headers("Content-Length")) == (204, b"", [])


@shows(Fault.REDIRECT_301, Fault.REDIRECT_307, Fault.REDIRECT_308)
def redirected(server, fault):
    reply = ask(server.url_for(fault))
    assert reply.status == int(fault.name[-3:])
    target = urlsplit(reply.headers("Location")[0])
    here = urlsplit(server.url)
    assert target.hostname != here.hostname
    assert target.port != here.port
    before = len(server.followed)
    url = server.url_for(fault) + "/chat/completions"
    headers = {"x-api-key": KEY}
    with requests.Session() as session:
        session.trust_env = False
        answer = session.post(url, json={"model": "m"}, headers=headers, timeout=5)
    assert answer.json()["choices"][0]["message"]["content"] == TEXT
    (arrived,) = server.followed[before:]
    assert arrived.header("X-Api-Key") == KEY
    assert arrived not in server.requests


@shows(Fault.JSON_FOR_STREAM, Fault.STREAM_FOR_JSON)
def the_other_way(server, fault):
    wanted = fault is Fault.JSON_FOR_STREAM
    shows_good(ask(server.url_for(fault), stream=wanted), stream=not wanted)


@shows(Fault.OVERSIZED)
def oversized(server, fault):
    assert fault.parameters["size"] > 64 * MIB
    for stream in (True, False):
        reply = ask(server.url_for(fault(size=3 * MIB + 5000)), stream=stream)
        assert len(reply.body) > 3 * MIB
        shows_good(reply, stream=stream)


@shows(Fault.ENDLESS_BODY)
def endless_body(server, fault):
    reply = ask(server.url_for(fault(size=3 * MIB)))
    assert b"".join(reply.chunks).strip() == b""
    assert sum(map(len, reply.chunks)) == 3 * MIB
    assert reply.chunks[-1] != b""
    assert reply.end == "eof"


@shows(Fault.ENDLESS_BODY, Fault.OVERSIZED, Fault.GZIP_BOMB, Fault.ENDLESS_LINE)
def stops_when_the_client_leaves(server, fault):
    url = server.url_for(fault)
    with closing(connect(url)) as sock:
        send(sock, url, stream=True)
        assert len(sock.recv(1000)) > 0
    connection = server.requests[-1].connection
    server.wait_for(lambda: connection.closed_at is not None)


@shows(Fault.GZIP_BOMB)
def gzip_bomb(server, fault):
    assert fault.parameters["size"] > 64 * MIB
    for stream in (True, False):
        reply = ask(server.url_for(fault(size=8 * MIB)), stream=stream)
        assert reply.headers("Content-Encoding") == ["gzip"]
        assert len(reply.body) < 8 * MIB / 200
        data = gzip.decompress(reply.body)
        assert len(data) > 8 * MIB
        (shows_good_stream if stream else shows_good_whole)(data)


# Errors.

STATUSES = {
    Fault.HTTP_400: (400, None),
    Fault.CONTEXT_LENGTH: (400, "context_length_exceeded"),
    Fault.PROMPT_TOO_LONG: (400, None),
    Fault.CONTENT_FILTER: (400, "content_filter"),
    Fault.UNSUPPORTED_PARAMETER: (400, "unsupported_parameter"),
    Fault.HTTP_401: (401, "invalid_api_key"),
    Fault.HTTP_402: (402, "billing_error"),
    Fault.HTTP_403: (403, "permission_denied"),
    Fault.HTTP_404: (404, "model_not_found"),
    Fault.HTTP_408: (408, None),
    Fault.HTTP_409: (409, None),
    Fault.HTTP_413: (413, None),
    Fault.HTTP_418: (418, None),
    Fault.HTTP_422: (422, None),
    Fault.HTTP_429: (429, "rate_limit_exceeded"),
    Fault.INSUFFICIENT_QUOTA: (429, "insufficient_quota"),
    Fault.HTTP_500: (500, None),
    Fault.HTTP_502: (502, None),
    Fault.HTTP_503: (503, None),
    Fault.HTTP_504: (504, None),
    Fault.HTTP_529: (529, None),
    Fault.SHOULD_RETRY: (400, None),
    Fault.SHOULD_NOT_RETRY: (500, None),
}


@shows(*STATUSES)
def status(server, fault):
    for stream in (True, False):
        reply = ask(server.url_for(fault), stream=stream)
        assert (reply.status, reply.code) == STATUSES[fault]
        assert reply.headers("Retry-After") == []
        assert reply.headers("x-request-id") == ["req-fault"]
    reply = ask(server.url_for(fault(seconds=1.5, code="slow_down")))
    assert (reply.status, reply.code) == (STATUSES[fault][0], "slow_down")
    assert reply.headers("Retry-After") == ["1.5"]


@shows(Fault.PROMPT_TOO_LONG, Fault.INSUFFICIENT_QUOTA)
def error_in_its_own_words(server, fault):
    error = ask(server.url_for(fault)).json["error"]
    if fault is Fault.PROMPT_TOO_LONG:
        assert re.search(
            r"prompt is too long: \d+ tokens > \d+ maximum", error["message"], re.IGNORECASE
        )
    else:
        assert error["type"] == "insufficient_quota"


@shows(Fault.SHOULD_RETRY, Fault.SHOULD_NOT_RETRY)
def should_retry(server, fault):
    said = ask(server.url_for(fault)).headers("x-should-retry")
    assert said == ["true" if fault is Fault.SHOULD_RETRY else "false"]


@shows(Fault.RETRY_AFTER, Fault.RETRY_AFTER_MS, Fault.RATELIMIT_RESET)
@shows(Fault.RETRY_AFTER_GARBAGE, Fault.RETRY_AFTER_NEGATIVE)
@shows(Fault.RETRY_AFTER_NAN, Fault.RETRY_AFTER_HUGE)
def retry_after(server, fault):
    name, value = {
        Fault.RETRY_AFTER: ("Retry-After", "1"),
        Fault.RETRY_AFTER_MS: ("retry-after-ms", "500"),
        Fault.RATELIMIT_RESET: ("x-ratelimit-reset-requests", "1s"),
        Fault.RETRY_AFTER_GARBAGE: ("Retry-After", "soon"),
        Fault.RETRY_AFTER_NEGATIVE: ("Retry-After", "-5"),
        Fault.RETRY_AFTER_NAN: ("Retry-After", "nan"),
        Fault.RETRY_AFTER_HUGE: ("Retry-After", "1000000000"),
    }[fault]
    reply = ask(server.url_for(fault))
    assert (reply.status, reply.code) == (429, "rate_limit_exceeded")
    assert reply.headers(name) == [value]


@shows(Fault.RETRY_AFTER, Fault.RETRY_AFTER_MS, Fault.RATELIMIT_RESET, Fault.RETRY_INFO)
def retry_after_as_long_as_wanted(server, fault):
    wanted = {
        Fault.RETRY_AFTER: ("0.1", "3700"),
        Fault.RETRY_AFTER_MS: ("100", "3700000"),
        Fault.RATELIMIT_RESET: ("0.1s", "61m40s"),
        Fault.RETRY_INFO: ("0.1s", "3700s"),
    }[fault]
    for seconds, words in zip((0.1, 3700), wanted, strict=True):
        assert f'"{words}"' in ask_words(server, fault(seconds=seconds))


def ask_words(server, case) -> str:
    """The values of the headers and the body, in quotes."""
    reply = ask(server.url_for(case))
    values = (line.decode().partition(": ")[2] for line in reply.head.split(b"\r\n"))
    return " ".join(f'"{value}"' for value in values) + reply.body.decode()


@shows(Fault.RETRY_AFTER_DATE)
def retry_after_date(server, fault):
    reply = ask(server.url_for(fault(seconds=90)))
    assert reply.status == 429
    then, now = (parsedate_to_datetime(reply.headers(name)[0]) for name in ("Retry-After", "Date"))
    assert (then - now).total_seconds() == 90
    assert abs(now.timestamp() - time.time()) < 5


@shows(Fault.RETRY_INFO)
def retry_info(server, fault):
    reply = ask(server.url_for(fault))
    assert (reply.status, reply.headers("Retry-After")) == (429, [])
    (info,) = reply.json["error"]["details"]
    assert info["@type"].endswith("google.rpc.RetryInfo")


@shows(Fault.ERROR_BODY)
def error_in_a_success(server, fault):
    for stream in (True, False):
        reply = ask(server.url_for(fault), stream=stream)
        assert (reply.status, reply.code) == (200, "server_error")


@shows(Fault.ERROR_EVENT, Fault.ERROR_FIRST)
def error_event(server, fault):
    counts = (0, 2) if fault is Fault.ERROR_EVENT else (None,)
    for count in counts:
        case = fault(code="slow_down") if count is None else fault(chunks=count, code="slow_down")
        *before, error = map(json.loads, events(ask(server.url_for(case), stream=True).body))
        assert error["error"]["code"] == "slow_down"
        assert contents(before) == ["The", " sea"][: count or 0]
        assert len(before) == (0 if count is None else count + 1)


@shows(Fault.ERROR_EVENT)
def error_event_as_a_whole(server, fault):
    reply = ask(server.url_for(fault))
    assert (reply.status, reply.code) == (200, "server_error")


# JSON.


def spoiled(server, fault) -> Iterator[bytes]:
    """The JSON that is not right: of whole answers, and of events after none and two chunks."""
    whole = ask(server.url_for(fault))
    assert (whole.status, whole.headers("Content-Type")) == (200, ["application/json"])
    yield whole.body
    for count in (0, 2):
        body = ask(server.url_for(fault(chunks=count)), stream=True).body
        found = body.removesuffix(b"\n\n").split(b"\n\n")
        assert found.pop() == b"data: [DONE]"
        spoiled = found.pop(1 + count).removeprefix(b"data: ")
        good = contents([json.loads(data.removeprefix(b"data: ")) for data in found])
        pieces = ["The", " sea", " is", " 🌊", " and", " deep", "."]
        assert good == pieces[:count] + pieces[count + 1 :]
        yield spoiled


@shows(Fault.TRUNCATED_JSON)
def truncated(server, fault):
    for data in spoiled(server, fault):
        with pytest.raises(json.JSONDecodeError):
            json.loads(data)
        assert data.startswith(b'{"id":')


@shows(Fault.NAN)
def nan(server, fault):
    for data in spoiled(server, fault):
        assert math.isnan(json.loads(data)["padding"])
        assert json.loads(data)["choices"]


@shows(Fault.DUPLICATE_KEYS)
def duplicate_keys(server, fault):
    for data in spoiled(server, fault):
        pairs = json.loads(data, object_pairs_hook=list)
        assert next(value for name, value in pairs if name == "choices") == []
        assert [name for name, _ in pairs].count("choices") == 2


@shows(Fault.WRONG_TYPES)
def wrong_types(server, fault):
    for data in spoiled(server, fault):
        assert not isinstance(json.loads(data)["choices"], list)


@shows(Fault.INVALID_UTF8)
def invalid_utf8(server, fault):
    for data in spoiled(server, fault):
        assert b'"content":"\xff' in data
        assert json.loads(data.decode(errors="replace"))["choices"]


@shows(Fault.DEEP_JSON)
def deep(server, fault):
    for data in spoiled(server, fault):
        with pytest.raises(RecursionError):
            json.loads(data)
    data = ask(server.url_for(fault(size=3))).json
    assert data["padding"] == [[[]]]


# Event streams.


@shows(Fault.COMMENTS_ONLY)
def comments_only(server, fault):
    url = server.url_for(fault(seconds=0.01))
    with closing(connect(url)) as sock:
        send(sock, url, stream=True)
        sock.settimeout(5)
        data = b""
        while data.count(b": waiting\n\n") < 5:
            data += sock.recv(4096)
    assert events(b"".join(Reply(data, "open").chunks)) == []


@shows(Fault.DONE_NO_FINISH, Fault.NEITHER)
def no_finish(server, fault):
    for count in (0, 2):
        found = events(ask(server.url_for(fault(chunks=count)), stream=True).body)
        if fault is Fault.DONE_NO_FINISH:
            assert found.pop() == b"[DONE]"
        found = [json.loads(data) for data in found]
        assert (contents(found), finishes(found)) == (["The", " sea"][:count], [])


@shows(Fault.LONG_LINE)
def long_line(server, fault):
    assert fault.parameters["size"] > 8 * MIB
    body = ask(server.url_for(fault), stream=True).body
    (line,) = [line for line in body.split(b"\n") if len(line) > 1000]
    assert len(line) >= fault.parameters["size"]
    found = chunks(ask(server.url_for(fault(size=1000)), stream=True).body)
    assert [len(piece) for piece in contents(found)] == [3, 4, 1000, 3, 2, 4, 5, 1]
    assert finishes(found) == ["stop"]


@shows(Fault.ENDLESS_LINE)
def endless_line(server, fault):
    reply = ask(server.url_for(fault(size=3 * MIB)), stream=True)
    *_, line = b"".join(reply.chunks).split(b"\n")
    assert line.startswith(b'data: {"choices":')
    assert line.endswith(b"a" * 3 * MIB)
    assert reply.end == "eof"


@shows(
    Fault.SPLIT_CRLF,
    Fault.ODD_EVENTS,
    Fault.PINGS,
    Fault.EMPTY_CHUNKS,
    Fault.NO_DONE,
    Fault.DUPLICATE_FINISH,
    Fault.DATA_AFTER_FINISH,
    Fault.SECOND_DONE,
    Fault.COMMENTS_ONLY,
    Fault.DONE_NO_FINISH,
    Fault.NEITHER,
    Fault.ERROR_FIRST,
    Fault.LONG_LINE,
    Fault.ENDLESS_LINE,
)
def streams_alone(server, fault):
    reply = ask(server.url_for(fault))
    assert reply.status == 501
    assert reply.body.decode() == f"{fault.text} is a fault of event streams: ask for one"
