"""Calls, fallback, streams, errors and traces: the same through the sync and the async router."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import pytest
from calling import USER, Caller
from msgspec import Meta

from router import (
    TUNING,
    AllTargetsFailed,
    AsyncRouter,
    AuthError,
    BadRequest,
    Call,
    Cancelled,
    Chunk,
    ConfigError,
    ConnectFailed,
    ConnectionLost,
    ContentFiltered,
    DeadlineExceeded,
    HttpRequest,
    ModelNotFound,
    PluginError,
    ProtocolError,
    RateLimited,
    Router,
    RouterError,
    Shared,
    StreamInterrupted,
    Target,
    Timeout,
    ToolCallDelta,
    UnsupportedParameter,
    UpstreamError,
    Usage,
    Wait,
    WireProvider,
    provider,
)
from router.answer import Answer
from router.testing.scripted import ScriptedProvider, Truncated
from router.testing.virtual import VirtualClock


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Caller:
    return Caller(request.param)


@pytest.fixture(params=[False, True], ids=["whole", "stream"])
def stream(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


# -- answers


def test_call_returns_the_completion(call: Caller, stream: bool) -> None:
    result = call([ScriptedProvider("one", ["Hello, ", "sea."])], "one/model", stream=stream)
    assert result.completion is not None
    assert str(result.completion) == "Hello, sea."
    assert result.completion.target == "one/model"
    assert result.completion.finish_reason == "stop"
    assert result.completion.usage == Usage(input_tokens=1, output_tokens=2)
    assert result.outcomes == [("one/model", "succeeded")]
    if stream:
        assert result.text == "Hello, sea."


def test_stream_delivers_piece_by_piece(call: Caller) -> None:
    result = call([ScriptedProvider("one", ["a", "b", "c"])], "one/model", stream=True)
    texts = [piece.text for piece in result.pieces if isinstance(piece, Chunk) and piece.text]
    assert texts == ["a", "b", "c"]


def test_iterating_a_stream_gives_text_alone() -> None:
    script = [Chunk(reasoning="hm"), "a", Chunk(index=1, text="other choice"), "b"]
    with Router([ScriptedProvider("one", script)], allow=[]) as router:
        answer = router.create_completion("one/model", USER, stream=True)
        assert list(answer) == ["a", "b"]
        assert answer.completion.reasoning == "hm"


def test_empty_answer_is_returned_and_says_so(call: Caller, stream: bool) -> None:
    result = call([ScriptedProvider("one", [])], "one/model", stream=stream)
    assert result.completion is not None
    assert result.completion.empty
    assert result.completion.text == ""


def test_tool_calls_are_put_together_by_index(call: Caller, stream: bool) -> None:
    script = [
        Chunk(tool_call=ToolCallDelta(index=1, id="b", name="second", arguments='{"x"')),
        Chunk(tool_call=ToolCallDelta(index=0, id="a", name="first", arguments="{}")),
        Chunk(tool_call=ToolCallDelta(index=1, arguments=": 1}")),
        Chunk(finish_reason="tool_calls"),
    ]
    result = call([ScriptedProvider("one", script)], "one/model", stream=stream)
    assert result.completion is not None
    calls = [(each.id, each.name, each.arguments) for each in result.completion.tool_calls]
    assert calls == [("a", "first", "{}"), ("b", "second", '{"x": 1}')]
    assert result.completion.tool_calls[1].parsed() == {"x": 1}


def test_pieces_after_the_finish_reason_are_ignored_but_usage_is_kept(
    call: Caller, stream: bool
) -> None:
    class Late(WireProvider):
        name = "late"
        models = ("model",)

        def create_completion(self, model: str, messages: list[Any], stream: bool) -> Any:
            yield "whole"
            yield Chunk(finish_reason="stop")
            yield "late"
            yield Chunk(finish_reason="length")
            yield Chunk(usage=Usage(input_tokens=3, output_tokens=4))

    result = call([Late()], "late/model", stream=stream)
    assert result.completion is not None
    assert result.completion.text == "whole"
    assert result.completion.finish_reason == "stop"
    assert result.completion.usage == Usage(input_tokens=3, output_tokens=4)
    assert result.completion.trace.attempts[0].ignored == 2


# -- fallback


@pytest.mark.parametrize(
    "error",
    [
        UpstreamError("it broke"),
        RateLimited("slow down"),
        AuthError("no key"),
        ConnectionLost("cut"),
        ProtocolError("html"),
        ModelNotFound("gone"),
        ValueError("a bug in a plugin"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_fallback_is_silent_and_told(call: Caller, stream: bool, error: Exception) -> None:
    first = ScriptedProvider("first", [error])
    second = ScriptedProvider("second", ["from the second"])
    result = call([first, second], ["first/model", "second/model"], stream=stream)
    assert result.error is None
    assert result.completion is not None
    assert result.completion.text == "from the second"
    assert result.outcomes == [("first/model", "failed"), ("second/model", "succeeded")]
    assert result.trace is not None
    failure = result.trace.attempts[0].error
    assert isinstance(failure, RouterError)
    assert failure.target == "first/model"


@pytest.mark.parametrize("error", [BadRequest("no"), ContentFiltered("no")])
def test_what_no_target_would_take_fails_at_once(
    call: Caller, stream: bool, error: RouterError
) -> None:
    second = ScriptedProvider("second")
    result = call(
        [ScriptedProvider("first", [error]), second], ["first/model", "second/model"], stream=stream
    )
    assert type(result.error) is type(error)
    assert not second.calls


def test_one_target_that_fails_raises_its_own_error(call: Caller, stream: bool) -> None:
    result = call(
        [ScriptedProvider("one", [UpstreamError("broken", code="x")])], "one/model", stream=stream
    )
    assert type(result.error) is UpstreamError
    assert result.error.target == "one/model"
    assert result.error.provider == "one"
    assert result.error.code == "x"
    assert len(result.error.attempts) >= 1


def test_several_that_fail_raise_a_group_of_their_errors(call: Caller, stream: bool) -> None:
    providers = [
        ScriptedProvider("first", [UpstreamError("a")]),
        ScriptedProvider("second", [RateLimited("b")]),
    ]
    result = call(providers, ["first/model", "second/model"], stream=stream, policy={"attempts": 2})
    assert isinstance(result.error, AllTargetsFailed)
    assert [type(error) for error in result.error.exceptions] == [UpstreamError, RateLimited]
    assert result.error.retryable
    assert "first/model: a" in str(result.error)
    with pytest.raises(ExceptionGroup) as caught:
        raise result.error
    assert caught.group_contains(RateLimited)


def test_roles_and_keep_alives_do_not_commit(call: Caller) -> None:
    silent = ScriptedProvider("silent", [Chunk(id="x"), Chunk(), UpstreamError("then it broke")])
    result = call(
        [silent, ScriptedProvider("second", ["whole"])],
        ["silent/model", "second/model"],
        stream=True,
    )
    assert result.text == "whole"
    assert result.outcomes == [("silent/model", "failed"), ("second/model", "succeeded")]


@pytest.mark.parametrize(
    "content",
    [
        "text",
        Chunk(text="text"),
        Chunk(reasoning="hm"),
        Chunk(refusal="no"),
        Chunk(tool_call=ToolCallDelta(id="a", name="f")),
    ],
    ids=["str", "text", "reasoning", "refusal", "tool_call"],
)
def test_a_stream_that_breaks_after_content_is_never_an_answer(
    call: Caller, content: str | Chunk
) -> None:
    second = ScriptedProvider("second")
    result = call(
        [ScriptedProvider("first", [content, ConnectionLost("cut")]), second],
        ["first/model", "second/model"],
        stream=True,
    )
    assert isinstance(result.error, StreamInterrupted)
    assert isinstance(result.error.cause, ConnectionLost)
    assert result.error.partial.finish_reason is None
    assert result.error.partial.text == result.text
    assert result.error.possibly_billed
    assert result.outcomes == [("first/model", "interrupted")]
    assert not second.calls


def test_a_truncated_stream_falls_back_before_content_and_interrupts_after(call: Caller) -> None:
    second = ScriptedProvider("second", ["whole"])
    targets = ["first/model", "second/model"]
    before = call([ScriptedProvider("first", [Truncated]), second], targets, stream=True)
    assert before.text == "whole"
    after = call([ScriptedProvider("first", ["half", Truncated]), second], targets, stream=True)
    assert isinstance(after.error, StreamInterrupted)
    assert after.error.partial.text == "half"


def test_a_truncated_whole_answer_falls_back(call: Caller) -> None:
    result = call(
        [ScriptedProvider("first", ["half", Truncated]), ScriptedProvider("second", ["whole"])],
        ["first/model", "second/model"],
    )
    assert result.completion is not None
    assert result.completion.text == "whole"


def test_a_connection_that_failed_is_tried_once_more_where_no_other_target_is_left(
    call: Caller, stream: bool
) -> None:
    lonely = ScriptedProvider("one", [ConnectFailed("refused")], ["there"])
    result = call([lonely], "one/model", stream=stream)
    assert result.outcomes == [("one/model", "failed"), ("one/model", "succeeded")]


def test_a_stale_connection_is_tried_once_more_at_the_same_target(
    call: Caller, stream: bool
) -> None:
    first = ScriptedProvider("first", [ConnectionLost("closed meanwhile", stale=True)], ["there"])
    result = call(
        [first, ScriptedProvider("second")], ["first/model", "second/model"], stream=stream
    )
    assert result.outcomes == [("first/model", "failed"), ("first/model", "succeeded")]


def test_the_same_target_named_twice_is_tried_once(call: Caller) -> None:
    one = ScriptedProvider("one", [ModelNotFound("gone")])
    result = call([one], ["one/model", Target("one", "model")])
    assert isinstance(result.error, ModelNotFound)
    assert len(one.calls) == 1


# -- parameters


def test_parameters_are_translated_dropped_and_reported(call: Caller, stream: bool) -> None:
    @provider("plain", models=["model"])
    def plain(model: str, messages: list[Any], stream: bool, *, max_new_tokens: int = 5) -> Any:
        yield f"{max_new_tokens}"

    result = call(
        [plain, ScriptedProvider("second")],
        ["plain/model", "second/model"],
        stream=stream,
        max_tokens=7,
        temperature=0.5,
    )
    assert result.completion is not None
    assert result.completion.text == "7"
    attempt = result.completion.trace.attempts[0]
    assert attempt.renamed == {"max_tokens": "max_new_tokens"}
    assert attempt.dropped == ("temperature",)


def test_a_target_that_lacks_a_feature_is_passed_over(call: Caller, stream: bool) -> None:
    @provider("plain", models=["model"])
    def plain(model: str, messages: list[Any], stream: bool) -> Any:
        yield "without stop"

    result = call(
        [plain, ScriptedProvider("second", ["with stop"])],
        ["plain/model", "second/model"],
        stream=stream,
        stop="x",
    )
    assert result.completion is not None
    assert result.completion.text == "with stop"
    assert result.trace is not None
    [skipped] = result.trace.passed_over
    assert (skipped.target, skipped.reason) == ("plain/model", "parameter")
    assert "stop" in skipped.detail


def test_a_refused_value_passes_over_and_names_what_was_expected(call: Caller) -> None:
    @provider("wide", models=["model"])
    def wide(
        model: str,
        messages: list[Any],
        stream: bool,
        *,
        temperature: Annotated[float, TUNING, Meta(le=5)] = 1.0,
    ) -> Any:
        yield f"{temperature}"

    narrow = ScriptedProvider("narrow")
    result = call([narrow, wide], ["narrow/model", "wide/model"], temperature=3)
    assert result.completion is not None
    assert result.completion.text == "3"
    refused = call([narrow], "narrow/model", temperature=3)
    assert isinstance(refused.error, UnsupportedParameter)
    assert "temperature" in str(refused.error)
    assert "le=2" in str(refused.error)
    assert "int" in str(refused.error)
    assert not narrow.calls


def test_an_unknown_parameter_is_an_error_with_close_matches(call: Caller) -> None:
    result = call([ScriptedProvider("one")], "one/model", temperatur=1)
    assert isinstance(result.error, UnsupportedParameter)
    assert "did you mean temperature" in str(result.error)


def test_tunings_may_be_refused_by_policy(call: Caller) -> None:
    @provider("plain", models=["model"])
    def plain(model: str, messages: list[Any], stream: bool) -> Any:
        yield "plain"

    result = call(
        [plain, ScriptedProvider("second", ["second"])],
        ["plain/model", "second/model"],
        policy={"drop_tunings": False},
        temperature=1,
    )
    assert result.completion is not None
    assert result.completion.text == "second"


def test_target_parameters_are_defaults(call: Caller) -> None:
    one = ScriptedProvider("one")
    target = Target("one", "model", parameters={"temperature": 0.1, "max_tokens": 5})
    call([one], target, temperature=0.2)
    assert one.calls[0].parameters == {"temperature": 0.2, "max_tokens": 5}


def test_a_target_with_other_parameters_is_the_next_target(call: Caller) -> None:
    """It was taken for the one before, and never asked."""
    one = ScriptedProvider("one", [UpstreamError("down", status=500)], ["second"])
    targets = [Target("one", "model", parameters={"max_tokens": n}) for n in (1, 2)]
    result = call([one], targets, policy={"retries": 0})
    assert [each.parameters["max_tokens"] for each in one.calls] == [1, 2]
    assert result.completion is not None
    assert result.completion.text == "second"


# -- limits


def test_a_wait_is_cut_at_the_first_token_limit(call: Caller) -> None:
    slow = ScriptedProvider("slow", [Wait(30.0), "late"])
    result = call(
        [slow, ScriptedProvider("second", ["there"])],
        ["slow/model", "second/model"],
        stream=True,
        policy={"first_token": 2.0},
    )
    assert result.text == "there"
    assert result.trace is not None
    first = result.trace.attempts[0]
    assert isinstance(first.error, Timeout)
    assert first.error.phase == "first_token"
    assert first.latency_ms == pytest.approx(2000)


def test_silence_between_pieces_is_cut_at_the_idle_limit(call: Caller) -> None:
    script = ["a", Wait(4.0), "b", Wait(4.0), "c", Wait(6.0), "d"]
    result = call([ScriptedProvider("one", script)], "one/model", stream=True, policy={"idle": 5.0})
    assert isinstance(result.error, StreamInterrupted)
    assert isinstance(result.error.cause, Timeout)
    assert result.error.cause.phase == "idle"
    assert result.error.partial.text == "abc"
    assert call.clock.now() == pytest.approx(13.0)


def test_keep_alives_reset_the_idle_limit_but_not_that_of_the_first_token(call: Caller) -> None:
    pings = [Chunk(), Wait(3.0)] * 4
    policy = {"idle": 5.0, "first_token": 10.0}
    alive = ScriptedProvider("one", ["a", *pings, "b"])
    assert call([alive], "one/model", stream=True, policy=policy).text == "ab"
    mute = ScriptedProvider("mute", [*pings, "a"])
    second = ScriptedProvider("second", ["there"])
    result = call([mute, second], ["mute/model", "second/model"], stream=True, policy=policy)
    assert result.text == "there"
    assert result.trace is not None
    error = result.trace.attempts[0].error
    assert isinstance(error, Timeout)
    assert error.phase == "first_token"


def test_the_last_target_is_given_what_is_left_for_its_first_token(call: Caller) -> None:
    slow = ScriptedProvider("slow", [Wait(30.0), "late"])
    policy = {"first_token": 2.0, "deadline": 40.0}
    assert call([slow], "slow/model", stream=True, policy=policy).text == "late"


def test_the_deadline_is_over_everything(call: Caller, stream: bool) -> None:
    slow = [
        ScriptedProvider(name, [Wait(4.0), UpstreamError("broken")]) for name in ("a", "b", "c")
    ]
    result = call(slow, ["a/model", "b/model", "c/model"], stream=stream, policy={"deadline": 10.0})
    assert isinstance(result.error, DeadlineExceeded)
    assert call.clock.now() == pytest.approx(10.0)
    assert [a.target for a in result.error.attempts] == ["a/model", "b/model", "c/model"]


def test_a_slow_reader_is_not_a_silent_server() -> None:
    clock = VirtualClock()
    one = ScriptedProvider("one", ["a", Wait(1.0), "b", Wait(1.0), "c"])
    with Router([one], allow=[], clock=clock, policy={"idle": 5.0}) as router:
        texts = []
        for text in router.create_completion("one/model", USER, stream=True):
            texts.append(text)
            clock.advance(60.0)
    assert texts == ["a", "b", "c"]


# -- steps


class Steps(WireProvider):
    """Yields what a test gives it, and the results as text."""

    name = "steps"
    models = ("model",)

    def __init__(self, *steps: Callable[[], Any]) -> None:
        self.steps = steps

    def create_completion(self, model: str, messages: list[Any], stream: bool) -> Any:
        for step in self.steps:
            result = yield step()
            if isinstance(result, str):
                yield result


def test_call_steps_bring_what_their_function_returns(call: Caller, stream: bool) -> None:
    result = call([Steps(lambda: Call(lambda: "worked"))], "steps/model", stream=stream)
    assert result.completion is not None
    assert result.completion.text == "worked"


def test_shared_steps_run_once_and_are_kept_for_their_time(call: Caller) -> None:
    made = []

    def token() -> Any:
        made.append(call.clock.now())
        return f"token {len(made)} "
        yield

    share = lambda: Shared("token", token, ttl=10.0)  # noqa: E731  # a step for each of several
    two = Steps(share, share, lambda: Wait(11.0), share)
    result = call([two], "steps/model")
    assert result.completion is not None
    assert result.completion.text == "token 1 token 1 token 2 "


def test_shared_steps_run_once_for_threads_that_wait() -> None:
    made = []

    def token() -> Any:
        made.append(threading.get_ident())
        yield Call(lambda: time.sleep(0.05))
        return "token"

    steps = Steps(lambda: Shared("token", token, ttl=60.0))
    with Router([steps], allow=[]) as router:
        texts: list[str] = []
        threads = [
            threading.Thread(
                target=lambda: texts.append(router.create_completion("steps/model", USER).text)
            )
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert texts == ["token"] * 8
    assert len(made) == 1


@pytest.mark.parametrize("wrong", [None, 7, b"bytes", ["a"], {"text": "a"}])
def test_wrong_pieces_are_the_providers_fault(call: Caller, stream: bool, wrong: object) -> None:
    result = call(
        [Steps(lambda: wrong), ScriptedProvider("second", ["whole"])],
        ["steps/model", "second/model"],
        stream=stream,
    )
    assert result.completion is not None
    assert result.completion.text == "whole"
    assert result.trace is not None
    error = result.trace.attempts[0].error
    assert isinstance(error, ProtocolError)
    assert "steps" in str(error)


def test_a_provider_cannot_end_the_process(call: Caller, stream: bool) -> None:
    def leave() -> None:
        raise SystemExit(1)

    result = call(
        [Steps(leave), ScriptedProvider("second", ["alive"])],
        ["steps/model", "second/model"],
        stream=stream,
    )
    assert result.completion is not None
    assert result.completion.text == "alive"


# -- blocking providers


@provider("shout", models=["loud"])
def shout(model: str, messages: list[dict[str, Any]], stream: bool, *, mark: str = "!") -> Any:
    """Upper case, word by word."""
    for word in messages[-1]["content"].split():
        yield word.upper() + " "
    yield mark


def test_a_blocking_generator_is_pumped_whole(call: Caller, stream: bool) -> None:
    result = call([shout], "loud", stream=stream, mark="?")
    assert result.completion is not None
    assert result.completion.text == "SAY SOMETHING ?"
    assert result.completion.finish_reason is None


def test_a_function_may_return_its_text(call: Caller, stream: bool) -> None:
    @provider("plain", models=["model"])
    def plain(model: str, messages: list[Any], stream: bool) -> str:
        return "all at once"

    result = call([plain], "plain/model", stream=stream)
    assert result.completion is not None
    assert result.completion.text == "all at once"


def test_a_blocking_provider_cannot_yield_steps(call: Caller) -> None:
    @provider("confused", models=["model"])
    def confused(model: str, messages: list[Any], stream: bool) -> Any:
        yield Wait(1.0)

    result = call([confused], "confused/model")
    assert isinstance(result.error, ProtocolError)


def test_a_provider_that_changes_its_messages_changes_nobody_elses(call: Caller) -> None:
    @provider("vandal", models=["model"])
    def vandal(model: str, messages: list[dict[str, Any]], stream: bool) -> Any:
        messages[0]["content"] = "changed"
        messages.clear()
        raise ValueError("after the damage")
        yield

    second = ScriptedProvider("second")
    mine = [{"role": "user", "content": [{"type": "text", "text": "mine"}]}]
    call([vandal, second], ["vandal/model", "second/model"], mine)
    assert second.calls[0].messages == mine
    assert mine == [{"role": "user", "content": [{"type": "text", "text": "mine"}]}]


def test_a_twin_is_used_by_the_async_router_alone() -> None:
    async def twin(model: str, messages: list[Any], stream: bool) -> Any:
        await asyncio.sleep(0)
        yield "async"

    @provider("both", models=["model"], twin=twin)
    def both(model: str, messages: list[Any], stream: bool) -> Any:
        yield "sync"

    assert Caller("sync")([both], "both/model").completion.text == "sync"  # type: ignore[union-attr]
    assert Caller("async")([both], "both/model").completion.text == "async"  # type: ignore[union-attr]


def test_a_blocking_provider_does_not_block_the_event_loop() -> None:
    release = threading.Event()

    @provider("slow", models=["model"])
    def slow(model: str, messages: list[Any], stream: bool) -> Any:
        yield "a"
        release.wait(10)
        yield "b"

    async def main() -> list[str]:
        async with AsyncRouter([slow], allow=[]) as router:
            answer = await router.create_completion("slow/model", USER, stream=True)
            texts = []
            async for text in answer:
                texts.append(text)
                release.set()
            return texts

    assert asyncio.run(main()) == ["a", "b"]


def test_what_a_blocking_provider_yields_to_a_slow_reader_is_not_lost() -> None:
    """What came while the reader held a piece was dropped, once the provider had ended."""
    going, ended = threading.Event(), threading.Event()

    @provider("quick", models=["model"])
    def quick(model: str, messages: list[Any], stream: bool) -> Any:
        yield "a"
        going.wait(10)
        yield "b"
        yield "c"
        ended.set()

    async def main() -> str:
        async with AsyncRouter([quick], allow=[]) as router:
            answer = await router.create_completion("quick/model", USER, stream=True)
            text = ""
            async for piece in answer:
                text += piece
                going.set()
                assert await asyncio.to_thread(ended.wait, 10)
            return text

    assert asyncio.run(main()) == "abc"


# -- names and configuration


def test_a_closed_router_says_so() -> None:
    router = Router([shout], allow=[])
    router.close()
    with pytest.raises(ConfigError, match="closed"):
        router.create_completion("loud", USER)


@pytest.mark.parametrize("wrong", [[], 7, [7], "", None])
def test_a_model_argument_that_means_nothing_is_refused(wrong: Any) -> None:
    with Router([shout], allow=[]) as router, pytest.raises((BadRequest, ModelNotFound)):
        router.create_completion(wrong, USER)


def test_extras_need_a_provider_that_takes_them(call: Caller) -> None:
    result = call([shout], "loud", extra_body={"x": 1})
    assert isinstance(result.error, UnsupportedParameter)
    assert "extra_body" in str(result.error)


def test_broken_plugins_are_passed_over_when_another_target_is_there(call: Caller) -> None:
    router = Router([ScriptedProvider("second", ["there"])], allow=["nothing"], block=["h2o"])
    with router:
        if not any(info.name == "h2o" for info in router.plugins):
            pytest.skip("the project is not installed, so no plugin can be blocked")
        completion = router.create_completion(["h2o/falcon-7b", "second/model"], USER)
        assert completion.text == "there"
        assert completion.trace.passed_over[0].reason == "plugin"
        with pytest.raises(PluginError, match="block"):
            router.create_completion("h2o/falcon-7b", USER)


def test_a_route_is_a_name_for_targets(call: Caller) -> None:
    providers = [ScriptedProvider("first", [UpstreamError("x")]), ScriptedProvider("second")]
    result = call(providers, "chat", router={"routes": {"chat": ["first/model", "second/model"]}})
    assert result.outcomes == [("first/model", "failed"), ("second/model", "succeeded")]


# -- closing and cancelling


def test_leaving_a_stream_ends_its_exchange() -> None:
    one = ScriptedProvider("one", ["a", "b", "c"])
    with Router([one], allow=[]) as router:
        with router.create_completion("one/model", USER, stream=True) as answer:
            assert next(iter(answer)) == "a"
            assert one.ended == 0
        assert one.ended == 1
        assert answer.trace.attempts[0].outcome == "cancelled"
        with pytest.raises(ConfigError):
            _ = answer.completion


def test_dropping_a_stream_ends_its_exchange() -> None:
    one = ScriptedProvider("one", ["a", "b", "c"])
    with Router([one], allow=[]) as router:
        answer = router.create_completion("one/model", USER, stream=True)
        assert next(iter(answer)) == "a"
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            del answer
            gc.collect()
        assert one.ended == 1


def test_a_keyboard_interrupt_passes_through_and_ends_the_exchange() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    one = Steps(lambda: "a", lambda: Call(interrupt))
    with Router([one], allow=[]) as router, pytest.raises(KeyboardInterrupt):
        router.create_completion("steps/model", USER)


def test_cancelling_a_task_is_never_wrapped() -> None:
    one = ScriptedProvider("one", [Wait(60.0), "late"])

    async def main() -> None:
        async with AsyncRouter([one], allow=[]) as router:
            task = asyncio.create_task(router.create_completion("one/model", USER))
            await asyncio.sleep(0)  # the task runs up to the wait
            assert one.calls
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert one.ended == 1

    asyncio.run(main())


def test_leaving_an_async_stream_ends_its_exchange() -> None:
    one = ScriptedProvider("one", ["a", "b", "c"])

    async def main() -> None:
        async with AsyncRouter([one], allow=[]) as router:
            answer = await router.create_completion("one/model", USER, stream=True)
            async with answer:
                async for text in answer:
                    assert text == "a"
                    break
            assert one.ended == 1
            assert answer.trace.attempts[0].outcome == "cancelled"

    asyncio.run(main())


def test_an_async_router_serves_several_event_loops() -> None:
    router = AsyncRouter([ScriptedProvider("one", ["a"])], allow=[])

    async def main() -> str:
        return (await router.create_completion("one/model", USER)).text

    assert [asyncio.run(main()) for _ in range(3)] == ["a", "a", "a"]


def test_64_threads_share_a_router() -> None:
    one = ScriptedProvider("one", ["a", "b"])
    with Router([one], allow=[]) as router, ThreadPoolExecutor(64) as pool:

        def work(_: int) -> list[list[str]]:
            return [
                list(router.create_completion("one/model", USER, stream=True)) for _ in range(20)
            ]

        for answers in pool.map(work, range(64)):
            assert answers == [["a", "b"]] * 20
    assert len(one.calls) == one.ended == 64 * 20


def test_the_trace_reads_as_text(call: Caller) -> None:
    result = call(
        [ScriptedProvider("first", [UpstreamError("it broke")]), ScriptedProvider("second")],
        ["first/model", "second/model"],
    )
    assert str(result.trace) == (
        "1. first/model failed in 0 ms: it broke\n2. second/model succeeded in 0 ms"
    )


def test_closing_from_another_thread_ends_a_blocking_provider_at_its_next_piece() -> None:
    reached, go_on = threading.Event(), threading.Event()

    @provider("slow", models=["model"])
    def slow(model: str, messages: list[Any], stream: bool) -> Any:
        yield "a"
        reached.set()
        go_on.wait(10)
        yield "b"

    with Router([slow], allow=[]) as router, ThreadPoolExecutor(1) as pool:
        answer = router.create_completion("slow/model", USER, stream=True)
        reader = pool.submit(list, answer)
        assert reached.wait(10)
        answer.close()
        go_on.set()
        with pytest.raises(Cancelled):
            reader.result(10)


@pytest.mark.parametrize("url", ["localhost:8080/v1", "", "ftp://example.invalid/", "http://"])
def test_a_url_that_is_none_is_a_wrong_setting(call: Caller, url: str) -> None:
    steps = Steps(lambda: HttpRequest("POST", url))
    result = call([steps, ScriptedProvider("second")], ["steps/model", "second/model"])
    assert result.trace is not None
    assert isinstance(result.trace.attempts[0].error, ConfigError)
    assert result.completion is not None


def test_a_choice_that_never_began_is_not_a_whole_answer() -> None:
    class Several(WireProvider):
        name = "several"
        models = ("model",)

        def create_completion(
            self, model: str, messages: list[Any], stream: bool, *, n: int | None = None
        ) -> Any:
            yield "the first"
            yield Chunk(finish_reason="stop")
            if n != 2:
                yield Chunk(index=1, text="the second")
                yield Chunk(index=1, finish_reason="stop")

    for asked, finished in ((2, False), (1, True), (3, False)):
        answer = Answer(asked)
        for piece in Several().create_completion("model", [], True, n=asked):
            answer.add_text(piece) if isinstance(piece, str) else answer.add(piece)
        assert answer.finished is finished


def test_certificates_that_are_not_there_are_a_wrong_setting() -> None:
    with pytest.raises(ConfigError, match="verify"):
        Router(allow=[], verify="/there/is/none")


@pytest.mark.parametrize("closed", [False, True], ids=["left", "closed"])
def test_the_rest_of_a_stream_is_there_until_it_is_closed(closed: bool) -> None:
    """Leaving a loop ended the stream, and what was read next looked like the end of an answer."""
    with Router([ScriptedProvider("one", ["a", "b", "c"])], allow=[]) as router:
        answer = router.create_completion("one/model", USER, stream=True)
        for text in answer:
            assert text == "a"
            break
        if closed:
            answer.close()
            with pytest.raises(Cancelled, match="without a whole answer"):
                list(answer)
        else:
            assert list(answer) == ["b", "c"]
            assert answer.completion.text == "abc"
            assert list(answer) == []


def test_an_async_stream_that_was_closed_has_no_normal_end() -> None:
    async def main() -> None:
        async with AsyncRouter([ScriptedProvider("one", ["a", "b", "c"])], allow=[]) as router:
            answer = await router.create_completion("one/model", USER, stream=True)
            assert await anext(answer) == "a"
            await answer.close()
            with pytest.raises(Cancelled, match="without a whole answer"):
                await anext(answer)

    asyncio.run(main())
