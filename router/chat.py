"""The face of the openai client: `router.chat.completions.create(...)`, for code written to it.

The results have the attributes that such code reads, and `model_dump()`; the errors are the
router's own. What goes beyond (`trace`, `cost_usd`) is on the result's `completion`.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec import Struct

from router.types import Choice, Chunk, Completion, ToolCall, Usage

if TYPE_CHECKING:
    from router.client import AsyncRouter, AsyncStream
    from router.router import Router, Stream

_FINISH = {"refusal": "stop", "other": "stop"}
"""What the OpenAI API has no word for; the provider's own stays on the completion."""


class _Dumps(Struct, kw_only=True):
    """What every part of a result can do."""

    def model_dump(self, *, exclude_none: bool = False) -> dict[str, Any]:
        """The result as a dict."""
        built: dict[str, Any] = msgspec.to_builtins(self)
        return _without_none(built) if exclude_none else built

    def model_dump_json(self, *, exclude_none: bool = False) -> str:
        """The result as JSON."""
        return msgspec.json.encode(self.model_dump(exclude_none=exclude_none)).decode()


class Function(_Dumps, kw_only=True):
    """What a tool call calls; in a chunk, a piece of it."""

    name: str | None = None
    arguments: str | None = None


class ChatToolCall(_Dumps, kw_only=True):
    """A tool call."""

    id: str | None = None
    function: Function
    type: Literal["function"] | None = "function"
    index: int | None = None


class ChatMessage(_Dumps, kw_only=True):
    """The message of a choice; in a chunk, what is new of it."""

    role: str | None = None
    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[ChatToolCall] | None = None


class ChatChoice(_Dumps, kw_only=True):
    """One of the answers."""

    index: int
    message: ChatMessage
    finish_reason: str | None
    logprobs: Any = None


class ChatDelta(_Dumps, kw_only=True):
    """One of the answers, in a chunk."""

    index: int
    delta: ChatMessage
    finish_reason: str | None = None
    logprobs: Any = None


class ChatUsage(_Dumps, kw_only=True):
    """What was used, in tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: dict[str, int | None]
    completion_tokens_details: dict[str, int | None]


class ChatCompletion(_Dumps, kw_only=True):
    """An answer as the OpenAI API has it."""

    id: str
    choices: list[ChatChoice]
    created: int
    model: str
    object: Literal["chat.completion"] = "chat.completion"
    usage: ChatUsage | None = None


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
        options = given.pop("stream_options", None) or {}
        _move_timeout(given)
        if not stream:
            return to_openai(self._router.create_completion(model, messages, **given))
        answer = self._router.create_completion(model, messages, True, **given)
        return ChatStream(answer, usage=bool(options.get("include_usage")))


class AsyncCompletions:
    """`async_router.chat.completions`."""

    def __init__(self, router: AsyncRouter) -> None:
        self._router = router

    async def create(self, *, model: Any, messages: Any, stream: bool = False, **given: Any) -> Any:
        """As `Completions.create`, awaited."""
        options = given.pop("stream_options", None) or {}
        _move_timeout(given)
        if not stream:
            return to_openai(await self._router.create_completion(model, messages, **given))
        answer = await self._router.create_completion(model, messages, True, **given)
        return AsyncChatStream(answer, usage=bool(options.get("include_usage")))


class _Chunker:
    """Pieces to chunks of one answer."""

    def __init__(self, request_id: str, model: str, *, usage: bool) -> None:
        self._id = f"chatcmpl-{request_id}"
        self._model = model
        self._created = int(time.time())
        self._begun: set[int] = set()
        self._wants_usage = usage

    def chunk(self, piece: Chunk) -> ChatCompletionChunk | None:
        """A piece as a chunk, or `None` where the OpenAI API says nothing of it."""
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
            logprobs={"content": list(piece.logprobs)} if piece.logprobs else None,
        )
        return self._made([choice], None)

    def last(self, completion: Completion) -> ChatCompletionChunk | None:
        """The chunk of the usage, where it was asked for."""
        if not self._wants_usage:
            return None
        return self._made([], _usage(completion.usage))

    def _made(self, choices: list[ChatDelta], usage: ChatUsage | None) -> ChatCompletionChunk:
        return ChatCompletionChunk(
            id=self._id, choices=choices, created=self._created, model=self._model, usage=usage
        )


class ChatStream:
    """Chunks as they come; a context manager. `stream` is the router's own `Stream`."""

    def __init__(self, stream: Stream, *, usage: bool) -> None:
        self.stream = stream
        self._usage = usage
        self._iterator = self._chunks()

    def __iter__(self) -> Iterator[ChatCompletionChunk]:
        return self._iterator

    def __next__(self) -> ChatCompletionChunk:
        return next(self._iterator)

    def _chunks(self) -> Iterator[ChatCompletionChunk]:
        trace = self.stream.trace
        chunker = _Chunker(trace.request_id, trace.attempts[-1].model, usage=self._usage)
        for piece in self.stream.chunks():
            if isinstance(piece, Chunk) and (chunk := chunker.chunk(piece)) is not None:
                yield chunk
        if (last := chunker.last(self.stream.completion)) is not None:
            yield last

    def close(self) -> None:
        """End the request."""
        self.stream.close()

    def __enter__(self) -> ChatStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncChatStream:
    """Chunks as they come; an async context manager."""

    def __init__(self, stream: AsyncStream, *, usage: bool) -> None:
        self.stream = stream
        self._usage = usage

    async def __aiter__(self) -> AsyncIterator[ChatCompletionChunk]:
        trace = self.stream.trace
        chunker = _Chunker(trace.request_id, trace.attempts[-1].model, usage=self._usage)
        async for piece in self.stream.chunks():
            if isinstance(piece, Chunk) and (chunk := chunker.chunk(piece)) is not None:
                yield chunk
        if (last := chunker.last(self.stream.completion)) is not None:
            yield last

    async def close(self) -> None:
        """End the request."""
        await self.stream.close()

    async def __aenter__(self) -> AsyncChatStream:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _move_timeout(given: dict[str, Any]) -> None:
    """The client's `timeout` in seconds is the policy's deadline."""
    timeout = given.pop("timeout", None)
    if timeout is None:
        return
    policy = given.get("policy") or {}
    if not isinstance(policy, dict):
        policy = msgspec.structs.asdict(policy)
    given["policy"] = {**policy, "deadline": float(timeout)}


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
        logprobs={"content": list(choice.logprobs)} if choice.logprobs else None,
    )


def _call(call: ToolCall) -> ChatToolCall:
    return ChatToolCall(id=call.id, function=Function(name=call.name, arguments=call.arguments))


def _delta(piece: Chunk, role: str | None) -> ChatMessage:
    calls = None
    if (delta := piece.tool_call) is not None:
        function = Function(name=delta.name, arguments=delta.arguments)
        kind: Literal["function"] | None = "function" if delta.id is not None else None
        calls = [ChatToolCall(id=delta.id, function=function, index=delta.index, type=kind)]
    return ChatMessage(
        role=role,
        content=piece.text or None,
        refusal=piece.refusal or None,
        reasoning_content=piece.reasoning or None,
        tool_calls=calls,
    )


def _finish(reason: str | None) -> str | None:
    return None if reason is None else _FINISH.get(reason, reason)


def _usage(usage: Usage | None) -> ChatUsage | None:
    if usage is None:
        return None
    prompt, completion = usage.input_tokens or 0, usage.output_tokens or 0
    return ChatUsage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=prompt + completion,
        prompt_tokens_details={"cached_tokens": usage.cached_tokens},
        completion_tokens_details={"reasoning_tokens": usage.reasoning_tokens},
    )


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(each) for key, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_without_none(each) for each in value]
    return value
