"""A server that costs next to nothing: every answer is made up before the first request.

Run as a process of its own, so that a client's CPU time is the client's alone. The first part of
the path says what comes: `/whole`, `/stream`, `/drip`, `/broken`.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHUNKS = 200
"""Pieces of text in a stream."""

PAUSE = 0.001
"""Seconds between the pieces of `/drip`, so that its reader waits for each."""

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)

_HEADERS = {
    "Date": "Sun, 22 Nov 2026 10:00:00 GMT",
    "Server": "upstream",
    "X-Request-Id": "req_0123456789abcdef0123456789abcdef",
    "OpenAI-Processing-Ms": "412",
    "X-RateLimit-Limit-Requests": "10000",
    "X-RateLimit-Remaining-Requests": "9999",
    "X-RateLimit-Reset-Requests": "6ms",
}

_COMPLETION = {
    "id": "chatcmpl-0123456789abcdefghijklmnopqrs",
    "object": "chat.completion",
    "created": 1763805600,
    "model": "gpt-4o-mini-2024-07-18",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "The sea keeps no diary, and yet every tide writes the shore anew.",
                "refusal": None,
            },
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {
        "prompt_tokens": 24,
        "completion_tokens": 15,
        "total_tokens": 39,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    },
    "system_fingerprint": "fp_0123456789",
}

_FAILURE = {
    "error": {
        "message": "The server had an error while processing your request.",
        "type": "server_error",
        "param": None,
        "code": None,
    }
}


def _answer(status: str, body: object) -> list[bytes]:
    content = _json(body)
    headers = {**_HEADERS, "Content-Type": "application/json", "Content-Length": len(content)}
    return [_head(status, headers) + content]


def _head(status: str, headers: dict[str, object]) -> bytes:
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def _event(delta: dict[str, str], finish_reason: str | None = None) -> bytes:
    chunk = {
        "id": "chatcmpl-0123456789abcdefghijklmnopqrs",
        "object": "chat.completion.chunk",
        "created": 1763805600,
        "model": "gpt-4o-mini-2024-07-18",
        "system_fingerprint": "fp_0123456789",
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}],
        "usage": None,
    }
    return _chunked(b"data: %b\n\n" % _json(chunk))


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _chunked(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _stream() -> list[bytes]:
    headers = {**_HEADERS, "Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"}
    return [
        _head("200 OK", headers),
        _event({"role": "assistant", "content": ""}),
        *(_event({"content": f" word{number:03}"}) for number in range(CHUNKS)),
        _event({}, "stop"),
        _chunked(b"data: [DONE]\n\n") + _chunked(b""),
    ]


ANSWERS = {
    b"whole": _answer("200 OK", _COMPLETION),
    b"stream": _stream(),
    b"broken": _answer("500 Internal Server Error", _FAILURE),
}
"""What is written for each, write by write: in a stream, one for each event."""


class _Upstream(asyncio.Protocol):
    """One connection, kept open from request to request."""

    def __init__(self) -> None:
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not end or length is None or len(body) < int(length[1]):
            return
        self._received = b""
        kind = head.split(b"/", 2)[1]
        if kind == b"drip":
            self._task = asyncio.create_task(self._drip())
            return
        for piece in ANSWERS[kind]:
            self._transport.write(piece)

    async def _drip(self) -> None:
        for piece in ANSWERS[b"stream"]:
            self._transport.write(piece)
            await asyncio.sleep(PAUSE)


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(_Upstream, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def running() -> Iterator[str]:
    """Run it, and say at which URL it answers."""
    root = Path(__file__).parent.parent
    command = [sys.executable, "-m", "benchmarks.upstream"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


if __name__ == "__main__":
    asyncio.run(_serve())
