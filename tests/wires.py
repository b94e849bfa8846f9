"""Every wire that has a codec, as bytes: one good answer, its errors, and how they are framed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from msgspec import Struct
from routed import service

from providers.anthropic import Anthropic
from providers.cohere import Cohere
from providers.gemini import Gemini
from providers.ollama import Ollama
from router import Provider

TEXT = "The sea is calm."
PIECES = ("The sea", " is calm.")
KEY = "sk-wire"


class Wire(Struct, frozen=True, kw_only=True):
    """A wire.

    Attributes:
        make: Its provider, for a base URL.
        media_type: Of a stream.
        frame: An event, from its data.
        begin, contents, end: The data of the good answer's events.
        whole: The good answer as a whole.
        error: What an error's body says, for an HTTP status.
        broken: What an error event says in the middle of an answer; the service's failure.
    """

    make: Callable[[str], Provider]
    frame: Callable[[bytes], bytes]
    begin: tuple[bytes, ...]
    contents: tuple[bytes, ...]
    end: tuple[bytes, ...]
    whole: bytes
    error: Callable[[int], bytes]
    broken: bytes
    media_type: str = "text/event-stream"

    def stream(self, *data: bytes) -> bytes:
        """Events with this data."""
        return b"".join(map(self.frame, data))

    @property
    def good(self) -> bytes:
        """The good answer's stream."""
        return self.stream(*self.begin, *self.contents, *self.end)


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _data(data: bytes) -> bytes:
    return b"data: %b\n\n" % data


def _named(data: bytes) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (json.loads(data)["type"].encode(), data)


def _line(data: bytes) -> bytes:
    return data + b"\n"


# -- openai


def _choice(delta: dict[str, Any], finish: str | None = None) -> bytes:
    return _json({"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})


OPENAI = Wire(
    make=lambda url: service("openai", url, KEY),
    frame=_data,
    begin=(_choice({"role": "assistant", "content": ""}),),
    contents=tuple(_choice({"content": piece}) for piece in PIECES),
    end=(_choice({}, "stop"), b"[DONE]"),
    whole=_json(
        {
            "id": "c",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": TEXT},
                    "finish_reason": "stop",
                }
            ],
        }
    ),
    error=lambda status: _json({"error": {"message": "no", "type": "x", "code": None}}),
    broken=_json({"error": {"message": "broken", "type": "server_error", "code": "server_error"}}),
)

# -- anthropic

_MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [],
    "stop_reason": None,
    "stop_sequence": None,
    "usage": {"input_tokens": 5, "output_tokens": 1},
}
_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    503: "api_error",
    529: "overloaded_error",
}


def _failure(kind: str) -> bytes:
    return _json({"type": "error", "error": {"type": kind, "message": "no"}})


ANTHROPIC = Wire(
    make=lambda url: Anthropic(base_url=url, key=KEY),
    frame=_named,
    begin=(
        _json({"type": "message_start", "message": _MESSAGE}),
        _json(
            {
                "type": "content_block_start",
                "index": 0,
                "content_block": {"type": "text", "text": ""},
            }
        ),
    ),
    contents=tuple(
        _json(
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "text_delta", "text": piece},
            }
        )
        for piece in PIECES
    ),
    end=(
        _json({"type": "content_block_stop", "index": 0}),
        _json(
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn", "stop_sequence": None},
                "usage": {"output_tokens": 4},
            }
        ),
        _json({"type": "message_stop"}),
    ),
    whole=_json(
        {**_MESSAGE, "content": [{"type": "text", "text": TEXT}], "stop_reason": "end_turn"}
    ),
    error=lambda status: _failure(_TYPES[status]),
    broken=_failure("api_error"),
)

# -- gemini

_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    529: "UNAVAILABLE",
}


def _candidate(text: str, finish: str | None = None) -> bytes:
    candidate = {"index": 0, "content": {"role": "model", "parts": [{"text": text}]}}
    return _json({"candidates": [{**candidate, **({"finishReason": finish} if finish else {})}]})


def _google(status: int) -> bytes:
    return _json({"error": {"code": status, "message": "no", "status": _STATUSES[status]}})


GEMINI = Wire(
    make=lambda url: Gemini(base_url=url, key=KEY),
    frame=_data,
    begin=(_candidate(""),),
    contents=tuple(_candidate(piece) for piece in PIECES),
    end=(_candidate("", "STOP"),),
    whole=_candidate(TEXT, "STOP"),
    error=_google,
    broken=_google(500),
)

# -- cohere


def _event(type_: str, **fields: Any) -> bytes:
    return _json({"type": type_, **fields})


COHERE = Wire(
    make=lambda url: Cohere(base_url=url, key=KEY),
    frame=_named,
    begin=(
        _event("message-start", id="m", delta={"message": {"role": "assistant", "content": []}}),
        _event(
            "content-start",
            index=0,
            delta={"message": {"content": {"type": "text", "text": ""}}},
        ),
    ),
    contents=tuple(
        _event("content-delta", index=0, delta={"message": {"content": {"text": piece}}})
        for piece in PIECES
    ),
    end=(
        _event("content-end", index=0),
        _event("message-end", delta={"finish_reason": "COMPLETE"}),
    ),
    whole=_json(
        {
            "id": "m",
            "finish_reason": "COMPLETE",
            "message": {"role": "assistant", "content": [{"type": "text", "text": TEXT}]},
        }
    ),
    error=lambda status: _json({"id": "e", "message": "no"}),
    broken=_event("message-end", delta={"finish_reason": "ERROR", "error": "broken"}),
)

# -- ollama


def _said(text: str, **fields: Any) -> bytes:
    message = {"role": "assistant", "content": text}
    return _json({"model": "m", "message": message, "done": False, **fields})


OLLAMA = Wire(
    make=lambda url: Ollama(base_url=url, key=KEY),
    media_type="application/x-ndjson",
    frame=_line,
    begin=(_said(""),),
    contents=tuple(_said(piece) for piece in PIECES),
    end=(_said("", done=True, done_reason="stop"),),
    whole=_said(TEXT, done=True, done_reason="stop"),
    error=lambda status: _json({"error": "no"}),
    broken=_json({"error": "broken"}),
)

WIRES = {
    "openai": OPENAI,
    "anthropic": ANTHROPIC,
    "gemini": GEMINI,
    "cohere": COHERE,
    "ollama": OLLAMA,
}
