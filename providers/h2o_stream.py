"""The stream of an H2o answer: TGI's server-sent events, or chat-ui 0.7's lines of JSON. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

from msgspec import Struct

from router import (
    COMMENT,
    SSE,
    BadRequest,
    Chunk,
    Exchange,
    HttpResponse,
    JSONLines,
    Overloaded,
    ProtocolError,
    RouterError,
    UpstreamError,
    Usage,
)
from router.types import FinishReason

END_MARK = "<|endoftext|>"
"""Ends an answer also where a model spells it in ordinary tokens."""

MARKS = frozenset({"</s>", "<|startoftext|>"})
"""Marks that are no text where they are a whole token; `</s>` may be HTML in all other places."""

TGI_ERRORS: dict[str, type[RouterError]] = {"validation": BadRequest, "overloaded": Overloaded}
"""By TGI's `error_type`. All others are the server's failure to do its work."""

TGI_MESSAGES = {"Input validation error": "validation", "Model is overloaded": "overloaded"}
"""How TGI's messages begin: all that version 0.7 passes on of an error."""

FINISH_REASONS: dict[str, FinishReason] = {
    "length": "length",
    "eos_token": "stop",
    "stop_sequence": "stop",
}


class Token(Struct):
    """A token of TGI's."""

    text: str = ""
    special: bool = False


class Details(Struct):
    """How a generation ended; `input_length` is told by TGI 2.2 and later."""

    finish_reason: str | None = None
    generated_tokens: int | None = None
    input_length: int | None = None


class Event(Struct):
    """An event of either stream: TGI's have no `type`, chat-ui 0.7's have one."""

    token: Token | str | None = None
    generated_text: str | None = None
    details: Details | None = None
    error: str | None = None
    error_type: str | None = None
    type: str | None = None
    status: str | None = None
    message: str | None = None
    text: str = ""


def read(response: HttpResponse, answer: Answer) -> Exchange:
    """Read a message's stream to its last event; where that does not come, the host objects."""
    events = Events()
    while True:
        data: bytes = yield response
        for event in events.feed(data) if data else events.end():
            yield from answer.take(event)
            if answer.finished:
                return
        if not data:
            return


class Events:
    """Bytes to events, of either stream.

    The first byte says which it is: content types do not (0.7 sends none, 0.8 a wrong one).
    """

    def __init__(self) -> None:
        self._decoder: SSE | JSONLines | None = None

    def feed(self, data: bytes) -> Iterator[Event | None]:
        """The events that are complete with `data`; `None` for a keep-alive.

        Raises:
            ProtocolError: An event is no JSON, of another shape, or endless.
        """
        if self._decoder is None:
            data = data.lstrip()
            if not data:
                return
            self._decoder = JSONLines() if data[:1] in (b"{", b"[") else SSE()
        if isinstance(self._decoder, JSONLines):
            # The array is what TGI's compatible endpoint answers where a proxy drops `stream`.
            for value in self._decoder.feed(data, Event | list[Event]):
                yield from value if isinstance(value, list) else [value]
            return
        for event in self._decoder.feed(data):
            if event is COMMENT:
                yield None
            elif event.data != b"[DONE]":
                yield event.json(Event)

    def end(self) -> Iterator[Event | None]:
        """The event of a last line without its end; none where the line was cut as well."""
        with suppress(ProtocolError):
            yield from self.feed(b"\n\n")


class Cut:
    """Ends a text at the first of some strings, which is left out, however the text is split.

    TGI sends the stop sequence that ended an answer, other servers do not. What may be the
    beginning of such a string is held back until it is known.

    Attributes:
        found: Whether the end has come.
    """

    def __init__(self, ends: Sequence[str]) -> None:
        self._ends = ends
        self._held = ""
        self.found = False

    def feed(self, text: str) -> str:
        """What is known to belong to the text, `text` being its next piece."""
        if self.found:
            return ""
        text = self._held + text
        places = [(at + len(end), at) for end in self._ends if (at := text.find(end)) >= 0]
        if places:
            self.found = True
            self._held = ""
            return text[: min(places)[1]]
        known = len(text) - max(_overlap(text, end) for end in self._ends)
        self._held = text[known:]
        return text[:known]

    def flush(self) -> str:
        """What was held back, when nothing follows."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, end: str) -> int:
    """How many of the last characters of `text` may be the beginning of `end`."""
    start = max(0, len(text) - len(end) + 1)
    while (at := text.find(end[0], start)) >= 0:
        if end.startswith(text[at:]):
            return len(text) - at
        start = at + 1
    return 0


class Answer:
    """What the events of one message say, as pieces of an answer.

    Args:
        inputs: The rendered prompt.
        stop: The strings that end the answer.
        limit: How many tokens were asked for at most.

    Attributes:
        finished: Whether nothing more is to be read.
    """

    def __init__(self, inputs: str, stop: Sequence[str], limit: int) -> None:
        self._inputs = inputs
        self._limit = limit
        self._cut = Cut((*stop, END_MARK))
        self._tokens = 0
        self._sent: list[str] = []
        self.finished = False

    def take(self, event: Event | None) -> Iterator[str | Chunk]:
        """The pieces that an event brings; an empty chunk for a sign of life.

        Raises:
            RouterError: The event reports a failure.
        """
        if event is None:
            yield Chunk()
        elif event.error is not None:
            raise _failed(event.error, event.error_type)
        elif event.type is None:
            yield from self._take_token(event)
        else:
            yield from self._take_update(event)

    def _take_token(self, event: Event) -> Iterator[str | Chunk]:
        """An event of TGI's, or the whole of an answer that was not streamed after all."""
        special = False
        if isinstance(event.token, Token):
            self._tokens += 1
            special = event.token.special
            text = "" if special or event.token.text in MARKS else event.token.text
        else:
            text = event.generated_text or ""
        yield self._piece(text)
        if event.generated_text is not None or self._cut.found:
            yield from self._finish(event.details or Details(), special=special)

    def _take_update(self, event: Event) -> Iterator[str | Chunk]:
        """A line of chat-ui 0.7's."""
        if event.status == "error":
            # The final answer that follows is no answer: it may be the user's own prompt.
            raise _failed(event.message or "", None)
        if event.type == "finalAnswer":
            yield self._piece(self._unsent(event.text))
        elif event.type == "stream" and isinstance(event.token, str):
            token = event.token.rstrip("\0")  # 0.9.1 pads tokens to 16 characters
            self._sent.append(token)
            yield self._piece(token)
        else:
            yield Chunk()
        if event.type == "finalAnswer" or self._cut.found:
            yield from self._finish(Details(), special=False)

    def _unsent(self, text: str) -> str:
        """What the final answer has beyond the tokens.

        The last visible token comes with TGI's generated text, and chat-ui sends no line for it.
        Of an empty answer the text is the user's message.
        """
        sent = "".join(self._sent).lstrip()
        text = text.lstrip()
        if not sent and text.rstrip() == self._inputs.strip():
            return ""
        return text.removeprefix(sent) if text.startswith(sent) else ""

    def _piece(self, text: str) -> str | Chunk:
        return self._cut.feed(text) or Chunk()

    def _finish(self, details: Details, *, special: bool) -> Iterator[str | Chunk]:
        if held := self._cut.flush():
            yield held
        usage = None
        if details.generated_tokens is not None:
            usage = Usage(input_tokens=details.input_length, output_tokens=details.generated_tokens)
        yield Chunk(
            finish_reason=self._finish_reason(details.finish_reason, special=special),
            native_finish_reason=details.finish_reason,
            usage=usage,
        )
        self.finished = True

    def _finish_reason(self, native: str | None, *, special: bool) -> FinishReason:
        """TGI's own reason, else what the last token tells; chat-ui 0.7 leaves it unknown."""
        if self._cut.found:
            return "stop"
        if native is not None:
            return FINISH_REASONS.get(native, "other")
        if special:
            return "stop"
        return "length" if self._tokens >= self._limit else "other"


def _failed(message: str, kind: str | None) -> RouterError:
    """The error for what TGI reports within a stream, `kind` being its word for it."""
    if kind is None:
        kind = next((k for begin, k in TGI_MESSAGES.items() if message.startswith(begin)), None)
    return TGI_ERRORS.get(kind or "", UpstreamError)(message or "the generation failed", code=kind)
