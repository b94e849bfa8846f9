"""Reasoning on OpenAI's wire: gathered from an answer, and put into the message of a next turn.

The wire has no place of its own for it, so every service has one:

- `reasoning_content`: a text beside the content (DeepSeek, Moonshot, Z.ai, Alibaba, llama.cpp).
- `reasoning`: the same under another name (Groq, Cerebras, Together, Ollama, vLLM).
- `reasoning_details`: blocks with seals, which a stream brings in pieces (OpenRouter, Vercel).
- `thinking`: parts of the content (Mistral).

DeepSeek and Moonshot refuse a turn with tool calls whose reasoning is missing, and OpenRouter's
models take theirs only with its seal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

from router import Reasoning

ReasoningPlace: TypeAlias = Literal[
    "reasoning_content", "reasoning", "reasoning_details", "thinking"
]

_BLOCK_FIELDS = ("text", "summary", "signature", "data", "id")
"""What of a detail has a name in `Reasoning`."""


def detail_text(details: Sequence[Mapping[str, Any]]) -> str:
    """What can be read of some reasoning details, or of pieces of them."""
    return "".join(detail.get("text") or detail.get("summary") or "" for detail in details)


class Reasoner:
    """Gathers the reasoning of one choice, piece by piece.

    Args:
        place: Where its service wants it back, or `None` for nowhere.
    """

    def __init__(self, place: ReasoningPlace | None) -> None:
        self._place = place
        self._text: list[str] = []
        self._details: list[dict[str, Any]] = []

    def take(self, text: str, details: Sequence[Mapping[str, Any]]) -> None:
        """Note a piece: its readable text, and its details where there are any."""
        if self._place == "reasoning_details":
            for detail in details:
                self._add(detail)
        elif self._place is not None and text:
            self._text.append(text)

    def blocks(self) -> list[Reasoning]:
        """What has come, as it has to be sent back; then nothing is left."""
        blocks = [_block(detail) for detail in self._details]
        if self._text:
            blocks.append(Reasoning(text="".join(self._text)))
        self._text, self._details = [], []
        return blocks

    def _add(self, piece: Mapping[str, Any]) -> None:
        """Pieces of one block have its number and its type; texts go on, all else is told once."""
        fields = {name: value for name, value in piece.items() if value is not None}
        name = fields.get("index"), fields.get("type")
        for known in self._details:
            if name[0] is not None and name == (known.get("index"), known.get("type")):
                for text in ("text", "summary"):
                    if text in known and text in fields:
                        fields[text] = known[text] + fields[text]
                known.update(fields)
                return
        self._details.append(fields)


def _block(detail: Mapping[str, Any]) -> Reasoning:
    return Reasoning(
        text=detail_text([detail]),
        signature=detail.get("signature"),
        data=detail.get("data"),
        id=detail.get("id"),
        extra={name: value for name, value in detail.items() if name not in _BLOCK_FIELDS},
    )


def _detail(block: Mapping[str, Any]) -> dict[str, Any]:
    extra = block.get("extra") or {}
    text = "summary" if extra.get("type") == "reasoning.summary" else "text"
    fields = {text: block.get("text"), **{name: block.get(name) for name in _BLOCK_FIELDS[2:]}}
    given = {name: value for name, value in fields.items() if value}
    return {"type": "reasoning.text", **extra, **given}


def put_back(
    message: dict[str, Any], blocks: Sequence[Mapping[str, Any]], place: ReasoningPlace | None
) -> None:
    """Put a turn's reasoning blocks where the service wants them; nowhere, they are left out.

    What the caller has put there by hand stays.
    """
    if place is None or not blocks or place in message:
        return
    text = "".join(block.get("text") or "" for block in blocks)
    if place == "reasoning_details":
        message[place] = [_detail(block) for block in blocks]
    elif place != "thinking":
        message[place] = text
    elif text:
        content = message.get("content") or []
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        thinking = {"type": "thinking", "thinking": [{"type": "text", "text": text}]}
        message["content"] = [thinking, *parts]
