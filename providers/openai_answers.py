"""The answers of OpenAI's wire: chunks and whole completions, read into the router's pieces.

What services make of them:

- The terminal marker is a finish reason. `[DONE]` may be missing, and proves nothing alone. Some
  write a reason into every chunk: one that text has followed proves nothing without `[DONE]`.
- Usage comes with the finish reason, in a chunk of its own behind it, or in every chunk.
- Reasoning comes as `reasoning_content` or `reasoning` (some send the same text as both), as
  `reasoning_details`, or as parts of the content.
- Sources come as annotations of the message, as parts of the content, or beside the choices.
- A tool call may have no id, no number, or the same number as another.
- Beside tool calls the reason may be `stop`, as OpenAI's own is where a call was demanded.
- An error comes as the body, as an event, or at a choice.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Literal, TypeAlias

import msgspec

from router import (
    Chunk,
    Citation,
    Event,
    Overloaded,
    ProtocolError,
    Reasoning,
    RouterError,
    UpstreamError,
    decode_json,
)

from .openai_calls import ToolCalls
from .openai_errors import NO_CODES, Codes, Problem
from .openai_messages import IN_MESSAGE
from .openai_reasoning import Reasoner, ReasoningPlace, detail_text
from .openai_replies import (
    Call,
    KnownChunk,
    Message,
    Part,
    Reply,
    ReplyChoice,
    Unnamed,
    dicts,
    noted,
    read_logprobs,
    word,
)

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

_CHUNKS = msgspec.json.Decoder(KnownChunk)
"""Made once, for what comes by the hundred."""


class Speaker:
    """What has to be known of one choice between its pieces."""

    def __init__(self, place: ReasoningPlace | None, new_id: Callable[[], str]) -> None:
        self.reasoning = Reasoner(place)
        self.calls = ToolCalls(new_id)
        self.media: dict[str, Any] = {}

    def show(self, message: Message) -> None:
        """Note pictures, and the id of what was spoken, under their names in a message."""
        if isinstance(message.images, list):
            self.media["images"] = [*self.media.get("images", ()), *message.images]
        if isinstance(message.audio, dict) and (id_ := word(message.audio.get("id"))):
            self.media["audio"] = {"id": id_}


class Reader:
    """Reads one answer, whole or chunk by chunk; a stream's last pieces come from `finish`.

    A finish reason is told when it is sure to be the last word of its choice: once the choice has
    spoken and an event adds nothing to it.

    Args:
        new_id: Makes ids for the tool calls that have none.
        lenient_done: Whether `[DONE]` after a usage ends an answer that has no finish reason.
        place: Where the service wants its reasoning back; `None` where it does not.
        takes_back: What else of a message it takes back.
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
        takes_back: Collection[str] = (),
        codes: Codes = NO_CODES,
    ) -> None:
        self._codes = codes
        self._new_id = new_id
        self._lenient_done = lenient_done
        self._place = place
        self._takes_back = takes_back
        self._speakers: dict[int, Speaker] = {}
        self._cited: set[tuple[Any, ...]] = set()
        self._unnamed = Unnamed()
        self._is_known = True
        self._began = False
        self._identified = False
        self._has_usage = False
        self._spoken: set[int] = set()
        self._ends: dict[int, tuple[str, str]] = {}
        self._told: set[int] = set()
        self._went_on = False
        self.done = False

    @property
    def is_finished(self) -> bool:
        """Whether each choice that was begun has its finish reason, and none went on behind it."""
        ended = self._told | self._ends.keys()
        return bool(ended) and ended >= self._spoken and not self._went_on

    def whole(self, body: bytes) -> list[Piece]:
        """The pieces of a whole completion.

        Raises:
            ProtocolError: It is malformed, or has no choices, or one without a finish reason.
            RouterError: It is an error.
        """
        reply: Reply = decode_json(body, Reply)
        raw = decode_json(body, unique=True)
        if reply.error is not None or not reply.choices:
            raise self._error(raw)
        usage = reply.read_usage()
        self._has_usage = usage is not None
        pieces: list[Piece] = []
        for place, choice in enumerate(reply.choices):
            # Azure gives a choice whose text it filtered out no message, but a finish reason.
            if choice.message is None and choice.error is None and choice.finish_reason is None:
                raise ProtocolError("a choice without a message")
            pieces += self._pieces(choice, choice.message or Message(), place)
            if choice.end is None:
                pieces += self._unfinished(place, "a completion without a finish reason")
        pieces += self._tell(list(self._ends))
        pieces += self._new_citations(reply.read_citations())
        return [*pieces, Chunk(id=word(reply.id), model=word(reply.model), usage=usage, raw=raw)]

    def event(self, event: Event) -> Sequence[Piece]:
        """The pieces that an event of a stream brings; an empty chunk when it brings none.

        The first event that names the answer, those that say what has no name here, and the last
        word on the usage have their `raw`.

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
        reply, raw = self._read(data)
        pieces: list[Piece] = []
        if not self._identified and (reply.id or reply.model):
            self._identified = True
            raw = decode_json(data) if raw is None else raw
            pieces.append(Chunk(id=word(reply.id), model=word(reply.model), raw=raw))
            raw = None
        if reply.choices:
            for place, choice in enumerate(reply.choices):
                pieces += self._pieces(choice, choice.delta or Message(), place)
        elif reply.usage is None and (problem := Problem.of(decode_json(data))) is not None:
            raise problem.error(own=self._codes)
        else:
            pieces += self._tell_sure(sorted(self._spoken))
        if reply.citations or reply.search_results:
            pieces += self._new_citations(reply.read_citations())
        if (usage := reply.read_usage()) is not None:
            self._has_usage = True
            if raw is None and (self._ends or self._told or not pieces):
                raw = decode_json(data)
            pieces.append(Chunk(usage=usage, raw=raw))
        elif raw is not None:
            pieces.append(Chunk(raw=raw))
        if self._ends and self.is_finished:
            pieces.append(Chunk(native_finish_reason=next(iter(self._ends.values()))[1]))
        return pieces or (ALIVE,)

    def end(self) -> None:
        """Take note that the stream has ended.

        Raises:
            ProtocolError: It brought no event at all: it was none.
        """
        if not self._began:
            raise ProtocolError("a body that is no stream of events")

    def finish(self) -> list[Piece]:
        """What the end of the stream makes sure of: the finish reasons that were not told yet."""
        return self._tell_sure(list(self._ends))

    def _read(self, data: bytes) -> tuple[Reply, Any]:
        """A chunk; and its JSON, where it says for the first time what has no name here."""
        reply: Reply
        raw = None
        if self._is_known:
            try:
                reply = _CHUNKS.decode(data)
            except (msgspec.MsgspecError, ValueError, RecursionError):  # told below, if it is one
                self._is_known = False
        if not self._is_known:
            reply, chunk = decode_json(data, Reply), decode_json(data)
            raw = chunk if self._unnamed.is_in(chunk) else None
        # Behind the finish reason an error changes nothing, and the usage beside it still counts.
        if (failure := reply.failure) is not None and not (self.is_finished and reply.usage):
            raise self._error(decode_json(data) if reply.error is not None else {"error": failure})
        return reply, raw

    def _done(self) -> Sequence[Piece]:
        self.done = True
        if self._ends or self._told:
            return self._tell(list(self._ends))
        return self._unfinished(0, "[DONE] came without a finish reason")

    def _unfinished(self, index: int, message: str) -> list[Piece]:
        """What ends a choice that has no finish reason.

        Raises:
            ProtocolError: Its end is not known by anything else.
        """
        if self._lenient_done and self._has_usage:
            return [*self._ended(index), Chunk(finish_reason="other", index=index)]
        raise ProtocolError(message, code="no_finish_reason")

    def _pieces(self, choice: ReplyChoice, message: Message, place: int) -> list[Piece]:
        if choice.error is not None:
            raise self._error({"error": choice.error})
        index = choice.index if type(choice.index) is int else choice.number(place)
        pieces: list[Piece] = []
        if message.reasoning_content or message.reasoning or message.reasoning_details:
            pieces = self._reasoning(message, index)
        content = message.content
        if isinstance(content, list):
            for part in content:
                pieces += self._part(part, index)
            content = None
        probable = choice.logprobs
        if probable is not None and (logprobs := read_logprobs(probable, content)):
            pieces.append(Chunk(text=content or "", logprobs=logprobs, index=index))
        elif content:
            pieces.append(Chunk(text=content, index=index) if index else content)
        if message.refusal:
            pieces.append(Chunk(refusal=message.refusal, index=index))
        if message.audio or message.images:
            self._speaker(index).show(message)
            pieces.append(Chunk(media=True, index=index))
        if message.tool_calls:
            calls = self._speaker(index).calls
            pieces += [Chunk(tool_call=c, index=index) for c in calls.take(message.tool_calls)]
        elif (called := message.function_call) and (called.name or called.arguments):
            call = Call(index=0, function=called)  # what tool calls were before there were several
            calls = self._speaker(index).calls
            pieces += [Chunk(tool_call=c, index=index) for c in calls.take([call])]
        if pieces:
            self._spoken.add(index)
            if index in self._ends:
                self._went_on = True
        if message.annotations:
            pieces += self._new_citations(noted(message.annotations), index)
        if index in self._told:
            # A seal may come behind the reason.
            return pieces + self._blocks(index) if message.reasoning_details else pieces
        if choice.finish_reason:
            self._end(index, choice)
        if not pieces and index in self._spoken:
            return self._tell_sure([index])
        return pieces

    def _end(self, index: int, choice: ReplyChoice) -> None:
        """Note a finish reason, if it is one; the first one counts, unless the choice went on.

        Raises:
            RouterError: It says that the answer was cut.
        """
        end = choice.end
        if end is None:
            return
        if end[0] in BROKEN_FINISHES:
            raise BROKEN_FINISHES[end[0]]("the service broke the answer off", code=end[0])
        if self._went_on or index not in self._ends:
            self._ends[index] = end

    def _reasoning(self, message: Message, index: int) -> list[Piece]:
        details = dicts(message.reasoning_details)
        text = message.thought or detail_text(details)
        self._speaker(index).reasoning.take(text, details)
        return [Chunk(reasoning=text, index=index)] if text else []

    def _part(self, part: Part, index: int) -> list[Piece]:
        pieces: list[Piece] = []
        if thinking := part.reasoning:
            self._speaker(index).reasoning.take(thinking, ())
            pieces.append(Chunk(reasoning=thinking, index=index))
        if part.text:
            pieces.append(Chunk(text=part.text, index=index))
        return [*pieces, *self._new_citations(part.citations(), index)]

    def _new_citations(self, citations: Iterable[Citation], index: int = 0) -> list[Piece]:
        """Those that were not told before: Perplexity repeats all of them with every chunk."""
        pieces: list[Piece] = []
        for cited in citations:
            name = (index, cited.url, cited.title, cited.document, cited.start, cited.end)
            if name not in self._cited:
                self._cited.add(name)
                pieces.append(Chunk(citation=cited, index=index))
        return pieces

    def _ended(self, index: int) -> list[Piece]:
        """What is told when a choice ends: the rest of its calls, and its reasoning."""
        if index not in self._speakers:
            return []
        speaker = self._speakers[index]
        rest = [Chunk(tool_call=delta, index=index) for delta in speaker.calls.end()]
        media = {name: value for name, value in speaker.media.items() if name in self._takes_back}
        if media:
            block = Reasoning(extra={IN_MESSAGE: media})
            rest.append(Chunk(reasoning_block=block, index=index))
        return [*rest, *self._blocks(index)]

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

    def _tell_sure(self, choices: Iterable[int]) -> list[Piece]:
        """As `_tell`, but for an answer that has gone on behind a finish reason."""
        return [] if self._went_on else self._tell(choices)

    def _tell(self, choices: Iterable[int]) -> list[Piece]:
        """The ends of those of these choices that have one."""
        pieces: list[Piece] = []
        for index in choices:
            if index in self._ends:
                reason, native = self._ends.pop(index)
                self._told.add(index)
                finish = FINISH_REASONS.get(reason, "other")
                if finish == "stop" and index in self._speakers and self._speakers[index].calls:
                    finish = "tool_calls"
                chunk = Chunk(finish_reason=finish, native_finish_reason=native, index=index)
                pieces += [*self._ended(index), chunk]
        return pieces
