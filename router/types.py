"""The values that calls are made of and answered with: all of them frozen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct, field

if TYPE_CHECKING:
    from router.messages import Message

from router.errors import RouterError

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "refusal", "other"]
"""One vocabulary for every wire; the provider's own word stays beside it."""

InputKind = Literal["text", "image", "audio", "file"]


class Usage(Struct, frozen=True, kw_only=True):
    """What an attempt consumed, in tokens; `None` where the provider did not say.

    `input_tokens` includes the cached ones and `output_tokens` the reasoning ones, whatever the
    wire's own habit is. `priced_otherwise` says that something was used whose price is not that of
    its tokens here (a search, speech, a cache that is kept for longer, another service tier), so
    that what it cost is unknown.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    audio_tokens: int | None = None
    priced_otherwise: bool = False

    @property
    def total_tokens(self) -> int | None:
        """Input and output together, or `None` when either is unknown."""
        if self.input_tokens is None or self.output_tokens is None:
            return None
        return self.input_tokens + self.output_tokens


class Reasoning(Struct, frozen=True, kw_only=True):
    """A block of a model's reasoning, as it has to be sent back in the next turn.

    Attributes:
        text: What can be read of it; empty where the provider keeps it to itself.
        signature: The provider's seal on the text.
        data: What stands for a text that was redacted or encrypted.
        id: The provider's name for the block.
        extra: What else the provider wants back.
    """

    text: str = ""
    signature: str | None = None
    data: str | None = None
    id: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


class Citation(Struct, frozen=True, kw_only=True):
    """Where a part of the answer comes from.

    Attributes:
        url, title: Of the source.
        document: The number or id of the source among those that the request gave.
        quote: What the source says.
        start, end: The part of the answer's text that it supports, in characters.
        raw: The citation as the provider sent it.
    """

    url: str | None = None
    title: str | None = None
    document: str | None = None
    quote: str | None = None
    start: int | None = None
    end: int | None = None
    raw: Any = None


class ToolCall(Struct, frozen=True, kw_only=True):
    """A call that the model asks for; `arguments` is the JSON text exactly as it came.

    `signature` is a provider's seal that has to be sent back to it, and to nobody else. Of a
    `custom` tool, which takes free text, `arguments` is that text.
    """

    id: str
    name: str
    arguments: str
    signature: str | None = None
    custom: bool = False

    @property
    def parse_error(self) -> str | None:
        """Why `arguments` is not a JSON object, or `None` when it is one or need not be."""
        if self.custom:
            return None
        try:
            msgspec.json.decode(self.arguments.encode(), type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeError) as error:
            return str(error)
        return None

    def parsed(self) -> dict[str, Any]:
        """The arguments as a dict.

        Raises:
            ValueError: The model wrote something that is not a JSON object; see `parse_error`.
        """
        try:
            return msgspec.json.decode(self.arguments.encode(), type=dict[str, Any])
        except msgspec.MsgspecError as error:
            raise ValueError(f"the arguments of tool call {self.name!r}: {error}") from None


class ToolCallDelta(Struct, frozen=True, kw_only=True):
    """A piece of a tool call; pieces of one `index` belong together, and each says `custom`."""

    index: int = 0
    id: str | None = None
    name: str | None = None
    arguments: str = ""
    signature: str | None = None
    custom: bool = False


class Chunk(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A piece of an answer. A provider may yield a plain `str` for a piece of text.

    A chunk that holds nothing says that the server is alive (a documented keep-alive): it resets
    the idle limit and commits to nothing. `index` is the choice that the piece belongs to.

    `reasoning` is a piece of readable reasoning as it comes; `reasoning_block` is a whole block,
    yielded at its end where it has to be sent back (with the text that was yielded before).
    `logprobs` are entries of the wire's own shape; `raw` is what the wire says and we have no
    name for. `media` says that the answer has a picture or a sound here, or a piece of one: it
    stands in the block of this chunk or, where it has none, in the `raw` of the next that has one.

    A `native_finish_reason` alone says that the answer may be over, though more has followed such
    a reason before: the host waits for that no longer than for what follows an end.
    """

    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    tool_call: ToolCallDelta | None = None
    reasoning_block: Reasoning | None = None
    citation: Citation | None = None
    logprobs: tuple[Any, ...] = ()
    finish_reason: FinishReason | None = None
    native_finish_reason: str | None = None
    usage: Usage | None = None
    media: bool = False
    index: int = 0
    id: str | None = None
    model: str | None = None
    raw: Any = None

    @property
    def has_content(self) -> bool:
        """Whether this is a part of the answer: text, reasoning, refusal, media or a tool call."""
        said = self.text or self.reasoning or self.refusal or self.media
        return bool(said) or self.tool_call is not None


class Restart(Struct, frozen=True, kw_only=True):
    """In `chunks()`: the answer begins anew at another target; forget what came before.

    All pieces so far are void: text, reasoning and tool calls, of every choice.

    Attributes:
        target: Where it begins anew.
        discard_characters: How long the pieces' `text` was, all choices together, for callers
            that show nothing else.
    """

    target: str
    discard_characters: int


class Choice(Struct, frozen=True, kw_only=True):
    """One of the answers that were asked for.

    `media` says that it has pictures or sounds. They are in the completion's `raws` or, where they
    have to be sent back, in the `extra` of reasoning blocks.
    """

    index: int = 0
    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning_blocks: tuple[Reasoning, ...] = ()
    citations: tuple[Citation, ...] = ()
    logprobs: tuple[Any, ...] = ()
    media: bool = False
    finish_reason: FinishReason | None = None
    native_finish_reason: str | None = None


class Tier(Struct, frozen=True, kw_only=True):
    """Prices that hold for all tokens of a request whose input is longer than `above` tokens.

    What is `None` costs what it costs below.
    """

    above: int
    input: float | None = None
    output: float | None = None
    cached: float | None = None
    cache_write: float | None = None
    input_audio: float | None = None


class Prices(Struct, frozen=True, kw_only=True):
    """What a model costs, in US dollars per million tokens.

    Attributes:
        input, output: Of ordinary tokens; reasoning ones count as output.
        cached: Of input that the provider had in its cache; as `input` where it has no price.
        cache_write: Of input that it puts there; as `input` where it has no price.
        input_audio: Of audio that is put in; where it has no price, its cost is unknown.
        tiers: Other prices for longer requests, in ascending order.
    """

    input: float
    output: float
    cached: float | None = None
    cache_write: float | None = None
    input_audio: float | None = None
    tiers: tuple[Tier, ...] = ()

    def at(self, input_tokens: int) -> Prices:
        """The prices of a request of this length."""
        prices = self
        for tier in self.tiers:
            if input_tokens > tier.above:
                given = {
                    name: value
                    for name, value in msgspec.structs.asdict(tier).items()
                    if name != "above" and value is not None
                }
                prices = msgspec.structs.replace(prices, **given)
        return prices

    def cost(self, usage: Usage | None) -> float | None:
        """What a usage costs in US dollars, or `None` when that cannot be told."""
        if usage is None or usage.input_tokens is None or usage.output_tokens is None:
            return None
        if usage.priced_otherwise:
            return None
        prices = self.at(usage.input_tokens)
        if usage.audio_tokens and (prices.input_audio is None or usage.cached_tokens):
            return None  # of what was cached, nobody says whether it was audio
        cached, written = usage.cached_tokens or 0, usage.cache_write_tokens or 0
        audio = usage.audio_tokens or 0
        plain = max(0, usage.input_tokens - cached - written - audio)
        total = (
            plain * prices.input
            + cached * (prices.input if prices.cached is None else prices.cached)
            + written * (prices.input if prices.cache_write is None else prices.cache_write)
            + audio * (prices.input_audio or 0.0)
            + usage.output_tokens * prices.output
        )
        return total / 1e6


class Model(Struct, frozen=True, kw_only=True):
    """A model that a provider advertises.

    `context_window` and `output_limit` are in tokens. `without` names parameters of the
    provider's signature that this model lacks, `renames` maps such a parameter to the name that
    this model takes it under. `None` means unknown, which never excludes a model.
    """

    id: str
    aliases: tuple[str, ...] = ()
    context_window: int | None = None
    output_limit: int | None = None
    inputs: tuple[InputKind, ...] | None = None
    tools: bool | None = None
    structured_output: bool | None = None
    reasoning: bool | None = None
    accepts_prefill: bool = False
    without: tuple[str, ...] = ()
    renames: Mapping[str, str] = field(default_factory=dict)
    prices: Prices | None = None
    description: str | None = None
    provider: str | None = None


class Target(Struct, frozen=True):
    """Where one attempt goes: a provider, one of its models, and settings for both.

    `parameters` are defaults for calls to this target (what the caller passes wins). `tags` say
    what a policy may require of it: a region, a retention. Targets of one `quota_group` share
    an upstream quota, and cool together. `max_concurrency` limits the attempts under way at
    once. `str()` gives `provider/model`.
    """

    provider: str
    model: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    quota_group: str | None = None
    max_concurrency: Annotated[int, Meta(ge=1)] | None = None

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}"


class PassedOver(Struct, frozen=True, kw_only=True):
    """A target that a call did not go to, and why: nothing was sent to it."""

    target: str
    reason: str
    detail: str


class Attempt(Struct, frozen=True, kw_only=True):
    """One try of a request at one target.

    Times are in milliseconds: `started_ms` since the call began, `ttft_ms` to the first content.
    `renamed` maps the caller's parameter names to the target's, `dropped` lists the tuning
    parameters that it lacks, `unchecked` those that it takes without declaring them. `left_out`
    is what of the messages is another provider's own (its sealed reasoning), and was not sent.
    `rate_limits` has the response's headers that tell of limits and of what is left of them, by
    their lower-case names. `ignored` counts pieces that came after the finish reason.
    """

    number: int
    target: str
    provider: str
    model: str
    outcome: Literal["running", "succeeded", "failed", "interrupted", "cancelled"]
    started_ms: float
    latency_ms: float | None = None
    ttft_ms: float | None = None
    status: int | None = None
    request_id: str | None = None
    error: BaseException | None = None
    possibly_billed: bool = False
    usage: Usage | None = None
    cost_usd: float | None = None
    finish_reason: FinishReason | None = None
    renamed: Mapping[str, str] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    rate_limits: Mapping[str, str] = field(default_factory=dict)
    ignored: int = 0


class Trace(Struct, frozen=True, kw_only=True):
    """What one call did: its attempts in order, and the targets that were passed over."""

    request_id: str
    attempts: tuple[Attempt, ...] = ()
    passed_over: tuple[PassedOver, ...] = ()

    @property
    def cost_usd(self) -> float | None:
        """What the call cost in US dollars, `None` where any of it is unknown.

        An attempt that may have been billed for nobody knows what makes the whole unknown: it
        failed on the way, or is not at its end. A sum that leaves it out would be a guess.
        """
        total = 0.0
        for attempt in self.attempts:
            if attempt.cost_usd is not None:
                total += attempt.cost_usd
            elif attempt.possibly_billed or attempt.outcome != "failed":
                return None
        return total if self.attempts else None

    def to_dict(self) -> dict[str, Any]:
        """All of it in plain types, for JSON; an error as its own `to_dict` says it."""
        plain: dict[str, Any] = msgspec.to_builtins(self, enc_hook=_plain_error)
        return plain

    def __str__(self) -> str:
        rows = [
            f"{attempt.number}. {attempt.target} {attempt.outcome}"
            + (f" in {attempt.latency_ms:.0f} ms" if attempt.latency_ms is not None else "")
            + (f": {attempt.error.args[0]}" if attempt.error is not None else "")
            for attempt in self.attempts
        ]
        rows += [
            f"-  {skipped.target} passed over: {skipped.detail}" for skipped in self.passed_over
        ]
        return "\n".join(rows)


def _plain_error(value: object) -> dict[str, Any]:
    """What is no plain type in a trace: the error of an attempt."""
    if isinstance(value, RouterError):
        return value.to_dict()
    return {"type": type(value).__name__}


class Completion(Struct, frozen=True, kw_only=True):
    """The whole of an answer; `str()` of it is its text.

    The unnumbered fields speak of the first choice. `model` is what the provider says it used,
    which may differ from what was asked for. `origin` says who can read its sealed reasoning.
    `usage` is `None` when the provider did not say. Where `response_format` was a class, `parsed`
    is an object of it, or `parse_error` says why the text is none. `raws` is what the wire said
    and we have no name for, in the order in which it came: the `raw` of each chunk that had one.
    """

    choices: tuple[Choice, ...]
    target: str
    model: str
    trace: Trace
    id: str | None = None
    usage: Usage | None = None
    cost_usd: float | None = None
    origin: str | None = None
    parsed: Any = None
    parse_error: str | None = None
    raws: tuple[Any, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The answer and its trace in plain types, for JSON, in one dict; without `raws`."""
        return {
            "text": self.text,
            "target": self.target,
            "model": self.model,
            "finish_reason": self.finish_reason,
            "usage": msgspec.to_builtins(self.usage),
            "cost_usd": self.cost_usd,
            "id": self.id,
            "choices": msgspec.to_builtins(self.choices),
            **self.trace.to_dict(),
        }

    def __str__(self) -> str:
        return self.text

    @property
    def raw(self) -> Any:
        """The whole answer as it came, where it came at once; else the last of `raws`, if any."""
        return self.raws[-1] if self.raws else None

    @property
    def text(self) -> str:
        return self.choices[0].text

    @property
    def reasoning(self) -> str:
        return self.choices[0].reasoning

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        return self.choices[0].tool_calls

    @property
    def finish_reason(self) -> FinishReason | None:
        return self.choices[0].finish_reason

    def to_openai(self) -> dict[str, Any]:
        """The answer as a dict of the OpenAI API."""
        from router.chat import to_openai

        return to_openai(self).model_dump(exclude_none=True)

    def to_message(self) -> Message:
        """The first choice as a message, for the next turn: tool calls and reasoning included."""
        from router.messages import Message

        choice = self.choices[0]
        return Message(
            role="assistant",
            content=choice.text,
            tool_calls=choice.tool_calls,
            reasoning=choice.reasoning_blocks,
            origin=self.origin,
            extra={"refusal": choice.refusal} if choice.refusal else {},
        )

    @property
    def empty(self) -> bool:
        """Whether the model ended properly without saying anything."""
        return not any(
            c.text or c.reasoning or c.refusal or c.tool_calls or c.media for c in self.choices
        )
