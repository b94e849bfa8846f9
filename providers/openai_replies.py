"""The shapes of OpenAI's answers, and what the services make of them, read into the router's.

What no answer is to fail for (annotations, search results, reasoning details, log probabilities) is
of any shape here, and read as far as it is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from router import Citation, Usage


class Function(Struct):
    """What is called; the arguments should be text, and some servers send the object."""

    name: str | None = None
    arguments: Any = None


class CustomTool(Struct):
    """The same for a tool that takes free text."""

    name: str | None = None
    input: str | None = None


class Call(Struct):
    """A tool call, or a piece of one."""

    index: int | None = None
    id: str | None = None
    function: Function | None = None
    custom: CustomTool | None = None

    @property
    def name(self) -> str | None:
        called = self.custom or self.function
        return None if called is None else called.name or None

    @property
    def arguments(self) -> str:
        if self.custom is not None:
            return self.custom.input or ""
        arguments = "" if self.function is None else self.function.arguments
        if isinstance(arguments, str | None):
            return arguments or ""
        return msgspec.json.encode(arguments).decode()


class Part(Struct):
    """A part of a content; Mistral's thinking has parts of its own, and its references have ids."""

    text: str | None = None
    thinking: str | list[Part] | None = None
    reference_ids: list[Any] | None = None

    @property
    def reasoning(self) -> str:
        if isinstance(self.thinking, list):
            return "".join(part.text or "" for part in self.thinking)
        return self.thinking or ""


class Source(Struct):
    """What a part of the answer stands on: a page or a document, wherever the service tells it."""

    url: str | None = None
    title: str | None = None
    document_id: str | None = None
    file_id: str | None = None
    start_index: int | None = None
    end_index: int | None = None
    content: str | None = None
    snippet: str | None = None

    def citation(self, raw: Any) -> Citation:
        # Of an annotation that points at nothing, both ends are 0.
        is_placed = bool(self.end_index)
        return Citation(
            url=self.url,
            title=self.title,
            document=self.document_id or self.file_id,
            quote=self.content or self.snippet or None,
            start=self.start_index if is_placed else None,
            end=self.end_index if is_placed else None,
            raw=raw,
        )


class Message(Struct):
    """A message, or what a chunk adds to it: they have the same fields."""

    content: str | list[Part] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: Any = None
    refusal: str | None = None
    tool_calls: list[Call] | None = None
    function_call: Function | None = None
    annotations: Any = None
    audio: Any = None  # OpenAI's speech
    images: Any = None  # OpenRouter's pictures
    executed_tools: Any = None  # what Groq has run

    @property
    def has_unnamed(self) -> bool:
        """Whether it holds what the router has no name for."""
        return bool(self.audio or self.images or self.executed_tools)


class ReplyChoice(Struct):
    """One of the answers."""

    index: int = 0
    delta: Message | None = None
    message: Message | None = None
    finish_reason: str | None = None
    native_finish_reason: str | None = None
    logprobs: Any = None
    error: Any = None
    usage: dict[str, Any] | None = None


class GroqExtension(Struct):
    """Groq's own place for the usage of a stream, and for why it was broken off."""

    usage: dict[str, Any] | None = None
    error: Any = None


class Reply(Struct):
    """A completion, a chunk of one, or an error: whatever a 200 may bring."""

    choices: list[ReplyChoice] | None = None
    usage: dict[str, Any] | None = None
    id: str | None = None
    model: str | None = None
    error: Any = None
    x_groq: GroqExtension | None = None
    citations: Any = None
    search_results: Any = None

    def read_citations(self) -> list[Citation]:
        """The sources of the whole answer: with titles where the service tells those."""
        if sources := dicts(self.search_results):
            return [_citation(source, source) for source in sources]
        urls = self.citations if isinstance(self.citations, list) else ()
        return [Citation(url=url, raw=url) for url in urls if isinstance(url, str)]

    def read_usage(self) -> Usage | None:
        """The usage, wherever the service puts it."""
        usage = self.usage
        if usage is None and self.x_groq is not None:
            usage = self.x_groq.usage
        if usage is None and self.choices:
            usage = self.choices[0].usage
        return read_usage(usage) if usage else None


def read_logprobs(logprobs: Any, text: str | None) -> tuple[Any, ...]:
    """The entries of a choice's log probabilities, one a token.

    Together has lists of tokens and of numbers beside each other, and in a stream a number beside
    the text; they are made entries here.
    """
    if isinstance(logprobs, float | int) and not isinstance(logprobs, bool):  # a certain one is 0
        return ({"token": text or "", "logprob": logprobs},)
    if not isinstance(logprobs, dict):
        return ()
    entries = [
        entry
        for place in ("content", "refusal")
        if isinstance(logprobs.get(place), list)
        for entry in logprobs[place]
    ]
    tokens, numbers = logprobs.get("tokens"), logprobs.get("token_logprobs")
    if isinstance(tokens, list) and isinstance(numbers, list):
        pairs = zip(tokens, numbers, strict=False)
        entries += [{"token": token, "logprob": number} for token, number in pairs]
    return tuple(entries)


def noted(annotations: Any) -> Iterator[Citation]:
    """The citations among annotations: their type says so, and names what holds them."""
    for note in dicts(annotations):
        kind = note.get("type")
        if isinstance(kind, str) and kind.endswith("citation"):
            inner = note.get(kind)
            yield _citation(inner if isinstance(inner, dict) else note, note)


def _citation(source: dict[str, Any], raw: dict[str, Any]) -> Citation:
    try:
        return msgspec.convert(source, Source).citation(raw)
    except msgspec.ValidationError:
        return Citation(raw=raw)


def dicts(value: Any) -> list[dict[str, Any]]:
    """The dicts of a list, where it is one: what no answer is to fail for."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def read_usage(usage: Mapping[str, Any]) -> Usage:
    """The router's usage from the wire's; what is no number there is unknown here."""
    sent = _mapping(usage, "prompt_tokens_details")
    received = _mapping(usage, "completion_tokens_details")
    input_tokens, output_tokens = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    reasoning_tokens = _count(received, "reasoning_tokens")
    beside = _count(usage, "reasoning_tokens")  # Perplexity
    heard, spoken = _count(sent, "audio_tokens"), _count(received, "audio_tokens")
    if input_tokens is not None and output_tokens is not None:
        # A part may be left out of the whole that it belongs to, as the total shows.
        missing = (_count(usage, "total_tokens") or 0) - input_tokens - output_tokens
        if missing == reasoning_tokens:
            output_tokens += missing  # xAI
        elif missing == heard:
            input_tokens += missing  # Mistral
        if beside is not None and beside > output_tokens:
            output_tokens += beside  # Perplexity, whose total leaves it out too
    # The other names are Together's and Moonshot's, DeepSeek's, Mistral's.
    cached_tokens = _count(sent, "cached_tokens")
    if cached_tokens is None:
        cached_tokens = _count(
            usage, "cached_tokens", "prompt_cache_hit_tokens", "num_cached_tokens"
        )
    # The second name is Alibaba's, and in the other place Vercel's.
    cache_write_tokens = _count(sent, "cache_write_tokens", "cache_creation_input_tokens")
    if cache_write_tokens is None:
        cache_write_tokens = _count(usage, "cache_creation_input_tokens")
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_tokens=cached_tokens,
        cache_write_tokens=cache_write_tokens,
        reasoning_tokens=beside if reasoning_tokens is None else reasoning_tokens,
        audio_tokens=None if heard is spoken is None else (heard or 0) + (spoken or 0),
    )


def _mapping(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = fields.get(name)
    return value if isinstance(value, dict) else {}


def _count(fields: Mapping[str, Any], *names: str) -> int | None:
    return next((n for name in names if isinstance(n := fields.get(name), int)), None)
