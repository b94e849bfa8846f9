"""What has come of an answer so far, put together from its pieces."""

from __future__ import annotations

from typing import Any

from router.types import (
    Choice,
    Chunk,
    Citation,
    Completion,
    FinishReason,
    Reasoning,
    ToolCall,
    Trace,
    Usage,
)


class _Call:
    """A tool call that is still coming."""

    __slots__ = ("arguments", "custom", "id", "name", "signature")

    def __init__(self) -> None:
        self.signature: str | None = None
        self.custom = False
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []

    def done(self) -> ToolCall:
        return ToolCall(
            id=self.id,
            name=self.name,
            arguments="".join(self.arguments),
            signature=self.signature,
            custom=self.custom,
        )


class _Choice:
    """A choice that is still coming."""

    __slots__ = (
        "blocks",
        "calls",
        "citations",
        "finish_reason",
        "logprobs",
        "media",
        "native_finish_reason",
        "reasoning",
        "refusal",
        "text",
    )

    def __init__(self) -> None:
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.refusal: list[str] = []
        self.calls: dict[int, _Call] = {}
        self.blocks: list[Reasoning] = []
        self.citations: list[Citation] = []
        self.logprobs: list[Any] = []
        self.media = False
        self.finish_reason: FinishReason | None = None
        self.native_finish_reason: str | None = None

    def add(self, chunk: Chunk) -> None:
        if chunk.text:
            self.text.append(chunk.text)
        if chunk.reasoning:
            self.reasoning.append(chunk.reasoning)
        if chunk.refusal:
            self.refusal.append(chunk.refusal)
        if (delta := chunk.tool_call) is not None:
            call = self.calls.setdefault(delta.index, _Call())
            call.id = delta.id or call.id
            call.name = delta.name or call.name
            call.signature = delta.signature or call.signature
            call.custom = delta.custom or call.custom
            call.arguments.append(delta.arguments)
        if chunk.reasoning_block is not None:
            self.blocks.append(chunk.reasoning_block)
        if chunk.citation is not None:
            self.citations.append(chunk.citation)
        if chunk.logprobs:
            self.logprobs += chunk.logprobs
        self.media = self.media or chunk.media
        if chunk.finish_reason is not None:
            self.finish_reason = chunk.finish_reason
            self.native_finish_reason = chunk.native_finish_reason

    def done(self, index: int) -> Choice:
        return Choice(
            index=index,
            text="".join(self.text),
            reasoning="".join(self.reasoning),
            refusal="".join(self.refusal),
            tool_calls=tuple(self.calls[key].done() for key in sorted(self.calls)),
            reasoning_blocks=tuple(self.blocks),
            citations=tuple(self.citations),
            logprobs=tuple(self.logprobs),
            media=self.media,
            finish_reason=self.finish_reason,
            native_finish_reason=self.native_finish_reason,
        )


class Answer:
    """The pieces of one attempt.

    Args:
        expected: How many choices were asked for: one that has not begun is not finished.

    Attributes:
        has_content: Whether anything of the answer has come (not a role, not a keep-alive).
        finished: Whether every choice has its finish reason.
        may_be_over: Whether a finish reason has come that need not be the last word.
        ignored: How many pieces came after their choice's finish reason, and were left out.
    """

    __slots__ = (
        "_choices",
        "_expected",
        "_first",
        "finished",
        "has_content",
        "id",
        "ignored",
        "may_be_over",
        "model",
        "raws",
        "usage",
    )

    def __init__(self, expected: int = 1) -> None:
        self._expected = expected
        self._first = _Choice()
        self._choices = {0: self._first}
        self.finished = False
        self.may_be_over = False
        self.has_content = False
        self.ignored = 0
        self.id: str | None = None
        self.model: str | None = None
        self.usage: Usage | None = None
        self.raws: list[Any] = []

    def add_text(self, text: str) -> bool:
        """Take a piece of text of the first choice; whether it belongs to the answer."""
        if self._first.finish_reason is not None:
            self.ignored += 1
            return False
        if not text:
            return False
        self._first.text.append(text)
        self.has_content = True
        self.may_be_over = False
        return True

    def add(self, chunk: Chunk) -> bool:
        """Take a chunk; whether it is to be delivered."""
        self.id = chunk.id or self.id
        self.model = chunk.model or self.model
        if chunk.raw is not None:
            self.raws.append(chunk.raw)
        if chunk.usage is not None:
            self.usage = chunk.usage
        choice = self._choices.get(chunk.index)
        if choice is None:
            choice = self._choices[chunk.index] = _Choice()
        has_content = chunk.has_content
        if choice.finish_reason is not None and (has_content or chunk.finish_reason is not None):
            self.ignored += 1
            return False
        choice.add(chunk)
        self.has_content = self.has_content or has_content
        if chunk.finish_reason is not None:
            ended = sum(c.finish_reason is not None for c in self._choices.values())
            self.finished = ended == max(len(self._choices), self._expected)
        elif has_content:
            self.finished = self.may_be_over = False
        elif chunk.native_finish_reason is not None:
            self.may_be_over = True
        return has_content or not _is_silent(chunk)

    def resume(self, begun: Answer) -> None:
        """Begin with what another attempt has delivered; it is no content of this one.

        Whole reasoning blocks stay behind: they are sealed for their origin.
        """
        first, before = self._first, begun._first
        first.text = before.text.copy()
        first.reasoning = before.reasoning.copy()
        first.citations = before.citations.copy()
        first.logprobs = before.logprobs.copy()

    @property
    def can_be_continued(self) -> bool:
        """Whether what has come is the beginning of one text, and nothing else."""
        first = self._first
        is_alone = self._expected == len(self._choices) == 1
        return is_alone and bool(first.text) and not (first.calls or first.refusal or first.media)

    @property
    def text(self) -> str:
        """The text of the first choice so far."""
        return "".join(self._first.text)

    @property
    def characters(self) -> int:
        """How long the texts of all choices are so far."""
        return sum(len(piece) for choice in self._choices.values() for piece in choice.text)

    @property
    def finish_reason(self) -> FinishReason | None:
        return self._first.finish_reason

    def completion(
        self, target: str, model: str, trace: Trace, origin: str | None = None
    ) -> Completion:
        """What has come, as a completion."""
        return Completion(
            choices=tuple(self._choices[index].done(index) for index in sorted(self._choices)),
            target=target,
            model=self.model or model,
            trace=trace,
            id=self.id,
            usage=self.usage,
            origin=origin,
            cost_usd=trace.cost_usd,
            raws=tuple(self.raws),
        )


def _is_silent(chunk: Chunk) -> bool:
    """Whether a chunk without content tells the caller nothing at all."""
    return (
        chunk.id is None
        and chunk.model is None
        and chunk.finish_reason is None
        and chunk.usage is None
        and chunk.reasoning_block is None
        and chunk.citation is None
        and not chunk.logprobs
        and chunk.raw is None
    )
