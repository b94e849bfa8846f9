"""Code written to the openai client runs unchanged."""

from __future__ import annotations

import asyncio
import gc
import json
import pickle
from typing import Any

import pytest
from calling import USER

from router import (
    AsyncRouter,
    BadRequest,
    Chunk,
    Router,
    StreamInterrupted,
    ToolCallDelta,
    UpstreamError,
    Usage,
)
from router.testing.scripted import ScriptedProvider, Truncated
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


def test_a_call_of_a_custom_tool_is_one() -> None:
    """It was told as the call of a function, whose arguments are JSON."""
    pieces = [
        Chunk(tool_call=ToolCallDelta(index=0, id="a", name="shell", arguments="ls", custom=True)),
        Chunk(tool_call=ToolCallDelta(index=0, arguments=" -l", custom=True)),
        Chunk(finish_reason="tool_calls"),
    ]
    with Router([ScriptedProvider("one", pieces)], allow=[]) as router:
        create = router.chat.completions.create
        [call] = create(model="one/model", messages=USER).choices[0].message.tool_calls
        chunks = list(create(model="one/model", messages=USER, stream=True))
    custom = {"name": "shell", "input": "ls -l"}
    assert call.to_dict() == {"id": "a", "type": "custom", "custom": custom}
    told = [piece.to_dict() for c in chunks for piece in c.choices[0].delta.tool_calls or ()]
    assert told == [
        {"index": 0, "id": "a", "type": "custom", "custom": {"name": "shell", "input": "ls"}},
        {"index": 0, "custom": {"input": " -l"}},
    ]


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


LIKELY = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}
ELSEWHERE = {"text": "a", "logprobs": [-0.5]}
USED = Usage(input_tokens=9, output_tokens=5, cached_tokens=4, reasoning_tokens=2)


def test_parts_of_a_result_are_attributes_all_the_way_down() -> None:
    """The details of the usage and the log probabilities were dicts."""
    likely = ScriptedProvider(
        "one", [Chunk(text="a", logprobs=(LIKELY,)), Chunk(finish_reason="stop", usage=USED)]
    )
    with Router([likely], allow=[]) as router:
        response = router.chat.completions.create(model="one/model", messages=USER)
        chunks = list(router.chat.completions.create(model="one/model", messages=USER, stream=True))
    assert response.usage.prompt_tokens_details.cached_tokens == 4
    assert response.usage.completion_tokens_details.reasoning_tokens == 2
    for choice in (response.choices[0], chunks[0].choices[0]):
        assert (choice.logprobs.content[0].token, choice.logprobs.content[0].logprob) == ("a", -0.5)


def test_log_probabilities_of_another_form_are_left_to_the_completion() -> None:
    likely = ScriptedProvider("one", [Chunk(text="a", logprobs=(ELSEWHERE,))])
    with Router([likely], allow=[]) as router:
        response = router.chat.completions.create(model="one/model", messages=USER)
    assert response.choices[0].logprobs is None
    assert response.completion.choices[0].logprobs == (ELSEWHERE,)


def test_a_usage_that_is_known_in_part_is_none() -> None:
    """What the provider did not say was told as zero tokens."""
    partly = Chunk(finish_reason="stop", usage=Usage(output_tokens=5))
    with Router([ScriptedProvider("one", ["a", partly])], allow=[]) as router:
        response = router.chat.completions.create(model="one/model", messages=USER)
    assert response.usage is None


def test_a_result_has_the_completion_and_dumps_without_it() -> None:
    with Router([ScriptedProvider("one", ["a"])], allow=[]) as router:
        response = router.chat.completions.create(model="one/model", messages=USER)
    assert response.completion.trace.attempts[0].target == "one/model"
    assert pickle.loads(pickle.dumps(response)) == response
    dumped = response.model_dump(mode="json")
    assert "completion" not in dumped
    assert dumped["choices"][0]["message"]["refusal"] is None
    for text in (response.model_dump_json(indent=2, exclude_unset=True), response.to_json()):
        assert text.startswith('{\n  "')
        assert json.loads(text) == response.to_dict() == response.model_dump(exclude_unset=True)
    assert response.to_dict()["choices"][0]["message"] == {"role": "assistant", "content": "a"}


class NotGiven:
    """As the openai client has it."""

    def __bool__(self) -> bool:
        return False


def test_what_is_not_given_is_not_sent() -> None:
    one = ScriptedProvider("one", ["a"])
    unset: Any = NotGiven()
    with Router([one], allow=[]) as router:
        router.chat.completions.create(
            model="one/model",
            messages=USER,
            stream=unset,
            temperature=unset,
            timeout=unset,
            stream_options=unset,
        )
    assert one.calls[0].parameters == {}


def test_a_timeout_that_is_no_number_is_refused_in_our_words() -> None:
    with (
        Router([ScriptedProvider("one", ["a"])], allow=[]) as router,
        pytest.raises(BadRequest, match="timeout is seconds, not dict"),
    ):
        router.chat.completions.create(model="one/model", messages=USER, timeout={"read": 5})


def test_all_chunks_have_the_id_and_model_of_the_answer() -> None:
    """The provider's were known from its first event on, and never told."""
    with Router([ScriptedProvider("one", TOOL_CALLS)], allow=[]) as router:
        chunks = list(router.chat.completions.create(model="one/model", messages=USER, stream=True))
    assert {(chunk.id, chunk.model) for chunk in chunks} == {("upstream-1", "model-7")}


BREAKS = ["Half an ", "answer", Truncated]


def test_a_stream_that_cannot_say_restart_is_not_begun_anew() -> None:
    """The second answer came after the half of the first, and nothing told them apart."""
    providers = [ScriptedProvider("one", BREAKS), ScriptedProvider("two", ["Another."])]
    with Router(providers, allow=[], policy={"on_interrupt": "restart"}) as router:
        stream = router.chat.completions.create(
            model=["one/model", "two/model"], messages=USER, stream=True
        )
        with pytest.raises(StreamInterrupted) as caught:
            list(stream)
    assert caught.value.partial.text == "Half an answer"
    assert providers[1].calls == []


def test_a_stream_in_a_coroutine_that_cannot_say_restart_is_not_begun_anew() -> None:
    providers = [ScriptedProvider("one", BREAKS), ScriptedProvider("two", ["Another."])]

    async def main() -> None:
        async with AsyncRouter(providers, allow=[], policy={"on_interrupt": "restart"}) as router:
            stream = await router.chat.completions.create(
                model=["one/model", "two/model"], messages=USER, stream=True
            )
            with pytest.raises(StreamInterrupted):
                [chunk async for chunk in stream]

    asyncio.run(main())
    assert providers[1].calls == []


def test_a_stream_that_is_dropped_ends_at_once() -> None:
    """It was in a cycle with its own generator, and went on until the garbage was collected."""
    one = ScriptedProvider("one", ["a", "b", "c"])
    with Router([one], allow=[]) as router:
        gc.disable()
        try:
            for _ in router.chat.completions.create(model="one/model", messages=USER, stream=True):
                break
            del _
            assert one.ended == 1
        finally:
            gc.enable()


def test_a_stream_in_a_coroutine_may_be_left_and_read_on() -> None:
    """Each loop began another generator, and there was no `anext`."""

    async def main() -> list[str | None]:
        async with AsyncRouter([ScriptedProvider("one", ["a", "b", "c"])], allow=[]) as router:
            stream = await router.chat.completions.create(
                model="one/model", messages=USER, stream=True
            )
            chunks = [await anext(stream)]
            async for chunk in stream:
                chunks.append(chunk)
                break
            chunks += [chunk async for chunk in stream]
            return [chunk.choices[0].delta.content for chunk in chunks]

    assert asyncio.run(main()) == ["a", "b", "c", None]
