"""The models of Anthropic's service: those that are known, and its list of what it serves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from msgspec import Struct

from providers.catalogue import known_models
from router import Model

from .anthropic_families import SAMPLING, family_of

INPUTS: Mapping[Literal["image", "file"], str] = {"image": "image_input", "file": "pdf_input"}
"""Kinds of input beside text, with the service's names for the ability to read them."""


class Listed(Struct):
    """A model in the service's list; another server of the wire may tell its id alone."""

    id: str
    max_input_tokens: int | None = None
    max_tokens: int | None = None
    capabilities: dict[str, Any] | None = None

    def model(self) -> Model:
        """The same in the router's words; what is not told is not known."""
        able = self.capabilities
        if able is None:
            return Model(
                id=self.id, context_window=self.max_input_tokens, output_limit=self.max_tokens
            )
        by_effort_alone = _can(able, "thinking") and not _can(able, "thinking", "types", "enabled")
        return Model(
            id=self.id,
            context_window=self.max_input_tokens,
            output_limit=self.max_tokens,
            inputs=("text", *(kind for kind, name in INPUTS.items() if _can(able, name))),
            structured_output=_can(able, "structured_outputs"),
            reasoning=_can(able, "thinking"),
            without=SAMPLING if by_effort_alone else (),
        )


class Page(Struct):
    """A page of that list."""

    data: list[Listed]
    has_more: bool = False
    last_id: str | None = None


def _can(able: Any, *path: str) -> bool:
    """Whether the ability of that name is supported."""
    for name in (*path, "supported"):
        able = able.get(name) if isinstance(able, dict) else None
    return able is True


def _model(id_: str) -> Model:
    """One of those that a million tokens fit."""
    return Model(
        id=id_,
        context_window=1_000_000,
        output_limit=128_000,
        inputs=("text", "image", "file"),
        tools=True,
        structured_output=True,
        reasoning=True,
        without=family_of(id_).without,
    )


def _older(id_: str) -> Model:
    """One of those that can still be made to go on with a text."""
    return msgspec.structs.replace(
        _model(id_), context_window=200_000, output_limit=64_000, accepts_prefill=True
    )


MODELS = (
    _model("claude-fable-5-2"),
    _model("claude-mythos-5-2"),
    _model("claude-opus-5-5"),
    _model("claude-sonnet-5-5"),
    _model("claude-haiku-5-5"),
    _model("claude-fable-5-1"),
    _model("claude-mythos-5-1"),
    _model("claude-fable-5"),
    _model("claude-mythos-5"),
    _model("claude-opus-5"),
    _model("claude-sonnet-5"),
    _model("claude-opus-4-8"),
    _model("claude-opus-4-7"),
    _model("claude-opus-4-6"),
    _model("claude-sonnet-4-6"),
    # The service has two names for each of these, and the newer models have one.
    _older("claude-opus-4-5"),
    _older("claude-opus-4-5-20251101"),
    _older("claude-sonnet-4-5"),
    _older("claude-sonnet-4-5-20250929"),
    _older("claude-haiku-4-5"),
    _older("claude-haiku-4-5-20251001"),
)
"""Those that are known, by the service's overview of them and its list of 2 August 2026."""


def catalogued(provider: str) -> dict[str, Model]:
    """The models of the shipped catalogue, which does not say what they refuse."""
    return {
        name: msgspec.structs.replace(model, without=family_of(name).without)
        for name, model in known_models(provider).items()
    }
