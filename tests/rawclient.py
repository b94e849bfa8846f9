"""A client that sees every byte that a server sends, and how the connection ends."""

import json
import socket
import ssl
import time
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from router.sse import SSE

TEXT = "The sea is 🌊 and deep."
KEY = "sk-canary-in-a-header"
SOON = 0.25  # seconds after which a silent server is taken to stay silent


@dataclass
class Reply:
    """What came over a socket, how it ended (`eof`, `reset`, `silence`, `open`), and after what."""

    raw: bytes
    end: str
    seconds: float = 0.0

    @property
    def head(self) -> bytes:
        return self.raw.partition(b"\r\n\r\n")[0]

    @property
    def status(self) -> int:
        return int(self.head.split(b" ", 2)[1])

    def headers(self, name: str) -> list[str]:
        lines = (line.partition(": ") for line in self.head.decode().split("\r\n")[1:])
        return [value for known, _, value in lines if known.lower() == name.lower()]

    @property
    def framed(self) -> bytes:
        return self.raw.partition(b"\r\n\r\n")[2]

    @property
    def chunks(self) -> list[bytes]:
        """The chunks of the body; the last is empty if the body is whole."""
        chunks, rest = [], self.framed
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            chunks.append(rest[: int(size, 16)])
            rest = rest[int(size, 16) + 2 :]
        return chunks

    @property
    def body(self) -> bytes:
        """The body as a client sees it; it has to be whole."""
        if self.headers("Transfer-Encoding") == ["chunked"]:
            assert self.chunks[-1] == b""
            return b"".join(self.chunks)
        assert [str(len(self.framed))] == self.headers("Content-Length")
        return self.framed

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str | None:
        assert self.headers("Content-Type") == ["application/json"]
        return self.json["error"]["code"]


def ask(
    url: str,
    *,
    stream: bool = False,
    model: str = "m",
    usage: bool = True,
    first: float = 10.0,
    idle: float = 10.0,
) -> Reply:
    """Sends a request over a connection of its own, and reads until nothing more comes."""
    began = time.monotonic()
    with closing(connect(url)) as sock:
        send(sock, url, stream=stream, model=model, usage=usage, headers="Connection: close\r\n")
        reply = receive(sock, first=first, idle=idle)
    return replace(reply, seconds=time.monotonic() - began)


def connect(url: str) -> socket.socket:
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname, parts.port), timeout=5)


def shake_hands(url: str, authority: Path, *, timeout: float = 10.0) -> None:
    """Begins TLS as a careful client does, and leaves."""
    assert url.startswith("https://")
    context = ssl.create_default_context(cafile=authority)
    with closing(connect(url)) as sock:
        sock.settimeout(timeout)
        context.wrap_socket(sock, server_hostname="127.0.0.1").close()


def send(
    sock: socket.socket,
    url: str,
    *,
    stream: bool = False,
    model: str = "m",
    usage: bool = True,
    headers: str = "",
) -> None:
    value = {"model": model, "messages": [{"role": "user", "content": "Where?"}], "stream": stream}
    if usage:
        value["stream_options"] = {"include_usage": True}
    body = json.dumps(value).encode()
    path = urlsplit(url).path + "/chat/completions"
    headers = f"Host: x\r\nAuthorization: Bearer {KEY}\r\n{headers}Content-Length: {len(body)}\r\n"
    sock.sendall(f"POST {path} HTTP/1.1\r\n{headers}\r\n".encode() + body)


def receive(sock: socket.socket, *, first: float = 10.0, idle: float = 10.0) -> Reply:
    """Reads until the connection ends, or is silent: before the first byte, or after it."""
    pieces, end = [], "eof"
    sock.settimeout(first)
    try:
        while piece := sock.recv(65536):
            pieces.append(piece)
            sock.settimeout(idle)
    except TimeoutError:
        end = "silence"
    except ConnectionResetError:
        end = "reset"
    return Reply(b"".join(pieces), end)


def receive_one(sock: socket.socket) -> Reply:
    """Reads one response whose length is told, and nothing after it."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += sock.recv(1)
    reply = Reply(head, "open")
    body, size = b"", int(reply.headers("Content-Length")[0])
    while len(body) < size:
        body += sock.recv(size - len(body))
    return Reply(head + body, "open")


def events(body: bytes) -> list[bytes]:
    """The data of the events, the comments left out."""
    sse = SSE()
    found = [*sse.feed(body), *sse.end()]
    return [event.data for event in found if event.data is not None]


def chunks(body: bytes) -> list[dict[str, Any]]:
    """The events of a whole stream but its [DONE]."""
    *found, done = events(body)
    assert done == b"[DONE]"
    return [json.loads(data) for data in found]


def contents(found: list[dict[str, Any]], index: int = 0) -> list[str]:
    choices = [choice for chunk in found for choice in chunk["choices"] if choice["index"] == index]
    return [choice["delta"]["content"] for choice in choices if choice["delta"].get("content")]


def finishes(found: list[dict[str, Any]]) -> list[str]:
    choices = [choice for chunk in found for choice in chunk["choices"]]
    return [choice["finish_reason"] for choice in choices if choice["finish_reason"]]


def shows_good_stream(body: bytes) -> None:
    found = chunks(body)
    assert found[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert ("".join(contents(found)), finishes(found)) == (TEXT, ["stop"])
    assert found[-1]["usage"] == {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}


def shows_good_whole(body: bytes) -> None:
    value = json.loads(body)
    assert value["choices"][0]["message"] == {"role": "assistant", "content": TEXT}
    assert value["choices"][0]["finish_reason"] == "stop"
    assert value["usage"] == {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}


def shows_good(reply: Reply, *, stream: bool) -> None:
    assert reply.status == 200
    kind = "text/event-stream" if stream else "application/json"
    assert reply.headers("Content-Type") == [kind]
    (shows_good_stream if stream else shows_good_whole)(reply.body)
