"""Code written to the openai client runs unchanged."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from calling import USER

from router import AsyncRouter, Chunk, Router, ToolCallDelta, UpstreamError, Usage
from router.testing.scripted import ScriptedProvider
from router.testing.virtual import VirtualClock

TOOL_CALLS = [
    Chunk(id="upstream-1", model="model-7"),
    Chunk(tool_call=ToolCallDelta(index=0, id="a", name="add", arguments='{"x"')),
    Chunk(tool_call=ToolCallDelta(index=0, arguments=": 1}")),
    Chunk(finish_reason="tool_calls", usage=Usage(input_tokens=3, output_tokens=4)),
]


def test_a_whole_answer_has_the_clients_attributes() -> None:
    with Router([ScriptedProvider("one", ["Hello, ", "sea."])], allow=[]) as router:
        response = router.chat.completions.create(model="one/model", messages=USER)
    assert response.object == "chat.completion"
    assert response.choices[0].message.role == "assistant"
    assert response.choices[0].message.content == "Hello, sea."
    assert response.choices[0].finish_reason == "stop"
    assert response.usage.total_tokens == 3
    dumped = response.model_dump(exclude_none=True)
    assert dumped["choices"][0]["message"] == {"role": "assistant", "content": "Hello, sea."}


def test_tool_calls_have_the_clients_attributes() -> None:
    with Router([ScriptedProvider("one", TOOL_CALLS)], allow=[]) as router:
        response = router.chat.completions.create(model="one/model", messages=USER)
    [call] = response.choices[0].message.tool_calls
    assert (call.id, call.type, call.function.name, call.function.arguments) == (
        "a",
        "function",
        "add",
        '{"x": 1}',
    )
    assert response.choices[0].message.content is None
    assert (response.id, response.model) == ("upstream-1", "model-7")


def test_a_message_of_an_answer_goes_back_as_it_is() -> None:
    one = ScriptedProvider("one", TOOL_CALLS, ["done"])
    with Router([one], allow=[]) as router:
        message = (
            router.chat.completions.create(model="one/model", messages=USER).choices[0].message
        )
        result = {"role": "tool", "tool_call_id": "a", "content": "1"}
        router.chat.completions.create(model="one/model", messages=[*USER, message, result])
    sent = one.calls[1].messages
    assert sent[1]["tool_calls"][0]["function"] == {"name": "add", "arguments": '{"x": 1}'}
    assert sent[2] == result


def test_a_stream_gives_the_clients_chunks() -> None:
    with Router([ScriptedProvider("one", ["Hello, ", "sea."])], allow=[]) as router:
        stream = router.chat.completions.create(
            model="one/model", messages=USER, stream=True, stream_options={"include_usage": True}
        )
        chunks = list(stream)
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == "Hello, sea."
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[1].choices[0].delta.role is None
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage.total_tokens == 3
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}


def test_tool_calls_stream_in_pieces() -> None:
    with Router([ScriptedProvider("one", TOOL_CALLS)], allow=[]) as router:
        stream = router.chat.completions.create(model="one/model", messages=USER, stream=True)
        calls = [
            call
            for chunk in stream
            for choice in chunk.choices
            for call in choice.delta.tool_calls or []
        ]
    assert [(c.index, c.id, c.type, c.function.name) for c in calls] == [
        (0, "a", "function", "add"),
        (0, None, None, None),
    ]
    assert "".join(call.function.arguments for call in calls) == '{"x": 1}'


def test_the_async_face_is_the_same() -> None:
    async def main() -> tuple[Any, list[Any]]:
        async with AsyncRouter([ScriptedProvider("one", ["a", "b"])], allow=[]) as router:
            create = router.chat.completions.create
            whole = await create(model="one/model", messages=USER)
            stream = await create(model="one/model", messages=USER, stream=True)
            async with stream:
                return whole, [chunk async for chunk in stream]

    whole, chunks = asyncio.run(main())
    assert whole.choices[0].message.content == "ab"
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == "ab"


def test_the_clients_timeout_is_the_deadline() -> None:
    clock = VirtualClock()
    slow = ScriptedProvider("slow", [UpstreamError("broken")])
    router = Router([slow], allow=[], clock=clock, draw=lambda: 0.99)
    with router, pytest.raises(UpstreamError):
        router.chat.completions.create(model="slow/model", messages=USER, timeout=0.3)
    assert clock.now() < 0.3


def test_an_answer_reads_as_a_dict_of_the_api() -> None:
    with Router([ScriptedProvider("one", ["a"])], allow=[]) as router:
        answer = router.create_completion("one/model", USER).to_openai()
    assert answer["choices"] == [
        {"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"}
    ]
