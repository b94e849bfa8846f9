"""Anthropic's messages as bytes: one content, told whole or piece by piece."""

import json
from collections.abc import Iterator
from typing import Any

from emulators.chat import Played
from providers.anthropic import Anthropic
from router import Message, Provider

QUESTION = [Message(role="user", content="Say hello.")]
USAGE = {"input_tokens": 9, "output_tokens": 3}

PIECES = {
    "text": ("text_delta", "text"),
    "thinking": ("thinking_delta", "thinking"),
    "signature": ("signature_delta", "signature"),
}
"""The fields of a block that come in pieces, with the piece's type and field."""


def text(words: str, *citations: dict[str, Any]) -> dict[str, Any]:
    """A block of text."""
    return {"type": "text", "text": words, **({"citations": [*citations]} if citations else {})}


def thinking(words: str, signature: str = "sealed") -> dict[str, Any]:
    """A block of thinking."""
    return {"type": "thinking", "thinking": words, "signature": signature}


def tool_use(id_: str, name: str, input_: Any, **fields: Any) -> dict[str, Any]:
    """A tool call."""
    return {"type": "tool_use", "id": id_, "name": name, "input": input_, **fields}


def message(
    *blocks: dict[str, Any], stop: str | None = "end_turn", **fields: Any
) -> dict[str, Any]:
    """A whole message, with more fields or others."""
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-4-5-20251001",
        "content": list(blocks),
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": USAGE,
        **fields,
    }


def whole(*blocks: dict[str, Any], **fields: Any) -> bytes:
    """The same as a body."""
    return json.dumps(message(*blocks, **fields)).encode()


def events(*blocks: dict[str, Any], size: int = 3, **fields: Any) -> list[dict[str, Any]]:
    """The same as events, what can be split in pieces of so many characters."""
    told = message(*blocks, **fields)
    late = ("stop_reason", "stop_sequence", "stop_details")
    unsaid = {"content": [], "stop_reason": None, "usage": {**told["usage"], "output_tokens": 1}}
    return [
        {"type": "message_start", "message": {**told, **unsaid}},
        *(event for place, block in enumerate(blocks) for event in _block(place, block, size)),
        {
            "type": "message_delta",
            "delta": {name: told[name] for name in late if name in told},
            "usage": {"output_tokens": told["usage"]["output_tokens"]},
        },
        {"type": "message_stop"},
    ]


def _block(place: int, block: dict[str, Any], size: int) -> Iterator[dict[str, Any]]:
    split = {name: block[name] for name in PIECES if name in block}
    start = {**block, **dict.fromkeys(split, "")}
    cited = start.pop("citations", [])
    if "input" in block:
        start["input"] = {}
    yield {"type": "content_block_start", "index": place, "content_block": start}
    deltas = [{"type": "citations_delta", "citation": citation} for citation in cited]
    for name, value in split.items():
        kind, key = PIECES[name]
        deltas += [{"type": kind, key: piece} for piece in _pieces(value, size)]
    if "input" in block:
        arguments = json.dumps(block["input"]) if block["input"] else ""
        pieces = ["", *_pieces(arguments, size)]
        deltas += [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
    for delta in deltas:
        yield {"type": "content_block_delta", "index": place, "delta": delta}
    yield {"type": "content_block_stop", "index": place}


def _pieces(value: str, size: int) -> list[str]:
    return [value[start : start + size] for start in range(0, len(value), size)]


def sse(*told: dict[str, Any] | str) -> bytes:
    """Events as a body; a `str` stands for itself, as a comment does."""
    return "".join(
        f"{each}\n\n" if isinstance(each, str) else _event(each) for each in told
    ).encode()


def _event(event: dict[str, Any]) -> str:
    return f"event: {event['type']}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n"


def stream(*blocks: dict[str, Any], **fields: Any) -> bytes:
    """A message as a stream."""
    return sse(*events(*blocks, **fields))


def play(
    body: Any, *, provider: Provider | None = None, messages: Any = QUESTION, **given: Any
) -> Played:
    """One exchange with the service."""
    return Played(provider or Anthropic(key="a-key"), body, messages=messages, **given)
