"""The messages of OpenAI's wire: the neutral ones are its own, but for what is the router's."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from .openai_reasoning import ReasoningPlace, put_back

_CACHE_MARKER = "cache_control"

IN_MESSAGE = "message"
"""In the `extra` of a block: what has to be in the message that is sent back."""

_TOLD = ("reasoning_content", "reasoning")
"""What services call the text of their reasoning, in an answer and where they want it back."""


_ANSWERED = ("refusal", "audio", "annotations", "images", "executed_tools")
"""What an answer has beside its text, its calls and its reasoning; many services refuse it."""


_MENDED = frozenset(
    {*_ANSWERED, *_TOLD, "origin", "tool_calls", "reasoning_blocks", "reasoning_details"}
)
"""What is not sent as it is; most messages have none of it."""


def sent_message(
    message: Mapping[str, Any], place: ReasoningPlace | None, takes_back: Collection[str] = ()
) -> dict[str, Any]:
    """A message as it goes out: no word of whose it was, the reasoning where it is wanted.

    An answer that the caller gives back may have what other services refuse: the reasoning under
    another service's name, and what only `takes_back` lists. A refusal or what was spoken is text
    for the others.
    """
    sent = dict(message)
    if _MENDED.isdisjoint(sent):
        return sent
    sent.pop("origin", None)
    given = sent.pop("reasoning_blocks", ())
    for block in given:
        sent = {**(block.get("extra") or {}).get(IN_MESSAGE, {}), **sent}
    told = {name: sent.pop(name) for name in _ANSWERED if name in sent}
    if (spoken := told.get("audio")) and isinstance(spoken, dict) and "id" in spoken:
        told["audio"] = {"id": spoken["id"]}  # its data is in the answer alone
    kept = {name: value for name, value in told.items() if value and name in takes_back}
    if not (sent.get("content") or sent.get("tool_calls") or kept) and told:
        transcript = spoken.get("transcript") if isinstance(spoken, dict) else None
        sent["content"] = told.get("refusal") or transcript or ""
    sent |= kept
    if "tool_calls" in sent:
        sent["tool_calls"] = [
            {name: value for name, value in call.items() if name != "signature"}
            for call in sent["tool_calls"]
        ]
    blocks = [block for block in given if IN_MESSAGE not in (block.get("extra") or {})]
    told = _told(sent, place)
    put_back(sent, blocks or ([{"text": told}] if told else []), place)
    return sent


def _told(sent: dict[str, Any], place: ReasoningPlace | None) -> Any:
    """Take out the reasoning that the caller gave under another name than the service's."""
    if place == "reasoning_details":  # gateways, which take it by each of its names
        return None
    sent.pop("reasoning_details", None)
    given = [sent.pop(name, None) for name in _TOLD if name != place]
    return next(filter(None, given), None)


def drop_cache_markers(body: dict[str, Any]) -> None:
    """Take the marks of what is to be cached out of messages, their parts, and tools."""
    body["messages"] = [_without_marker(message) for message in body["messages"]]
    for message in body["messages"]:
        if isinstance(message.get("content"), list):
            message["content"] = [_without_marker(part) for part in message["content"]]
    if isinstance(body.get("tools"), list):
        body["tools"] = [_without_marker(tool) for tool in body["tools"]]


def _without_marker(value: dict[str, Any]) -> dict[str, Any]:
    if _CACHE_MARKER not in value:
        return value
    return {name: inner for name, inner in value.items() if name != _CACHE_MARKER}
