"""The shapes of OpenAI's answers, and what the services make of them, read into the router's.

What no answer is to fail for (annotations, search results, reasoning details, log probabilities,
numbers, ids, usage) is of any shape here, and read as far as it is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import NoneType
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import fields

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

    index: Any = None
    id: Any = None
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
    """A part of a content; Mistral has parts of its own for thinking and for references."""

    type: Any = None
    text: str | None = None
    thinking: str | list[Part] | None = None
    reference_ids: Any = None
    tool: Any = None
    url: Any = None
    title: Any = None
    description: Any = None
    favicon: Any = None

    @property
    def reasoning(self) -> str:
        if isinstance(self.thinking, list):
            return "".join(part.text or "" for part in self.thinking)
        return self.thinking or ""

    def citations(self) -> list[Citation]:
        """The sources that it names: documents by their ids, or the page that a tool found."""
        if isinstance(self.thinking, list):
            return [cited for part in self.thinking for cited in part.citations()]
        if self.type == "tool_reference":
            raw = {name: value for name, value in msgspec.structs.asdict(self).items() if value}
            return [_citation(raw, raw)]
        ids = self.reference_ids if isinstance(self.reference_ids, list) else ()
        return [Citation(document=str(id_)) for id_ in ids]


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
    reasoning_content: Any = None
    reasoning: Any = None
    reasoning_details: Any = None
    refusal: str | None = None
    tool_calls: list[Call] | None = None
    function_call: Function | None = None
    annotations: Any = None
    audio: Any = None
    images: Any = None

    @property
    def thought(self) -> str:
        """The readable reasoning that stands beside the content, under either name."""
        for text in (self.reasoning_content, self.reasoning):
            if text and isinstance(text, str):
                return text
        return ""


class ReplyChoice(Struct):
    """One of the answers."""

    index: Any = 0
    delta: Message | None = None
    message: Message | None = None
    finish_reason: str | None = None
    native_finish_reason: Any = None
    logprobs: Any = None
    error: Any = None
    usage: Any = None

    def number(self, place: int) -> int:
        """Which of the choices it is: its place where nothing says."""
        number = whole_number(self.index)
        return place if number is None else number

    @property
    def end(self) -> tuple[str, str] | None:
        """Its finish reason, and the word of the service behind a gateway; `None` before."""
        reason = self.finish_reason
        if not reason or reason == "null":  # Alibaba's word for none
            return None
        native = self.native_finish_reason
        return reason, native if native and isinstance(native, str) else reason


_OTHER_TIERS = ("flex", "priority")
"""Service tiers with prices of their own."""

_SEARCHES = ("num_sources_used", "num_search_queries")
"""What xAI and Perplexity count, and charge for, beside the tokens."""


class Reply(Struct):
    """A completion, a chunk of one, or an error: whatever a 200 may bring."""

    choices: Sequence[ReplyChoice] | None = None
    usage: Any = None
    id: Any = None
    model: Any = None
    error: Any = None
    x_groq: Any = None
    citations: Any = None
    search_results: Any = None
    service_tier: Any = None

    def read_citations(self) -> list[Citation]:
        """The sources of the whole answer: with titles where the service tells those."""
        if sources := dicts(self.search_results):
            return [_citation(source, source) for source in sources]
        urls = self.citations if isinstance(self.citations, list) else ()
        return [Citation(url=url, raw=url) for url in urls if isinstance(url, str)]

    def read_usage(self) -> Usage | None:
        """The usage, wherever the service puts it."""
        usage = self.usage
        if usage is None and isinstance(self.x_groq, dict):
            usage = self.x_groq.get("usage")
        if usage is None and self.choices:
            usage = self.choices[0].usage
        if not usage or not isinstance(usage, dict):
            return None
        read = read_usage(usage)
        if self.service_tier in _OTHER_TIERS:
            read = msgspec.structs.replace(read, priced_otherwise=True)
        return read

    @property
    def failure(self) -> Any:
        """Why it is no answer; Groq says in a place of its own why a stream was broken off."""
        if self.error is None and self.x_groq and isinstance(self.x_groq, dict):
            return self.x_groq.get("error") or None
        return self.error


# -- what a chunk says that has no name here


class KnownPart(Part, forbid_unknown_fields=True):
    """A part of a content without anything in it that has no name here."""


class KnownCall(Call, forbid_unknown_fields=True):
    """A piece of a tool call without anything else in it."""

    type: Any = None


class KnownMessage(Message, forbid_unknown_fields=True):
    """What a chunk adds to a message, without anything that has no name here.

    What is `None` has no name where it is there, and many services say that it is not.
    """

    content: str | list[KnownPart] | None = None  # type: ignore[assignment]  # a list of fewer
    tool_calls: list[KnownCall] | None = None  # type: ignore[assignment]  # likewise
    role: Any = None
    audio: None = None
    images: None = None
    token_id: Any = None  # Together's, beside each text
    channel: Any = None  # Groq's: whether a text is reasoning


class KnownChoice(ReplyChoice, forbid_unknown_fields=True):
    """One of the answers of such a chunk."""

    delta: KnownMessage | None = None
    seed: Any = None  # Together's
    text: Any = None  # Together's: the same as in its delta
    stop_reason: None = None  # vLLM's
    token_ids: None = None  # the same


class KnownChunk(Reply, forbid_unknown_fields=True):
    """A chunk that says nothing but what has a name here, or is the same all through a stream."""

    choices: Sequence[KnownChoice] | None = None
    object: Any = None
    created: Any = None
    system_fingerprint: Any = None
    provider: Any = None  # OpenRouter's
    obfuscation: Any = None  # OpenAI's: it has the length of nothing
    p: Any = None  # Mistral's: the same
    prompt_token_ids: None = None  # vLLM's


class Unnamed:
    """What the chunks of one stream say that has no name here."""

    def __init__(self) -> None:
        self._told: dict[tuple[int | None, str], Any] = {}

    def is_in(self, chunk: dict[str, Any]) -> bool:
        """Whether a chunk says any such thing for the first time.

        A delta adds to the answer whatever it says; what stands beside it may be said again with
        every chunk, as Perplexity's search results are.
        """
        adds = False
        beside: dict[tuple[int | None, str], Any] = {
            (None, name): chunk[name] for name in chunk.keys() - _IN_CHUNKS
        }
        for choice in dicts(chunk.get("choices")):
            index = whole_number(choice.get("index"))
            beside |= {(index, name): choice[name] for name in choice.keys() - _IN_CHOICES}
            adds = adds or not _is_known(choice.get("delta") or {})
        new = {
            place: value
            for place, value in beside.items()
            if value not in _NOTHING and value != self._told.get(place)
        }
        self._told |= new
        return adds or bool(new)


def _names(kind: type[Struct]) -> frozenset[str]:
    """The fields that have a name here whatever they hold."""
    return frozenset(each.name for each in fields(kind) if each.type is not NoneType)


_IN_CHUNKS, _IN_CHOICES = _names(KnownChunk), _names(KnownChoice)
_NOTHING: tuple[Any, ...] = (None, "", [], {})


def _is_known(delta: dict[str, Any]) -> bool:
    told = {name: value for name, value in delta.items() if value not in _NOTHING}
    try:
        msgspec.convert(told, KnownMessage)
    except msgspec.ValidationError:
        return False
    return True


# -- values


def word(value: Any) -> str | None:
    """An id or a name, which may be a number; `None` where it is empty, or neither."""
    return str(value) if isinstance(value, str | int) and value != "" else None


MOST_DIGITS = 20
"""More than any count of tokens has; Python refuses to read thousands of them."""


def whole_number(value: Any) -> int | None:
    """A number of tokens, or of a choice or a call, which may be a text or have a fraction of 0."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and value.isdecimal() and len(value) < MOST_DIGITS:
        return int(value)
    return int(value) if isinstance(value, float) and value.is_integer() else None


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
        priced_otherwise=bool(spoken or _count(usage, *_SEARCHES)),
    )


def _mapping(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = fields.get(name)
    return value if isinstance(value, dict) else {}


def _count(fields: Mapping[str, Any], *names: str) -> int | None:
    for name in names:
        value = fields.get(name)
        if type(value) is int:
            return value
        if value is not None and (count := whole_number(value)) is not None:
            return count
    return None
