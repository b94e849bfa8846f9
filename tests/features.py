"""What a provider can do, as docs/providers.md lists it, and how a test says that it shows it.

    @emulated("cohere", "tools", "stop")      # our own fixture of the wire
    @live("llama.cpp", "streaming")           # a real server, or real weights
    @recorded("h2o", "streaming")             # what a real server sent, outside the cassettes

What the cassettes show is read from the recordings themselves: `recorded_features`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Literal

import pytest
from recorded.harness import Meaning, Recording, Wire

from router.messages import check_messages

GROUPS: dict[str, dict[str, str | None]] = {
    "Calls": {
        "whole answers": None,
        "streaming": None,
        "errors": None,
        "system prompts": None,
        "several turns": None,
        "cached tokens": None,
    },
    "Inputs and tools": {
        "images": None,
        "audio": None,
        "files": None,
        "tools": "tools",
        "tool results": "tools",
        "structured output": "response_format",
        "cache markers": None,
    },
    "Answers": {
        "reasoning": None,
        "reasoning effort": "reasoning_effort",
        "stop": "stop",
        "seed": "seed",
        "several answers": "n",
        "log probabilities": "logprobs",
        "citations": None,
    },
}
"""The features, with the parameter that a provider without one lacks."""

FEATURES = {name: parameter for group in GROUPS.values() for name, parameter in group.items()}

PARTS = {"Image": "images", "Audio": "audio", "File": "files"}


How = Literal["emulated", "live", "recorded"]


def shown(how: How, provider: str, *features: str) -> pytest.MarkDecorator:
    """The mark of a test that shows features of a provider.

    Raises:
        ValueError: A feature is not among `FEATURES`.
    """
    if unknown := set(features) - FEATURES.keys():
        raise ValueError(f"no such feature: {', '.join(sorted(unknown))}")
    return pytest.mark.shows(how, provider, *features)


emulated: Callable[..., pytest.MarkDecorator] = partial(shown, "emulated")
live: Callable[..., pytest.MarkDecorator] = partial(shown, "live")
recorded: Callable[..., pytest.MarkDecorator] = partial(shown, "recorded")


def recorded_features(wire: Wire, recording: Recording) -> set[str]:
    """What the replay of a recording shows, by its answer and, if it was recorded, its request."""
    meaning = wire.meaning(recording)
    if not isinstance(meaning, Meaning):
        return {"errors"}
    found = set(_of_answer(recording, meaning))
    if recording.request is not None:
        found.update(_of_request(*wire.neutral(recording.request, recording)))
    return found


def _of_answer(recording: Recording, meaning: Meaning) -> Iterator[str]:
    yield "streaming" if recording.streaming else "whole answers"
    if meaning.tool_calls:
        yield "tools"
    if meaning.reasoning or meaning.seals:
        yield "reasoning"
    if meaning.citations:
        yield "citations"
    if meaning.usage is not None and meaning.usage.cached_tokens:
        yield "cached tokens"


def _of_request(messages: list[Any], parameters: dict[str, Any]) -> Iterator[str]:
    given = check_messages(messages)
    for message in given:
        if message.role in ("system", "developer"):
            yield "system prompts"
        if message.role == "assistant":
            yield "several turns"
        if message.role == "tool":
            yield "tool results"
        parts = message.content if isinstance(message.content, tuple) else ()
        yield from (PARTS[kind] for part in parts if (kind := type(part).__name__) in PARTS)
        if "cache_control" in repr(message):
            yield "cache markers"
    for feature, parameter in FEATURES.items():
        wished = parameters.get(parameter or "")
        if feature == "several answers":
            wished = (wished or 1) > 1 or None
        if feature not in ("tools", "tool results") and wished is not None:
            yield feature
