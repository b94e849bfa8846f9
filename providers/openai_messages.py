"""The messages of OpenAI's wire: the neutral ones are its own, but for what is the router's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .openai_reasoning import ReasoningPlace, put_back

_CACHE_MARKER = "cache_control"


def sent_message(message: Mapping[str, Any], place: ReasoningPlace | None) -> dict[str, Any]:
    """A message as it goes out: no word of whose it was, the reasoning where it is wanted."""
    sent = dict(message)
    sent.pop("origin", None)
    if "tool_calls" in sent:
        sent["tool_calls"] = [
            {name: value for name, value in call.items() if name != "signature"}
            for call in sent["tool_calls"]
        ]
    put_back(sent, sent.pop("reasoning_blocks", ()), place)
    return sent


def drop_cache_markers(body: dict[str, Any]) -> None:
    """Take the marks of what is to be cached out of messages, their parts, and tools."""
    body["messages"] = [_without_marker(message) for message in body["messages"]]
    for message in body["messages"]:
        if isinstance(message.get("content"), list):
            message["content"] = [_without_marker(part) for part in message["content"]]
    if isinstance(body.get("tools"), list):
        body["tools"] = [_without_marker(tool) for tool in body["tools"]]


def _without_marker(value: Mapping[str, Any]) -> dict[str, Any]:
    return {name: inner for name, inner in value.items() if name != _CACHE_MARKER}
