"""The face of the openai client: `router.chat.completions.create(...)`, for code written to it.

The results have the attributes that such code reads, and `model_dump()`; the errors are the
router's own. What goes beyond (`trace`, `cost_usd`) is on a result's `completion`, or a stream's
`stream`.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, Literal, Self

import msgspec
from msgspec import Struct, field

from router.errors import BadRequest
from router.types import Choice, Chunk, Completion, Restart, ToolCall, ToolCallDelta, Trace, Usage

if TYPE_CHECKING:
    from router.client import AsyncRouter, AsyncStream
    from router.router import Router, Stream

_NOT_GIVEN = ("NotGiven", "Omit")
"""The types of what that client's callers may pass for an argument that they do not give."""

_FINISH = {"refusal": "stop", "other": "stop"}
"""What the OpenAI API has no word for; the provider's own stays on the completion."""


class _Dumps(Struct, kw_only=True):
    """What every part of a result can do. What is `None` counts as not set."""

    def model_dump(
        self, *, mode: str = "python", exclude_none: bool = False, exclude_unset: bool = False
    ) -> dict[str, Any]:
        """The result as a dict, of the types that JSON has whatever the `mode`."""
        built = {
            name: msgspec.to_builtins(getattr(self, name))
            for name in self.__struct_fields__
            if name != "completion"  # which is ours, and not the API's
        }
        return _without_none(built) if exclude_none or exclude_unset else built

    def model_dump_json(
        self,
        *,
        indent: int | None = None,
        exclude_none: bool = False,
        exclude_unset: bool = False,
    ) -> str:
        """The result as JSON."""
        built = self.model_dump(exclude_none=exclude_none, exclude_unset=exclude_unset)
        encoded = msgspec.json.encode(built)
        return (encoded if indent is None else msgspec.json.format(encoded, indent=indent)).decode()

    def to_dict(self) -> dict[str, Any]:
        """The result as a dict, without what is not set."""
        return self.model_dump(exclude_unset=True)

    def to_json(self, *, indent: int | None = 2) -> str:
        """The same as JSON."""
        return self.model_dump_json(indent=indent, exclude_unset=True)


class Function(_Dumps, kw_only=True):
    """What a tool call calls; in a chunk, a piece of it."""

    name: str | None = None
    arguments: str | None = None


class Custom(_Dumps, kw_only=True):
    """What a call of a tool for free text calls; in a chunk, a piece of it."""

    name: str | None = None
    input: str | None = None


class ChatToolCall(_Dumps, kw_only=True):
    """A tool call: of a function, or of a custom tool."""

    id: str | None = None
    function: Function | None = None
    custom: Custom | None = None
    type: Literal["function", "custom"] | None = None
    index: int | None = None


class ChatMessage(_Dumps, kw_only=True):
    """The message of a choice; in a chunk, what is new of it."""

    role: str | None = None
    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[ChatToolCall] | None = None


class TopLogprob(_Dumps, kw_only=True):
    """How likely a token was."""

    token: str
    logprob: float
    bytes: list[int] | None = None


class TokenLogprob(TopLogprob, kw_only=True):
    """How likely a token of the answer was, and what else might have stood there."""

    top_logprobs: list[TopLogprob] = field(default_factory=list)


class ChatLogprobs(_Dumps, kw_only=True):
    """The log probabilities of an answer, token by token."""

    content: list[TokenLogprob]


class ChatChoice(_Dumps, kw_only=True):
    """One of the answers."""

    index: int
    message: ChatMessage
    finish_reason: str | None
    logprobs: ChatLogprobs | None = None


class ChatDelta(_Dumps, kw_only=True):
    """One of the answers, in a chunk."""

    index: int
    delta: ChatMessage
    finish_reason: str | None = None
    logprobs: ChatLogprobs | None = None


class PromptDetails(_Dumps, kw_only=True):
    """What the tokens of a prompt were."""

    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class CompletionDetails(_Dumps, kw_only=True):
    """What the tokens of an answer were."""

    reasoning_tokens: int | None = None


class ChatUsage(_Dumps, kw_only=True):
    """What was used, in tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    completion_tokens_details: CompletionDetails


class ChatCompletion(_Dumps, kw_only=True):
    """An answer as the OpenAI API has it; `completion` is the router's own, with the trace."""

    id: str
    choices: list[ChatChoice]
    created: int
    model: str
    object: Literal["chat.completion"] = "chat.completion"
    usage: ChatUsage | None = None
    completion: Completion | None = None


class ChatCompletionChunk(_Dumps, kw_only=True):
    """A piece of an answer as the OpenAI API has it."""

    id: str
    choices: list[ChatDelta]
    created: int
    model: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    usage: ChatUsage | None = None


def to_openai(completion: Completion, created: float | None = None) -> ChatCompletion:
    """A completion in the OpenAI API's form; `created` is in seconds since the epoch."""
    return ChatCompletion(
        id=completion.id or f"chatcmpl-{completion.trace.request_id}",
        choices=[_choice(choice) for choice in completion.choices],
        created=int(time.time() if created is None else created),
        model=completion.model,
        usage=_usage(completion.usage),
        completion=completion,
    )


class Chat:
    """`router.chat`."""

    def __init__(self, router: Router) -> None:
        self.completions = Completions(router)


class AsyncChat:
    """`async_router.chat`."""

    def __init__(self, router: AsyncRouter) -> None:
        self.completions = AsyncCompletions(router)


class Completions:
    """`router.chat.completions`."""

    def __init__(self, router: Router) -> None:
        self._router = router

    def create(self, *, model: Any, messages: Any, stream: bool = False, **given: Any) -> Any:
        """A `ChatCompletion`, or with `stream=True` a `ChatStream` of chunks.

        The arguments are those of `Router.create_completion`. Two of the openai client's are
        taken as well: `stream_options`, whose `include_usage` asks for a last chunk with the
        usage, and `timeout`, which is the deadline of the call in seconds.

        Raises:
            RouterError: As `create_completion`.
        """
        arguments, usage = _translated(given)
        if not stream:
            return to_openai(self._router.create_completion(model, messages, **arguments))
        answer = self._router.create_completion(model, messages, True, **arguments)
        return ChatStream(answer, usage=usage)


class AsyncCompletions:
    """`async_router.chat.completions`."""

    def __init__(self, router: AsyncRouter) -> None:
        self._router = router

    async def create(self, *, model: Any, messages: Any, stream: bool = False, **given: Any) -> Any:
        """As `Completions.create`, awaited."""
        arguments, usage = _translated(given)
        if not stream:
            return to_openai(await self._router.create_completion(model, messages, **arguments))
        answer = await self._router.create_completion(model, messages, True, **arguments)
        return AsyncChatStream(answer, usage=usage)


class _Chunker:
    """Pieces to chunks of one answer."""

    def __init__(self, trace: Trace) -> None:
        self._id = f"chatcmpl-{trace.request_id}"
        self._model = trace.attempts[-1].model
        self._created = int(time.time())
        self._begun: set[int] = set()

    def chunk(self, piece: Chunk | Restart) -> ChatCompletionChunk | None:
        """A piece as a chunk, or `None` where the OpenAI API says nothing of it."""
        assert isinstance(piece, Chunk)  # no restarts were asked for
        self._id = piece.id or self._id
        self._model = piece.model or self._model
        if not (piece.has_content or piece.finish_reason or piece.logprobs):
            return None
        delta = _delta(piece, role=None if piece.index in self._begun else "assistant")
        self._begun.add(piece.index)
        choice = ChatDelta(
            index=piece.index,
            delta=delta,
            finish_reason=_finish(piece.finish_reason),
            logprobs=_logprobs(piece.logprobs),
        )
        return self._made([choice], None)

    def last(self, completion: Completion) -> ChatCompletionChunk:
        """The chunk of the usage."""
        return self._made([], _usage(completion.usage))

    def _made(self, choices: list[ChatDelta], usage: ChatUsage | None) -> ChatCompletionChunk:
        return ChatCompletionChunk(
            id=self._id, choices=choices, created=self._created, model=self._model, usage=usage
        )


class ChatStream:
    """Chunks as they come; a context manager. `stream` is the router's own `Stream`."""

    def __init__(self, stream: Stream, *, usage: bool) -> None:
        self.stream = stream
        self._chunks = _chunks(stream, usage=usage)

    def __iter__(self) -> Iterator[ChatCompletionChunk]:
        return self._chunks

    def __next__(self) -> ChatCompletionChunk:
        return next(self._chunks)

    def close(self) -> None:
        """End the request."""
        self.stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncChatStream:
    """Chunks as they come; an async context manager. `stream` is the router's own."""

    def __init__(self, stream: AsyncStream, *, usage: bool) -> None:
        self.stream = stream
        self._chunks = _async_chunks(stream, usage=usage)

    def __aiter__(self) -> AsyncIterator[ChatCompletionChunk]:
        return self._chunks

    async def __anext__(self) -> ChatCompletionChunk:
        return await anext(self._chunks)

    async def close(self) -> None:
        """End the request."""
        await self.stream.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _chunks(stream: Stream, *, usage: bool) -> Iterator[ChatCompletionChunk]:
    """The chunks of a stream: no method, which would keep a stream alive that is dropped."""
    chunker = _Chunker(stream.trace)
    for piece in stream.chunks(restarts=False):
        if (chunk := chunker.chunk(piece)) is not None:
            yield chunk
    if usage:
        yield chunker.last(stream.completion)


async def _async_chunks(stream: AsyncStream, *, usage: bool) -> AsyncIterator[ChatCompletionChunk]:
    """As `_chunks`."""
    chunker = _Chunker(stream.trace)
    async for piece in stream.chunks(restarts=False):
        if (chunk := chunker.chunk(piece)) is not None:
            yield chunk
    if usage:
        yield chunker.last(stream.completion)


def _translated(given: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """The client's arguments as the router's, and whether a chunk with the usage is wanted.

    Raises:
        BadRequest: The timeout is no number of seconds.
    """
    arguments = {name: value for name, value in given.items() if not _is_not_given(value)}
    options = arguments.pop("stream_options", None) or {}
    timeout = arguments.pop("timeout", None)
    if timeout is not None:
        if not isinstance(timeout, int | float):
            kind = type(timeout).__name__
            raise BadRequest(f"timeout is seconds, not {kind}: the policy has finer limits")
        policy = arguments.get("policy") or {}
        if not isinstance(policy, dict):
            policy = msgspec.structs.asdict(policy)
        arguments["policy"] = {**policy, "deadline": float(timeout)}
    return arguments, bool(options.get("include_usage"))


def _is_not_given(value: object) -> bool:
    return type(value).__name__ in _NOT_GIVEN


def _choice(choice: Choice) -> ChatChoice:
    message = ChatMessage(
        role="assistant",
        content=choice.text or (None if choice.tool_calls or choice.refusal else ""),
        refusal=choice.refusal or None,
        reasoning_content=choice.reasoning or None,
        tool_calls=[_call(call) for call in choice.tool_calls] or None,
    )
    return ChatChoice(
        index=choice.index,
        message=message,
        finish_reason=_finish(choice.finish_reason),
        logprobs=_logprobs(choice.logprobs),
    )


def _call(call: ToolCall | ToolCallDelta) -> ChatToolCall:
    if call.custom:
        made = ChatToolCall(type="custom", custom=Custom(name=call.name, input=call.arguments))
    else:
        function = Function(name=call.name, arguments=call.arguments)
        made = ChatToolCall(type="function", function=function)
    made.id = call.id
    return made


def _piece(delta: ToolCallDelta) -> ChatToolCall:
    """A piece of a tool call; the first one, which has the id, says its type."""
    call = _call(delta)
    call.index = delta.index
    if delta.id is None:
        call.type = None
    return call


def _delta(piece: Chunk, role: str | None) -> ChatMessage:
    return ChatMessage(
        role=role,
        content=piece.text or None,
        refusal=piece.refusal or None,
        reasoning_content=piece.reasoning or None,
        tool_calls=None if piece.tool_call is None else [_piece(piece.tool_call)],
    )


def _finish(reason: str | None) -> str | None:
    return None if reason is None else _FINISH.get(reason, reason)


def _logprobs(entries: tuple[Any, ...]) -> ChatLogprobs | None:
    """Those that have the API's form: other wires have forms of their own."""
    try:
        content = msgspec.convert(entries, list[TokenLogprob])
    except msgspec.ValidationError:
        return None
    return ChatLogprobs(content=content) if content else None


def _usage(usage: Usage | None) -> ChatUsage | None:
    """The API has no word for a part that is unknown, so then there is none."""
    if usage is None or usage.input_tokens is None or usage.output_tokens is None:
        return None
    prompt = PromptDetails(
        cached_tokens=usage.cached_tokens, cache_write_tokens=usage.cache_write_tokens
    )
    return ChatUsage(
        prompt_tokens=usage.input_tokens,
        completion_tokens=usage.output_tokens,
        total_tokens=usage.input_tokens + usage.output_tokens,
        prompt_tokens_details=prompt,
        completion_tokens_details=CompletionDetails(reasoning_tokens=usage.reasoning_tokens),
    )


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(each) for key, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_without_none(each) for each in value]
    return value
