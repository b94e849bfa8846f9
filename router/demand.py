"""What a call asks of a model beyond its parameters: kinds of input, and room."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from router.messages import Message
from router.parameters import SYNONYMS
from router.parts import Audio, File, Image, Video
from router.types import InputKind, Model, Usage

MOST_BYTES_PER_TOKEN = 5.0
"""Bytes of text that a token holds at the most, on the average of a text: so the estimate of the
context is a lower bound, and passes over only a target that would refuse the prompt. Measured on
2026-11-22: 4.1 to 4.3 in six recorded requests to OpenAI (16 % too low); with SmolLM2's tokenizer
3.3 to 4.5 in Python, 2.6 to 4.1 in Markdown, 2.0 in JSON, 2.3 to 2.8 in Russian, German and
Spanish, 1.5 in Chinese (11 to 70 % too low)."""

LEAST_BYTES_PER_TOKEN = 1.4
"""The least that was measured, for the cost that a prompt may come to at the most."""

_LIMITS = next(names for names in SYNONYMS if "max_tokens" in names)

_DESCRIPTIONS = ("tools", "response_format")
"""Parameters that are part of the prompt."""

_KINDS: dict[type, InputKind] = {Image: "image", Audio: "audio", Video: "image", File: "file"}
"""What a part asks a model to take. No catalogue tells reliably who takes films; whoever takes no
pictures takes none."""


class Demand(Struct, frozen=True, kw_only=True):
    """What the messages and parameters of a call need.

    Attributes:
        inputs: Kinds of input other than text.
        tokens: The least that the text amounts to, in tokens.
        most_tokens: The most that it amounts to.
        tools, structured_output: Whether the call uses them.
    """

    inputs: frozenset[InputKind]
    tokens: int
    most_tokens: int
    tools: bool
    structured_output: bool

    @classmethod
    def of(cls, messages: Iterable[Message], parameters: Mapping[str, Any]) -> Demand:
        """Look a call over."""
        size = 0
        inputs: set[InputKind] = set()
        for message in messages:
            size += _bytes(message.text)
            for call in message.tool_calls:
                size += _bytes(call.arguments)
            if not isinstance(message.content, str):
                inputs.update(_KINDS[type(p)] for p in message.content if type(p) in _KINDS)
        return cls(
            inputs=frozenset(inputs),
            tokens=int(size / MOST_BYTES_PER_TOKEN),
            most_tokens=int(size / LEAST_BYTES_PER_TOKEN),
            tools=bool(parameters.get("tools")),
            structured_output=parameters.get("response_format") is not None,
        )

    def exceeds(self, model: Model) -> tuple[str, str] | None:
        """What the model lacks, as a reason and its detail; `None` where it is not known to."""
        if model.inputs is not None and (lacking := self.inputs - set(model.inputs)):
            return "input", f"takes no {', '.join(sorted(lacking))} input"
        if self.tools and model.tools is False:
            return "feature", "calls no tools"
        if self.structured_output and model.structured_output is False:
            return "feature", "has no structured output"
        if model.context_window is not None and self.tokens > model.context_window:
            return (
                "context",
                f"at least {self.tokens} tokens do not fit its window of {model.context_window}",
            )
        return None

    def overspends(self, model: Model, arguments: Mapping[str, Any], limit: float) -> str | None:
        """Why an attempt at the model may cost more than a limit in US dollars, or `None`.

        What has no bound counts as too much: an unknown price, an answer without a limit, input
        other than text.

        Args:
            model: The target's.
            arguments: What the target is given.
            limit: US dollars.
        """
        longest = next((arguments[n] for n in _LIMITS if n in arguments), model.output_limit)
        if model.prices is None:
            return "its price is unknown"
        if longest is None or self.inputs:
            return "its cost has no bound: say max_tokens, and send text alone"
        described = [arguments[name] for name in _DESCRIPTIONS if name in arguments]
        tokens = self.most_tokens + int(len(msgspec.json.encode(described)) / LEAST_BYTES_PER_TOKEN)
        answers = longest * arguments.get("n", 1)
        most = model.prices.cost(Usage(input_tokens=tokens, output_tokens=answers))
        if most is None or most > limit:
            return f"it may cost up to {most:.6f} US dollars"
        return None


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
