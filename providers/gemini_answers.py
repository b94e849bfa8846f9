"""The answers of Gemini's wire: whole ones and streams, read into the router's pieces.

A stream is a row of whole answers, each with the parts that are new. What decides:

- The terminal marker is a candidate's `finishReason`, or the `blockReason` of a refused prompt.
  Models before Gemini 2 and some proxies give one with every reply of a stream, or with empty ones
  before the text. So it is told at once only where a reply without it has brought something, and
  else when the stream ends.
- A part with `thought` is reasoning. A `thoughtSignature` seals the part that it stands at: at a
  call it is the call's, anywhere else it becomes a reasoning block with its place in the text.
- Usage comes with every reply of a stream, and grows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
from msgspec import Raw, Struct

from router import (
    Chunk,
    ContentFiltered,
    Event,
    ProtocolError,
    Reasoning,
    Usage,
    decode_json,
)

from .gemini_calls import Calls, FunctionCall
from .gemini_errors import Problem
from .gemini_requests import MADE
from .gemini_sources import Grounding, Recitation, Sources
from .openai_answers import FinishReason

Piece: TypeAlias = str | Chunk

FINISH_REASONS: dict[str, FinishReason] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
}
"""The wire's words in the router's vocabulary; others are `other`."""

ALIVE = Chunk()

_SEALS = frozenset({"text", "thought", "thoughtSignature"})


class Part(Struct, rename="camel"):
    """A part of a message, as far as it has names here."""

    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: FunctionCall | None = None


class Content(Struct):
    """A message, or what a reply of a stream adds to it."""

    parts: list[Raw] | None = None


class Logprobs(Struct, rename="camel"):
    """The tokens that were chosen, and beside each the likeliest."""

    chosen_candidates: list[dict[str, Any]] | None = None
    top_candidates: list[dict[str, Any]] | None = None

    def entries(self) -> tuple[dict[str, Any], ...]:
        """One for each token: as it is on the wire, with its alternatives in `topCandidates`."""
        chosen, tops = self.chosen_candidates or [], self.top_candidates or []
        return tuple(
            {**token, "topCandidates": tops[number].get("candidates", [])}
            if number < len(tops)
            else token
            for number, token in enumerate(chosen)
        )


class Candidate(Struct, rename="camel"):
    """One of the answers."""

    index: int | None = None
    content: Content | None = None
    finish_reason: str | None = None
    grounding_metadata: Grounding | None = None
    citation_metadata: Recitation | None = None
    logprobs_result: Logprobs | None = None


class Modality(Struct, rename="camel"):
    """How many tokens are of one kind."""

    modality: str | None = None
    token_count: int | None = None


class UsageMetadata(Struct, rename="camel"):
    """The wire's usage: thoughts are beside the answer's tokens, a search's beside the prompt's."""

    prompt_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None
    cached_content_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None
    prompt_tokens_details: list[Modality] | None = None
    candidates_tokens_details: list[Modality] | None = None

    def usage(self) -> Usage:
        made = self.candidates_tokens_details or ()
        details = [*(self.prompt_tokens_details or ()), *made]
        return Usage(
            input_tokens=_sum(self.prompt_token_count, self.tool_use_prompt_token_count),
            output_tokens=_sum(self.candidates_token_count, self.thoughts_token_count),
            cached_tokens=self.cached_content_token_count,
            reasoning_tokens=self.thoughts_token_count,
            audio_tokens=_sum(*(each.token_count for each in details if each.modality == "AUDIO")),
            priced_otherwise=any(each.token_count for each in made if each.modality != "TEXT"),
        )


class PromptFeedback(Struct, rename="camel"):
    """What became of the prompt."""

    block_reason: str | None = None


class Reply(Struct, rename="camel"):
    """A whole answer, a piece of a stream, or an error: whatever a 200 may bring."""

    candidates: list[Candidate] | None = None
    prompt_feedback: PromptFeedback | None = None
    usage_metadata: UsageMetadata | None = None
    model_version: str | None = None
    response_id: str | None = None
    error: Any = None


class Reader:
    """Reads one answer, whole or reply by reply; what it ends with comes from `finish`.

    Args:
        new_id: Makes a fresh id, for an answer that has none.

    Attributes:
        done: Never so: more may follow a finish reason.
    """

    done = False

    def __init__(self, new_id: Callable[[], str]) -> None:
        self._new_id = new_id
        self._choices: dict[int, ChoiceReader] = {}
        self._id: str | None = None
        self._began = False
        self._identified = False
        self._searched = False
        self._calls = 0

    @property
    def is_finished(self) -> bool:
        """Whether each choice that was begun has its finish reason, and nothing behind it."""
        choices = self._choices.values()
        return bool(choices) and all(choice.finish_reason for choice in choices)

    def whole(self, body: bytes) -> list[Piece]:
        """The pieces of a whole answer, or of a stream that came as a JSON list.

        Raises:
            ProtocolError: It is malformed, or without a finish reason.
            RouterError: It is an error, or the prompt was refused.
        """
        raw = decode_json(body, unique=True)
        if isinstance(raw, list):
            replies: list[Reply] = decode_json(body, list[Reply])
        else:
            replies = [decode_json(body, Reply)]
        pieces = [piece for reply in replies for piece in self._pieces(reply)]
        if not self._choices:
            raise ProtocolError("an answer without candidates")
        if not self.is_finished:
            raise ProtocolError("an answer without a finish reason", code="no_finish_reason")
        return [*pieces, Chunk(raw=raw)]

    def event(self, event: Event) -> Sequence[Piece]:
        """The pieces that an event of a stream brings; an empty chunk when it brings none.

        The last event is the `raw` of the answer: it holds what has no name here.

        Raises:
            ProtocolError: It is malformed.
            RouterError: It is an error, or the prompt was refused.
        """
        self._began = True
        if not event.data:
            return (ALIVE,)
        reply: Reply = event.json(Reply)
        pieces = self._pieces(reply)
        if any(candidate.finish_reason for candidate in reply.candidates or ()):
            pieces.append(Chunk(raw=event.json()))
            pieces += [
                p for choice in self._choices.values() if choice.is_sure for p in choice.finish()
            ]
            unsure = [c.finish_reason for c in self._choices.values() if not c.is_sure]
            if unsure and self.is_finished:
                pieces.append(Chunk(native_finish_reason=unsure[0]))
        return pieces or (ALIVE,)

    def end(self) -> None:
        """Take note that the stream has ended.

        Raises:
            ProtocolError: It brought no event at all: it was none.
        """
        if not self._began:
            raise ProtocolError("a body that is no stream of events")

    def finish(self) -> list[Piece]:
        """What stands at the end of each choice that has one, where it has not been told yet."""
        return [piece for choice in self._choices.values() for piece in choice.finish()]

    def _pieces(self, reply: Reply) -> list[Piece]:
        if reply.error is not None:
            raise Problem.of(reply.error).error()
        if (feedback := reply.prompt_feedback) is not None and feedback.block_reason:
            reason = feedback.block_reason
            raise ContentFiltered(f"the prompt was refused: {reason}", code=reason)
        self._id = self._id or reply.response_id
        pieces: list[Piece] = []
        if not self._identified and (reply.response_id or reply.model_version):
            self._identified = True
            pieces.append(Chunk(id=reply.response_id or None, model=reply.model_version or None))
        for candidate in reply.candidates or ():
            pieces += self._choice(candidate.index or 0).pieces(candidate)
            found = candidate.grounding_metadata
            self._searched = self._searched or bool(found and found.grounding_chunks)
        if reply.usage_metadata is not None and (usage := reply.usage_metadata.usage()) != Usage():
            if self._searched:
                usage = msgspec.structs.replace(usage, priced_otherwise=True)
            pieces.append(Chunk(usage=usage))
        return pieces

    def _choice(self, index: int) -> ChoiceReader:
        if index not in self._choices:
            self._choices[index] = ChoiceReader(index, self._call_id)
        return self._choices[index]

    def _call_id(self) -> str:
        """An id for a call that has none: the same whenever this answer is read."""
        self._id = self._id or self._new_id()
        self._calls += 1
        return f"{MADE}{self._id}-{self._calls}"


class ChoiceReader:
    """Reads one of the answers.

    Attributes:
        finish_reason: The wire's word, when it has come, and nothing behind it.
        is_sure: Whether it is the last word: not all that this server sends has one.
    """

    def __init__(self, index: int, new_id: Callable[[], str]) -> None:
        self._index = index
        self._text: list[str] = []
        self._length = 0
        self._calls = Calls(new_id)
        self._sources = Sources()
        self._told = False
        self._is_going_on = False
        self.finish_reason: str | None = None
        self.is_sure = False

    def pieces(self, candidate: Candidate) -> list[Piece]:
        """What a reply brings of this answer."""
        pieces: list[Piece] = []
        for raw in (candidate.content and candidate.content.parts) or ():
            pieces += self._part(raw)
        if candidate.logprobs_result is not None:
            entries = candidate.logprobs_result.entries()
            pieces.append(Chunk(logprobs=entries, index=self._index))
        self._sources.add(candidate.grounding_metadata, candidate.citation_metadata)
        if candidate.finish_reason:
            self.finish_reason, self.is_sure = candidate.finish_reason, self._is_going_on
        elif pieces:
            self.finish_reason, self._is_going_on = None, True
        return pieces

    def finish(self) -> list[Piece]:
        """The end of the answer, citations and all, if it has come; told once."""
        index, reason = self._index, self.finish_reason
        if reason is None or self._told:
            return []
        self._told = True
        pieces: list[Piece] = [Chunk(tool_call=d, index=index) for d in self._calls.end()]
        citations = self._sources.citations("".join(self._text))
        pieces += [Chunk(citation=citation, index=index) for citation in citations]
        finish = FINISH_REASONS.get(reason, "other")
        if finish == "stop" and self._calls.count:
            finish = "tool_calls"
        return [*pieces, Chunk(finish_reason=finish, native_finish_reason=reason, index=index)]

    def _part(self, raw: Raw) -> list[Piece]:
        part: Part = decode_json(bytes(raw), Part)
        signature = part.thought_signature or None
        if part.function_call is not None:
            deltas = self._calls.take(part.function_call, signature)
            return [Chunk(tool_call=delta, index=self._index) for delta in deltas]
        if part.text is None and (whole := decode_json(bytes(raw))).keys() - _SEALS:
            block = self._block(0, {"part": whole}, signature=signature)
            return [msgspec.structs.replace(block, media="inlineData" in whole)]
        read = self._thought if part.thought else self._said
        return read(part.text or "", signature)

    def _thought(self, text: str, signature: str | None) -> list[Piece]:
        pieces: list[Piece] = [Chunk(reasoning=text, index=self._index)] if text else []
        if signature:
            pieces.append(self._block(0, text=text, signature=signature))
        return pieces

    def _said(self, text: str, signature: str | None) -> list[Piece]:
        self._text.append(text)
        self._length += len(text)
        index = self._index
        pieces: list[Piece] = [Chunk(text=text, index=index) if index else text] if text else []
        if signature:
            pieces.append(self._block(len(text), signature=signature))
        return pieces

    def _block(self, length: int, extra: Mapping[str, Any] | None = None, **fields: Any) -> Chunk:
        """What has to be sent back, with its place: the last `length` characters of the text."""
        place = {"start": self._length - length, "end": self._length}
        block = Reasoning(extra={**place, **(extra or {})}, **fields)
        return Chunk(reasoning_block=block, index=self._index)


def _sum(*counts: int | None) -> int | None:
    """The sum of those that are told, or `None` where none is."""
    told = [count for count in counts if count is not None]
    return sum(told) if told else None
