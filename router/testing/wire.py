"""What a server of the OpenAI chat-completions wire reads and writes, as bytes. No I/O."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from http import HTTPStatus
from typing import Any, Self

PHRASES = {status.value: status.phrase for status in HTTPStatus}
LAST_CHUNK = b"0\r\n\r\n"
JSON = "application/json"
EVENTS = "text/event-stream"


@dataclass(slots=True)
class Connection:
    """A connection that a client made.

    Attributes:
        number: Counted from 1, over all ports of the server.
        port: The port that it came to.
        opened_at: Seconds of `time.monotonic` when the server took it.
        closed_at: Likewise when the client closed or reset it; `None` while it is open, and where
            the server closed first.
        requests: How many requests have come over it.
    """

    number: int
    port: int
    opened_at: float
    closed_at: float | None = None
    requests: int = 0


@dataclass(slots=True)
class Request:
    """A request as it came in. Its repr shows neither headers nor body: they hold keys and prompts.

    Attributes:
        path: As sent, the query included.
        headers: Names and values in their order, as sent.
        json: The body decoded, or `None` where it is no JSON.
        received_at: Seconds of `time.monotonic` when its last byte had come.
        fault: What it was answered with, in the words of a URL or model (`stall;chunks=1`).
    """

    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)
    json: Any = field(repr=False)
    connection: Connection
    received_at: float
    fault: str = ""

    def header(self, name: str) -> str | None:
        """The first header of that name, whatever its case."""
        name = name.lower()
        return next((value for known, value in self.headers if known.lower() == name), None)

    @property
    def model(self) -> str:
        """The model asked for, or nothing."""
        model = self._get("model")
        return model if isinstance(model, str) else ""

    @property
    def stream(self) -> bool:
        """Whether an event stream was asked for."""
        return self._get("stream") is True

    @property
    def usage(self) -> bool:
        """Whether the answer is to tell its usage: whole ones always do."""
        options = self._get("stream_options")
        return not self.stream or (isinstance(options, dict) and bool(options.get("include_usage")))

    def _get(self, name: str) -> Any:
        return self.json.get(name) if isinstance(self.json, dict) else None


def read_head(data: bytes) -> tuple[str, str, tuple[tuple[str, str], ...]]:
    """Method, path and headers of a request's head, which ends before its blank line.

    Raises:
        ValueError: It is no HTTP/1.1.
    """
    first, *lines = data.decode("latin-1").split("\r\n")
    method, path, version = first.split(" ")
    if version != "HTTP/1.1":
        raise ValueError(f"not HTTP/1.1 but {version}")
    pairs = (line.partition(":") for line in lines)
    return method, path, tuple((name, value.strip()) for name, _, value in pairs)


def read_json(body: bytes) -> Any:
    """The body decoded, or `None` where it is no JSON."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def to_json(value: object) -> bytes:
    """JSON without blanks, not escaped to ASCII."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def head(status: int, *headers: tuple[str, str]) -> bytes:
    """The status line and headers, with their blank line."""
    lines = [f"HTTP/1.1 {status} {PHRASES.get(status, 'Unknown')}", "x-request-id: req-fault"]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join([*lines, "", ""]).encode()


def whole(status: int, kind: str, body: bytes, *headers: tuple[str, str]) -> bytes:
    """A response of known length, with the content type `kind`."""
    length = ("Content-Length", str(len(body)))
    return head(status, ("Content-Type", kind), length, *headers) + body


def opened(kind: str, *headers: tuple[str, str]) -> bytes:
    """The head of a chunked response, with the content type `kind`."""
    return head(200, ("Content-Type", kind), ("Transfer-Encoding", "chunked"), *headers)


def framed(data: bytes) -> bytes:
    """One chunk of a chunked body; nothing for nothing, since an empty chunk would be the last."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def event(data: bytes) -> bytes:
    """One event of an event stream."""
    return b"data: %b\n\n" % data


DONE = event(b"[DONE]")


def error(kind: str, code: str | None, message: str) -> bytes:
    """An error as JSON; `kind` is its type."""
    return to_json({"error": {"message": message, "type": kind, "param": None, "code": code}})


@dataclass(frozen=True)
class Answer:
    """A good answer, whole and as events; its bytes are made once.

    Attributes:
        model: The model that is said to answer.
        deltas: What each chunk with content brings: the index of its choice, and the delta.
        messages: The same as a whole: the message of each choice.
        usage: Whether it tells its usage.
        finish: The finish reason.
    """

    model: str
    deltas: tuple[tuple[int, dict[str, Any]], ...]
    messages: tuple[dict[str, Any], ...]
    usage: bool = True
    finish: str = "stop"

    @classmethod
    def of(cls, model: str, pieces: Iterable[str], *, usage: bool = True) -> Self:
        """An answer of text, a piece for each chunk."""
        deltas = tuple((0, {"content": piece}) for piece in pieces)
        return cls(model, deltas, ({"content": "".join(d["content"] for _, d in deltas)},), usage)

    @cached_property
    def roles(self) -> bytes:
        """The first events: a role and no content for each choice."""
        role = {"role": "assistant", "content": ""}
        return b"".join(self._event(index, role) for index, _ in enumerate(self.messages))

    @cached_property
    def contents(self) -> tuple[bytes, ...]:
        """The events with content."""
        return tuple(self._event(index, delta) for index, delta in self.deltas)

    @cached_property
    def finishes(self) -> bytes:
        """The events with the finish reasons."""
        return b"".join(
            self._event(index, {}, self.finish) for index, _ in enumerate(self.messages)
        )

    @cached_property
    def counts(self) -> bytes:
        """The event with the usage, if it is told."""
        return event(self._json("chat.completion.chunk", [], self._usage)) if self.usage else b""

    @cached_property
    def blank(self) -> bytes:
        """An event without choices."""
        return event(self._json("chat.completion.chunk", [], {}))

    @cached_property
    def events(self) -> tuple[bytes, ...]:
        """The whole event stream."""
        return (self.roles, *self.contents, self.finishes, self.counts, DONE)

    @cached_property
    def json(self) -> bytes:
        """The whole answer as JSON."""
        choices = [
            {
                "index": index,
                "message": {"role": "assistant"} | message,
                "finish_reason": self.finish,
            }
            for index, message in enumerate(self.messages)
        ]
        return self._json("chat.completion", choices, self._usage)

    @cached_property
    def as_stream(self) -> bytes:
        """The HTTP response that streams it."""
        return b"".join((opened(EVENTS), *map(framed, self.events), LAST_CHUNK))

    @cached_property
    def as_whole(self) -> bytes:
        """The HTTP response that gives it as a whole."""
        return whole(200, JSON, self.json)

    @property
    def _usage(self) -> dict[str, Any]:
        counts = {"prompt_tokens": 5, "completion_tokens": len(self.deltas)}
        return {"usage": counts | {"total_tokens": sum(counts.values())}} if self.usage else {}

    def _event(self, index: int, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": index, "delta": delta, "finish_reason": finish}
        return event(self._json("chat.completion.chunk", [choice], {}))

    def _json(self, kind: str, choices: list[dict[str, Any]], usage: dict[str, Any]) -> bytes:
        # A fixed moment in 2023, so that the same answer always has the same bytes.
        named = {"id": "chatcmpl-fault", "object": kind, "created": 1_700_000_000}
        return to_json(named | {"model": self.model, "choices": choices} | usage)
