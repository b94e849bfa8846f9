"""What a call asks of a model beyond its parameters: kinds of input, and room."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

from router.messages import Audio, File, Image, Message
from router.types import InputKind, Model

BYTES_PER_TOKEN = 5.0
"""Bytes of text that a token holds at the most, on the average of any longer text: English has
about 4.5, code and other languages fewer. So the estimate is a lower bound, and passes over only
a target that would refuse the prompt."""

_KINDS: dict[type, InputKind] = {Image: "image", Audio: "audio", File: "file"}


class Demand(Struct, frozen=True, kw_only=True):
    """What the messages and parameters of a call need.

    Attributes:
        inputs: Kinds of input other than text.
        tokens: The least that the text amounts to, in tokens.
        tools, structured_output: Whether the call uses them.
    """

    inputs: frozenset[InputKind]
    tokens: int
    tools: bool
    structured_output: bool

    @classmethod
    def of(cls, messages: Iterable[Message], parameters: Mapping[str, Any]) -> Demand:
        """Look a call over."""
        size = 0
        inputs: set[InputKind] = set()
        for message in messages:
            size += len(message.text.encode("utf-8", "replace"))
            if not isinstance(message.content, str):
                inputs.update(_KINDS[type(p)] for p in message.content if type(p) in _KINDS)
        return cls(
            inputs=frozenset(inputs),
            tokens=int(size / BYTES_PER_TOKEN),
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
