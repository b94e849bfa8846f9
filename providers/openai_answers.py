"""The answers of OpenAI's wire: chunks and whole completions, read into the router's pieces.

What services make of them:

- The terminal marker is a finish reason. `[DONE]` may be missing, and proves nothing alone.
- Usage comes with the finish reason, in a chunk of its own behind it, or in every chunk.
- Reasoning comes as `reasoning_content` or `reasoning` (some send the same text as both), as
  `reasoning_details`, or as parts of the content.
- Sources come as annotations of the message, as parts of the content, or beside the choices.
- A tool call may have no id, and no number.
- An error comes as the body, as an event, or at a choice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import Struct

from router import (
    Chunk,
    Citation,
    Event,
    Overloaded,
    ProtocolError,
    RouterError,
    ToolCallDelta,
    UpstreamError,
    Usage,
    decode_json,
)

from .openai_errors import NO_CODES, Codes, Problem
from .openai_reasoning import Reasoner, ReasoningPlace, detail_text

Piece: TypeAlias = str | Chunk
FinishReason: TypeAlias = Literal[
    "stop", "length", "tool_calls", "content_filter", "refusal", "other"
]

FINISH_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "eos": "stop",  # Together
    "eos_token": "stop",  # Hugging Face's text generation inference
    "stop_sequence": "stop",  # the same
    "length": "length",
    "model_length": "length",  # Mistral: the window is full
    "model_context_window_exceeded": "length",  # Z.ai
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "sensitive": "content_filter",  # Z.ai
    "refusal": "refusal",
}
"""The wire's words, and those of its services, in the router's vocabulary; others are `other`."""

BROKEN_FINISHES: dict[str, type[RouterError]] = {
    "error": UpstreamError,  # OpenRouter, Mistral
    "network_error": UpstreamError,  # Z.ai
    "abort": UpstreamError,  # vLLM, when it was told to drop the request
    "insufficient_system_resource": Overloaded,  # DeepSeek
}
"""Finish reasons that say that the answer was cut."""

ALIVE = Chunk()


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
    """Groq's own place for the usage of a stream."""

    usage: dict[str, Any] | None = None


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
        if sources := _dicts(self.search_results):
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


class Speaker:
    """What has to be known of one choice between its pieces."""

    def __init__(self, place: ReasoningPlace | None, new_id: Callable[[], str]) -> None:
        self.reasoning = Reasoner(place)
        self.calls = ToolCalls(new_id)


class Reader:
    """Reads one answer, whole or chunk by chunk.

    Args:
        new_id: Makes ids for the tool calls that have none.
        lenient_done: Whether `[DONE]` after a usage ends an answer that has no finish reason.
        place: Where the service wants its reasoning back; `None` where it does not.
        codes: What error codes mean that are the service's alone.

    Attributes:
        done: Whether `[DONE]` came: nothing behind it is to be read.
    """

    def __init__(
        self,
        new_id: Callable[[], str],
        *,
        lenient_done: bool = False,
        place: ReasoningPlace | None = None,
        codes: Codes = NO_CODES,
    ) -> None:
        self._codes = codes
        self._new_id = new_id
        self._lenient_done = lenient_done
        self._place = place
        self._speakers: dict[int, Speaker] = {}
        self._cited: set[tuple[Any, ...]] = set()
        self._began = False
        self._identified = False
        self._has_usage = False
        self._finished = False
        self.done = False

    def whole(self, body: bytes) -> list[Piece]:
        """The pieces of a whole completion.

        Raises:
            ProtocolError: It is malformed, or has no choices.
            RouterError: It is an error.
        """
        reply: Reply = decode_json(body, Reply)
        raw = decode_json(body)
        if reply.error is not None or not reply.choices:
            raise self._error(raw)
        pieces: list[Piece] = []
        for choice in reply.choices:
            if choice.message is None and choice.error is None:
                raise ProtocolError("a choice without a message")
            pieces += self._pieces(choice, choice.message or Message())
        pieces += self._new_citations(reply.read_citations())
        ids = Chunk(
            id=reply.id or None, model=reply.model or None, usage=reply.read_usage(), raw=raw
        )
        return [*pieces, ids]

    def event(self, event: Event) -> Sequence[Piece]:
        """The pieces that an event of a stream brings; an empty chunk when it brings none.

        Raises:
            ProtocolError: It is malformed, or `[DONE]` without a finish reason before it.
            RouterError: It is an error.
        """
        self._began = True
        data = event.data
        if not data:
            return (ALIVE,)
        if data.startswith(b"[DONE]"):
            return self._done()
        reply: Reply = decode_json(data, Reply)
        if reply.error is not None:
            raise self._error(decode_json(data))
        pieces: list[Piece] = []
        if not self._identified and (reply.id or reply.model):
            self._identified = True
            pieces.append(Chunk(id=reply.id or None, model=reply.model or None))
        if reply.choices:
            for choice in reply.choices:
                pieces += self._pieces(choice, choice.delta or Message())
        elif reply.usage is None and (problem := Problem.of(decode_json(data))) is not None:
            raise problem.error(own=self._codes)
        if reply.citations or reply.search_results:
            pieces += self._new_citations(reply.read_citations())
        if (usage := reply.read_usage()) is not None:
            self._has_usage = True
            pieces.append(Chunk(usage=usage, raw=decode_json(data)))
        return pieces or (ALIVE,)

    def end(self) -> None:
        """Take note that the stream has ended.

        Raises:
            ProtocolError: It brought no event at all: it was none.
        """
        if not self._began:
            raise ProtocolError("a body that is no stream of events")

    def _done(self) -> Sequence[Piece]:
        self.done = True
        if self._finished:
            return ()
        if self._lenient_done and self._has_usage:
            return (*self._blocks(0), Chunk(finish_reason="other"))
        raise ProtocolError("[DONE] came without a finish reason", code="no_finish_reason")

    def _pieces(self, choice: ReplyChoice, message: Message) -> list[Piece]:
        if choice.error is not None:
            raise self._error({"error": choice.error})
        index = choice.index
        pieces = self._reasoning(message, index)
        content = message.content
        if isinstance(content, list):
            for part in content:
                pieces += self._part(part, index)
            content = None
        if logprobs := read_logprobs(choice.logprobs, content):
            pieces.append(Chunk(text=content or "", logprobs=logprobs, index=index))
        elif content:
            pieces.append(Chunk(text=content, index=index) if index else content)
        if message.refusal:
            pieces.append(Chunk(refusal=message.refusal, index=index))
        if message.tool_calls:
            calls = self._speaker(index).calls
            pieces += [Chunk(tool_call=c, index=index) for c in calls.take(message.tool_calls)]
        elif message.function_call is not None:  # what tool calls were before there were several
            call = Call(index=0, function=message.function_call)
            calls = self._speaker(index).calls
            pieces += [Chunk(tool_call=c, index=index) for c in calls.take([call])]
        if message.annotations:
            pieces += self._new_citations(_noted(message.annotations), index)
        if choice.finish_reason:
            pieces += [*self._blocks(index), self._finish(choice, choice.finish_reason)]
        return pieces

    def _reasoning(self, message: Message, index: int) -> list[Piece]:
        if not (message.reasoning_content or message.reasoning or message.reasoning_details):
            return []
        details = _dicts(message.reasoning_details)
        text = message.reasoning_content or message.reasoning or detail_text(details)
        self._speaker(index).reasoning.take(text, details)
        return [Chunk(reasoning=text, index=index)] if text else []

    def _part(self, part: Part, index: int) -> list[Piece]:
        pieces: list[Piece] = []
        if thinking := part.reasoning:
            self._speaker(index).reasoning.take(thinking, ())
            pieces.append(Chunk(reasoning=thinking, index=index))
        if part.text:
            pieces.append(Chunk(text=part.text, index=index))
        documents = [Citation(document=str(id_)) for id_ in part.reference_ids or ()]
        return [*pieces, *self._new_citations(documents, index)]

    def _new_citations(self, citations: Iterable[Citation], index: int = 0) -> list[Piece]:
        """Those that were not told before: Perplexity repeats all of them with every chunk."""
        pieces: list[Piece] = []
        for cited in citations:
            name = (index, cited.url, cited.title, cited.document, cited.start, cited.end)
            if name not in self._cited:
                self._cited.add(name)
                pieces.append(Chunk(citation=cited, index=index))
        return pieces

    def _blocks(self, index: int) -> list[Piece]:
        if index not in self._speakers:
            return []
        blocks = self._speakers[index].reasoning.blocks()
        return [Chunk(reasoning_block=block, index=index) for block in blocks]

    def _speaker(self, index: int) -> Speaker:
        if index not in self._speakers:
            self._speakers[index] = Speaker(self._place, self._new_id)
        return self._speakers[index]

    def _error(self, body: Any) -> RouterError:
        """The error that a body that is no completion stands for."""
        problem = Problem.of(body)
        if problem is None:
            return ProtocolError("a completion without choices")
        return problem.error(own=self._codes)

    def _finish(self, choice: ReplyChoice, reason: str) -> Chunk:
        if reason in BROKEN_FINISHES:
            raise BROKEN_FINISHES[reason]("the service broke the answer off", code=reason)
        self._finished = True
        return Chunk(
            finish_reason=FINISH_REASONS.get(reason, "other"),
            native_finish_reason=choice.native_finish_reason or reason,
            index=choice.index,
        )


class ToolCalls:
    """The tool calls of one choice, numbered so that the pieces of one call share a number.

    A service may give no number, or the same one to calls that have ids of their own. A call
    without an id is given one, since the tool's result has to name it.
    """

    def __init__(self, new_id: Callable[[], str]) -> None:
        self._new_id = new_id
        self._ids: dict[int, str | None] = {}
        self._numbers: dict[int, int] = {}
        self._last = 0

    def take(self, calls: Sequence[Call]) -> list[ToolCallDelta]:
        """The pieces that come together, of one call or of several.

        The id and the name of a call are told once, however often the service does.
        """
        many = len(calls) > 1
        return [self._take(call, place if many else None) for place, call in enumerate(calls)]

    def _take(self, call: Call, place: int | None) -> ToolCallDelta:
        index = call.index
        number = self._number(call, place) if index is None else self._own_number(call, index)
        self._last = number
        if number in self._ids:
            return ToolCallDelta(index=number, arguments=call.arguments)
        self._ids[number] = call.id or None
        # 37 characters with a UUID: OpenAI takes 40.
        id_ = call.id or f"call_{self._new_id().replace('-', '')}"
        return ToolCallDelta(index=number, id=id_, name=call.name, arguments=call.arguments)

    def _own_number(self, call: Call, index: int) -> int:
        number = self._numbers.setdefault(index, index)
        known = self._ids.get(number)
        if known and call.id and call.id != known:
            number = self._numbers[index] = self._free_number()
        return number

    def _number(self, call: Call, place: int | None) -> int:
        """That of a piece without one: by its id, or its place among the pieces beside it.

        A piece that names nothing, and stands alone, goes on with the last call.
        """
        if call.id:
            known = (number for number, id_ in self._ids.items() if id_ == call.id)
            return next(known, self._free_number())
        if call.name:
            return self._free_number()
        begun = list(self._ids)
        return begun[place] if place is not None and place < len(begun) else self._last

    def _free_number(self) -> int:
        return max(self._ids, default=-1) + 1


def read_logprobs(logprobs: Any, text: str | None) -> tuple[Any, ...]:
    """The entries of a choice's log probabilities, one a token.

    Together has lists of tokens and of numbers beside each other, and in a stream a number beside
    the text; they are made entries here.
    """
    if isinstance(logprobs, float):
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


def _noted(annotations: Any) -> Iterator[Citation]:
    """The citations among annotations: their type says so, and names what holds them."""
    for note in _dicts(annotations):
        kind = note.get("type")
        if isinstance(kind, str) and kind.endswith("citation"):
            inner = note.get(kind)
            yield _citation(inner if isinstance(inner, dict) else note, note)


def _citation(source: dict[str, Any], raw: dict[str, Any]) -> Citation:
    try:
        return msgspec.convert(source, Source).citation(raw)
    except msgspec.ValidationError:
        return Citation(raw=raw)


def _dicts(value: Any) -> list[dict[str, Any]]:
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
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_tokens=cached_tokens,
        # The second name is Alibaba's.
        cache_write_tokens=_count(sent, "cache_write_tokens", "cache_creation_input_tokens"),
        reasoning_tokens=beside if reasoning_tokens is None else reasoning_tokens,
        audio_tokens=None if heard is spoken is None else (heard or 0) + (spoken or 0),
    )


def _mapping(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = fields.get(name)
    return value if isinstance(value, dict) else {}


def _count(fields: Mapping[str, Any], *names: str) -> int | None:
    return next((n for name in names if isinstance(n := fields.get(name), int)), None)
