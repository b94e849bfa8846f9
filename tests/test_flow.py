"""The routing of a call under a virtual clock: exact waits, every row's consequence, properties."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from calling import USER, Caller
from hypothesis import given, settings
from hypothesis import strategies as st
from routed import PROMPTLY, take

from router import (
    AllTargetsFailed,
    AuthError,
    BadRequest,
    Chunk,
    ConfigError,
    ConnectFailed,
    ConnectionLost,
    ContentFiltered,
    ContextOverflow,
    DeadlineExceeded,
    Model,
    Overloaded,
    PermissionDenied,
    PluginError,
    ProtocolError,
    QuotaExhausted,
    RateLimited,
    Restart,
    Router,
    RouterError,
    Rule,
    StreamInterrupted,
    Target,
    Timeout,
    TLSFailed,
    UpstreamError,
    Wait,
)
from router.health import CONSECUTIVE, EJECTION
from router.testing.scripted import ScriptedProvider, Truncated
from router.testing.virtual import VirtualClock


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Caller:
    return Caller(request.param)


def targets(*providers: ScriptedProvider) -> list[str]:
    return [f"{each.name}/model" for each in providers]


# -- retries


def test_a_failing_target_is_retried_last_with_full_jitter(call: Caller) -> None:
    one = ScriptedProvider("one", [UpstreamError("broken")])
    draws = iter([0.5, 0.25])
    result = call([one], "one/model", router={"draw": lambda: next(draws, 0.0)})
    assert isinstance(result.error, UpstreamError)
    assert len(one.calls) == 3
    assert call.clock.sleeps == pytest.approx([0.5 * 0.5, 0.25 * 1.0])


def test_other_targets_come_before_retries(call: Caller) -> None:
    first = ScriptedProvider("first", [UpstreamError("a")], ["back"])
    second = ScriptedProvider("second", [UpstreamError("b")])
    result = call([first, second], targets(first, second), router={"draw": lambda: 0.0})
    assert result.outcomes == [
        ("first/model", "failed"),
        ("second/model", "failed"),
        ("first/model", "succeeded"),
    ]


def test_retry_after_is_obeyed_where_no_other_target_is_left(call: Caller) -> None:
    one = ScriptedProvider("one", [RateLimited("slow down", retry_after=7.0)], ["there"])
    result = call([one], "one/model")
    assert result.completion is not None
    assert call.clock.now() == pytest.approx(7.0)


def test_retry_after_sends_the_call_to_the_next_target_at_once(call: Caller) -> None:
    first = ScriptedProvider("first", [RateLimited("slow down", retry_after=7.0)])
    second = ScriptedProvider("second", ["there"])
    result = call([first, second], targets(first, second))
    assert result.completion is not None
    assert call.clock.now() == 0


@pytest.mark.parametrize("asked", [61.0, 3600.0])
def test_a_wait_that_is_too_long_is_a_reason_to_fail_and_says_so(
    call: Caller, asked: float
) -> None:
    one = ScriptedProvider("one", [RateLimited("slow down", retry_after=asked)])
    result = call([one], "one/model")
    assert isinstance(result.error, RateLimited)
    assert result.error.retry_after == asked
    assert call.clock.now() == 0
    assert len(one.calls) == 1


def test_a_wait_that_does_not_fit_the_deadline_is_not_begun(call: Caller) -> None:
    one = ScriptedProvider("one", [RateLimited("slow down", retry_after=7.0)])
    result = call([one], "one/model", policy={"deadline": 5.0})
    assert isinstance(result.error, RateLimited)
    assert call.clock.now() == 0


@pytest.mark.parametrize(
    "error",
    [
        AuthError("no"),
        PermissionDenied("no"),
        QuotaExhausted("no money"),
        ProtocolError("html"),
        PluginError("bug"),
        TLSFailed("expired"),
        Timeout("slow", phase="connect"),
        Timeout("slow", phase="first_token"),
    ],
    ids=lambda error: f"{type(error).__name__}-{getattr(error, 'phase', '')}",
)
def test_what_a_retry_cannot_help_is_not_retried(call: Caller, error: RouterError) -> None:
    one = ScriptedProvider("one", [error])
    result = call([one], "one/model")
    assert type(result.error) is type(error)
    assert len(one.calls) == 1


def test_the_server_may_forbid_or_invite_a_retry(call: Caller) -> None:
    forbidden, invited = UpstreamError("no"), ProtocolError("odd")
    forbidden.should_retry, invited.should_retry = False, True
    one = ScriptedProvider("one", [forbidden])
    call([one], "one/model")
    assert len(one.calls) == 1
    two = ScriptedProvider("two", [invited], ["there"])
    assert call([two], "two/model").completion is not None


def test_a_retry_that_was_invited_is_made_where_it_was_and_nowhere_else(call: Caller) -> None:
    """The next target would not take the request either, and this one asked for it."""
    invited = BadRequest("not now")
    invited.should_retry = True
    first, second = ScriptedProvider("first", [invited]), ScriptedProvider("second")
    result = call([first, second], targets(first, second), policy={"retries": 1})
    assert isinstance(result.error, BadRequest)
    assert result.outcomes == [("first/model", "failed")] * 2


def test_an_unknown_outcome_is_issued_once_more_at_the_same_target(call: Caller) -> None:
    one = ScriptedProvider("one", [ConnectionLost("cut")])
    result = call([one], "one/model")
    assert isinstance(result.error, ConnectionLost)
    assert len(one.calls) == 2
    assert all(attempt.possibly_billed for attempt in result.error.attempts)


def test_nothing_is_issued_again_where_side_effects_are(call: Caller) -> None:
    first, second = ScriptedProvider("first", [ConnectionLost("cut")]), ScriptedProvider("second")
    result = call([first, second], targets(first, second), policy={"idempotency": "none"})
    assert isinstance(result.error, ConnectionLost)
    assert not second.calls
    never_sent = ScriptedProvider("first", [ConnectFailed("refused")])
    result = call([never_sent, second], targets(never_sent, second), policy={"idempotency": "none"})
    assert result.completion is not None


def test_attempts_are_limited_over_all_targets(call: Caller) -> None:
    providers = [ScriptedProvider(name, [UpstreamError("x")]) for name in "abcdefgh"]
    result = call(providers, targets(*providers), policy={"attempts": 5})
    assert isinstance(result.error, AllTargetsFailed)
    assert len(result.error.attempts) == 5


def test_the_deadline_ends_a_back_off_before_it_is_begun(call: Caller) -> None:
    one = ScriptedProvider("one", [Wait(4.9), UpstreamError("broken")])
    result = call([one], "one/model", policy={"deadline": 5.0}, router={"draw": lambda: 0.99})
    assert isinstance(result.error, UpstreamError)
    assert call.clock.now() == pytest.approx(4.9)


# -- what goes where


def test_a_context_overflow_goes_to_larger_windows_alone(call: Caller) -> None:
    small = ScriptedProvider(
        "small", [ContextOverflow("too long")], models=[Model(id="model", context_window=100)]
    )
    unknown = ScriptedProvider("unknown")
    same = ScriptedProvider("same", models=[Model(id="model", context_window=100)])
    large = ScriptedProvider("large", ["fits"], models=[Model(id="model", context_window=1000)])
    everyone = [small, unknown, same, large]
    result = call(everyone, targets(*everyone))
    assert result.outcomes == [("small/model", "failed"), ("large/model", "succeeded")]
    result = call([small, unknown], targets(small, unknown))
    assert isinstance(result.error, ContextOverflow)


def test_a_refused_content_goes_nowhere_unless_asked(call: Caller) -> None:
    first, second = ScriptedProvider("first", [ContentFiltered("no")]), ScriptedProvider("second")
    assert isinstance(call([first, second], targets(first, second)).error, ContentFiltered)
    asked = call([first, second], targets(first, second), policy={"on_content_filter": "next"})
    assert asked.completion is not None


def test_an_application_may_override_a_row(call: Caller) -> None:
    first, second = ScriptedProvider("first", [BadRequest("odd")]), ScriptedProvider("second")
    rules = {BadRequest: Rule(again="never", elsewhere="yes", cools="nothing")}
    result = call([first, second], targets(first, second), router={"rules": rules})
    assert result.completion is not None


# -- limits


@pytest.mark.parametrize(("stream", "outcome"), [(False, "succeeded"), (True, "failed")])
def test_a_first_token_is_due_in_streams_alone(call: Caller, stream: bool, outcome: str) -> None:
    first = ScriptedProvider("first", [Wait(9.0), "late"])
    second = ScriptedProvider("second")
    policy = {"first_token": 5.0}
    result = call([first, second], targets(first, second), stream=stream, policy=policy)
    assert result.outcomes[0] == ("first/model", outcome)


# -- constraints


def test_constraints_of_router_route_and_call_add_up(call: Caller) -> None:
    providers = [ScriptedProvider(name) for name in ("a", "b", "c", "d")]
    arguments: dict[str, Any] = {
        "routes": {"all": targets(*providers)},
        "policy": {"only": ("a", "b", "c/model")},
        "tags": {"b": ["eu"], "c/model": ["eu", "private"]},
    }
    result = call(providers, "all", router=arguments, policy={"never": ("a/model",)})
    assert result.outcomes == [("b/model", "succeeded")]
    result = call(providers, "all", router=arguments, policy={"require": ("eu", "private")})
    assert result.outcomes == [("c/model", "succeeded")]
    result = call(providers, "all", router=arguments, policy={"only": ("d",)})
    assert isinstance(result.error, BadRequest)
    assert not providers[3].calls


@pytest.mark.parametrize("name", ["one/model", "one/nick", Target("one", "nick"), "nick"])
@pytest.mark.parametrize(
    ("policy", "allowed"),
    [
        ({"never": ["one/model"]}, False),
        ({"never": ["one/nick"]}, False),
        ({"only": ["one/model"]}, True),
        ({"only": ["one/nick"]}, True),
        ({"require": ["eu"]}, True),
    ],
)
def test_a_constraint_means_a_model_by_all_of_its_names(
    call: Caller, name: str | Target, policy: dict[str, Any], allowed: bool
) -> None:
    """A Target by an alias was asked although its model was forbidden; so was the model, where its
    alias was."""
    one = ScriptedProvider("one", models=[Model(id="model", aliases=("nick",))])
    result = call([one], name, policy=policy, router={"tags": {"one/nick": ["eu"]}})
    assert bool(one.calls) is allowed
    assert isinstance(result.error, BadRequest) is not allowed
    assert result.outcomes == [("one/model", "succeeded")] * allowed


@pytest.mark.parametrize("policy", [{"never": ("sceond",)}, {"only": ("first", "b/model")}])
def test_a_constraint_that_means_nothing_is_a_wrong_setting(
    call: Caller, policy: dict[str, Any]
) -> None:
    first, second = ScriptedProvider("first"), ScriptedProvider("second")
    result = call([first, second], targets(first, second), policy=policy)
    assert isinstance(result.error, ConfigError)
    assert not first.calls


def test_a_prompt_never_falls_back_outside_its_constraints(call: Caller) -> None:
    first, second = ScriptedProvider("first", [UpstreamError("x")]), ScriptedProvider("second")
    result = call(
        [first, second], targets(first, second), policy={"never": ("second",), "retries": 0}
    )
    assert isinstance(result.error, UpstreamError)
    assert not second.calls


@pytest.mark.parametrize(
    ("model", "arguments", "reason"),
    [
        (Model(id="model", context_window=10), {}, "context"),
        (Model(id="model", inputs=("text",)), {"image": True}, "input"),
    ],
    ids=["context", "input"],
)
def test_what_a_model_cannot_take_is_passed_over(
    call: Caller, model: Model, arguments: dict[str, Any], reason: str
) -> None:
    content: Any = "word " * 100
    if arguments:
        content = [{"type": "image_url", "image_url": {"url": "https://example.invalid/a.png"}}]
    first, second = ScriptedProvider("first", models=[model]), ScriptedProvider("second")
    messages = [{"role": "user", "content": content}]
    result = call([first, second], targets(first, second), messages)
    assert result.outcomes == [("second/model", "succeeded")]
    assert result.trace is not None
    assert [skipped.reason for skipped in result.trace.passed_over] == [reason]


# -- interrupted streams

PREFILLING = [Model(id="model", accepts_prefill=True)]


class Several(ScriptedProvider):
    """A scripted provider that can be asked for several choices."""

    def create_completion(self, model: str, messages: list, stream: bool, *, n: int = 1) -> Any:  # type: ignore[override, type-arg]
        return super().create_completion(model, messages, stream)


def test_continue_goes_on_where_the_stream_broke(call: Caller) -> None:
    first = ScriptedProvider("first", ["One, two, ", ConnectionLost("cut")])
    other = ScriptedProvider("other", ["no prefill"])
    second = ScriptedProvider(
        "second", ["three."], models=[Model(id="model", accepts_prefill=True)]
    )
    result = call(
        [first, other, second],
        targets(first, other, second),
        stream=True,
        policy={"on_interrupt": "continue"},
    )
    assert result.text == "One, two, three."
    assert result.completion is not None
    assert result.completion.text == "One, two, three."
    assert result.outcomes == [("first/model", "interrupted"), ("second/model", "succeeded")]
    assert second.calls[0].messages[-1] == {"role": "assistant", "content": "One, two, "}


def test_a_continued_answer_has_all_that_was_delivered(call: Caller) -> None:
    """The reasoning that came before the break was in the pieces, and not in the completion."""
    begun = [Chunk(reasoning="Counting."), "One, ", ConnectionLost("cut")]
    first = ScriptedProvider("first", begun)
    second = ScriptedProvider("second", ["two."], models=PREFILLING)
    policy = {"on_interrupt": "continue"}
    result = call([first, second], targets(first, second), stream=True, policy=policy)
    assert result.completion is not None
    assert (result.completion.reasoning, result.completion.text) == ("Counting.", "One, two.")
    assert result.text == "One, two."


def test_one_of_several_choices_is_not_continued(call: Caller) -> None:
    """A second choice would have begun where the first had broken off."""
    first = Several("first", ["One, ", ConnectionLost("cut")])
    second = Several("second", ["two."], models=PREFILLING)
    policy = {"on_interrupt": "continue"}
    result = call([first, second], targets(first, second), stream=True, policy=policy, n=2)
    assert isinstance(result.error, StreamInterrupted)
    assert not second.calls


def test_a_restart_says_how_much_of_all_choices_is_void(call: Caller) -> None:
    """Only the first choice's text was counted."""
    begun = [Chunk(text="half"), Chunk(text="other", index=1), ConnectionLost("cut")]
    first = ScriptedProvider("first", begun)
    second = ScriptedProvider("second", ["anew"])
    policy = {"on_interrupt": "restart"}
    result = call([first, second], targets(first, second), stream=True, policy=policy)
    assert result.text == "anew"


def test_continue_raises_where_no_model_takes_a_prefill(call: Caller) -> None:
    first, second = (
        ScriptedProvider("first", ["half", ConnectionLost("cut")]),
        ScriptedProvider("second"),
    )
    result = call(
        [first, second], targets(first, second), stream=True, policy={"on_interrupt": "continue"}
    )
    assert isinstance(result.error, StreamInterrupted)
    assert result.error.partial.text == "half"


def test_continue_falls_to_restart_where_that_is_allowed(call: Caller) -> None:
    first, second = (
        ScriptedProvider("first", ["half", ConnectionLost("cut")]),
        ScriptedProvider("second", ["anew"]),
    )
    result = call(
        [first, second],
        targets(first, second),
        stream=True,
        policy={"on_interrupt": ("continue", "restart")},
    )
    restarts = [piece for piece in result.pieces if isinstance(piece, Restart)]
    assert restarts == [Restart(target="second/model", discard_characters=4)]
    assert result.text == "anew"
    assert result.completion is not None
    assert result.completion.text == "anew"


def test_a_reader_of_text_never_gets_a_restart() -> None:
    first, second = (
        ScriptedProvider("first", ["half", ConnectionLost("cut")]),
        ScriptedProvider("second", ["anew"]),
    )
    with Router([first, second], allow=[], policy={"on_interrupt": "restart"}) as router:
        answer = router.create_completion(targets(first, second), USER, stream=True)
        with pytest.raises(StreamInterrupted):
            list(answer)
    assert not second.calls


def test_a_broken_stream_is_not_mended_where_side_effects_are(call: Caller) -> None:
    first = ScriptedProvider("first", ["half", ConnectionLost("cut")])
    second = ScriptedProvider("second", ["anew"], models=[Model(id="model", accepts_prefill=True)])
    policy = {"on_interrupt": ("continue", "restart"), "idempotency": "none"}
    result = call([first, second], targets(first, second), stream=True, policy=policy)
    assert isinstance(result.error, StreamInterrupted)
    assert not second.calls


def test_buffer_repairs_a_cut_unseen(call: Caller) -> None:
    first, second = (
        ScriptedProvider("first", ["half", Truncated]),
        ScriptedProvider("second", ["wh", "ole"]),
    )
    result = call(
        [first, second], targets(first, second), stream=True, policy={"on_interrupt": "buffer"}
    )
    assert result.text == "whole"
    assert result.outcomes == [("first/model", "failed"), ("second/model", "succeeded")]


def test_a_mending_that_fails_raises_the_interruption(call: Caller) -> None:
    first, second = (
        ScriptedProvider("first", ["half", ConnectionLost("cut")]),
        ScriptedProvider("second", [BadRequest("no")]),
    )
    result = call(
        [first, second], targets(first, second), stream=True, policy={"on_interrupt": "restart"}
    )
    assert isinstance(result.error, StreamInterrupted)
    assert result.error.partial.text == "half"
    assert len(result.error.attempts) == 2


@pytest.mark.parametrize("retryable", [True, False])
def test_an_interruption_says_what_its_cause_says(call: Caller, retryable: bool) -> None:
    cause = UpstreamError("broke", status=200, code="x", request_id="r", retryable=retryable)
    error = call([ScriptedProvider("one", ["half", cause])], "one/model", stream=True).error
    assert isinstance(error, StreamInterrupted)
    assert error.message == "the answer broke off after 4 characters: broke"
    assert (error.target, error.provider) == ("one/model", "one")
    assert (error.status, error.code, error.request_id) == (200, "x", "r")
    assert error.retryable == retryable


def test_a_deadline_in_the_middle_keeps_what_was_delivered(call: Caller) -> None:
    one = ScriptedProvider("one", ["half", Wait(9.0), "late"])
    result = call([one], "one/model", stream=True, policy={"deadline": 5.0})
    assert isinstance(result.error, StreamInterrupted)
    assert isinstance(result.error.cause, DeadlineExceeded)
    assert result.error.partial.text == "half"
    assert call.clock.now() == pytest.approx(5.0)


# -- health in the flow


def test_a_target_that_asked_to_be_left_alone_is_not_asked_again() -> None:
    clock = VirtualClock()
    first = ScriptedProvider("first", [RateLimited("slow down", retry_after=30.0)], ["back"])
    second = ScriptedProvider("second")
    with Router([first, second], allow=[], clock=clock) as router:
        router.create_completion(targets(first, second), USER)
        for _ in range(3):
            completion = router.create_completion(targets(first, second), USER)
            assert completion.target == "second/model"
            assert completion.trace.passed_over[0].reason == "cooling"
        [row] = router.health()
        assert (row.scope, row.name, row.commanded) == ("target", "first/model", True)
        assert row.cooling_s == pytest.approx(30.0)
        clock.advance(30.0)
        assert router.create_completion(targets(first, second), USER).target == "first/model"


def test_when_all_cool_the_call_waits_for_the_first_to_come_back(call: Caller) -> None:
    clock = call.clock
    first = ScriptedProvider("first", [RateLimited("no", retry_after=30.0)], ["first is back"])
    second = ScriptedProvider("second", [RateLimited("no", retry_after=20.0)], ["second is back"])
    result = call([first, second], targets(first, second))
    assert result.completion is not None
    assert result.completion.text == "second is back"
    assert clock.now() == pytest.approx(20.0)


def test_when_all_cool_for_too_long_the_error_says_for_how_long() -> None:
    clock = VirtualClock()
    first = ScriptedProvider("first", [RateLimited("no", retry_after=300.0)])
    second = ScriptedProvider("second", [QuotaExhausted("no money", retry_after=200.0)])
    with Router([first, second], allow=[], clock=clock) as router:
        with pytest.raises(AllTargetsFailed):
            router.create_completion(targets(first, second), USER)
        clock.advance(50.0)
        with pytest.raises(Overloaded, match="back in 150") as caught:
            router.create_completion(targets(first, second), USER)
    assert caught.value.retry_after == pytest.approx(150.0)
    assert not caught.value.attempts
    assert len(first.calls) == len(second.calls) == 1


def test_the_last_target_is_tried_though_its_breaker_is_open() -> None:
    clock = VirtualClock()
    one = ScriptedProvider("one", *[[UpstreamError("down")]] * 10, ["up again"])
    with Router([one], allow=[], clock=clock, policy={"retries": 0}) as router:
        for _ in range(10):
            with pytest.raises(UpstreamError):
                router.create_completion("one/model", USER)
        assert router.health()[0].state == "open"
        assert router.create_completion("one/model", USER).text == "up again"
        assert router.health()[0].state == "closed"


def half_open(*after: Any) -> tuple[Router, list[str]]:
    """A router whose first target is half open: its next attempt, scripted here, is a probe."""
    clock = VirtualClock()
    down = [[UpstreamError("down")]] * CONSECUTIVE
    first, second = ScriptedProvider("first", *down, *after), ScriptedProvider("second")
    router = Router([first, second], allow=[], clock=clock, policy={"retries": 0})
    for _ in range(CONSECUTIVE):
        router.create_completion(targets(first, second), USER)
    clock.advance(EJECTION)
    return router, targets(first, second)


def test_a_probe_that_begins_to_answer_lets_other_calls_in() -> None:
    router, both = half_open(["a", "b"])
    with router, router.create_completion(both, USER, stream=True) as probe:
        assert next(probe) == "a"
        assert router.create_completion(both, USER).target == "first/model"


@pytest.mark.parametrize("nothing", [BadRequest("the caller's mistake"), KeyboardInterrupt()])
def test_a_probe_that_tells_nothing_of_its_target_leaves_room_for_another(
    nothing: BaseException,
) -> None:
    """It would keep its target from every call, for ever."""
    router, both = half_open([nothing], ["back"])
    with router:
        with pytest.raises(type(nothing)):
            router.create_completion(both, USER)
        assert router.create_completion(both, USER).target == "first/model"


def test_targets_of_one_quota_group_cool_together() -> None:
    one = ScriptedProvider(
        "one", [RateLimited("no", retry_after=30.0)], ["b"], models=("model", "twin", "other")
    )
    with Router([one], allow=[], clock=VirtualClock()) as router:
        model, twin = (Target("one", name, quota_group="shared") for name in ("model", "twin"))
        completion = router.create_completion([model, twin, "one/other"], USER)
        assert completion.target == "one/other"
        assert [skipped.target for skipped in completion.trace.passed_over] == ["one/twin"]


def test_a_callers_own_mistake_cools_nothing() -> None:
    one = ScriptedProvider("one", [BadRequest("wrong")])
    with Router([one], allow=[], clock=VirtualClock()) as router:
        for _ in range(20):
            with pytest.raises(BadRequest):
                router.create_completion("one/model", USER)
        assert router.health() == []


def test_an_outage_costs_a_fifth_more_and_no_more() -> None:
    """Well above the floor, retries and fallbacks stay within the budget."""
    clock = VirtualClock()
    providers = [ScriptedProvider(name, [UpstreamError("down")]) for name in ("a", "b")]
    with Router(providers, allow=[], clock=clock, draw=lambda: 0.0) as router:
        for _ in range(3_000):
            with pytest.raises((AllTargetsFailed, UpstreamError)):
                router.create_completion(targets(*providers), USER)
            clock.advance(0.001)
    attempts = sum(len(each.calls) for each in providers)
    assert attempts <= 1.2 * 3_000


def test_the_first_fallback_to_a_healthy_target_is_free() -> None:
    clock = VirtualClock()
    first, second = ScriptedProvider("first", [UpstreamError("down")]), ScriptedProvider("second")
    with Router([first, second], allow=[], clock=clock) as router:
        for _ in range(2_000):
            assert router.create_completion(targets(first, second), USER).text == "ok"
            clock.advance(0.0001)


# -- slots


def test_a_full_target_is_passed_over_for_the_next() -> None:
    held = ScriptedProvider("held", ["a", "b"])
    second = ScriptedProvider("second")
    one_at_once = Target("held", "model", max_concurrency=1)
    with Router([held, second], allow=[]) as router:
        with router.create_completion(one_at_once, USER, stream=True):
            completion = router.create_completion([one_at_once, "second/model"], USER)
            assert completion.target == "second/model"
            assert completion.trace.passed_over[0].reason == "busy"
        assert router.create_completion([one_at_once, "second/model"], USER).target == "held/model"


def test_a_full_target_is_waited_for_where_no_other_is_left(call: Caller) -> None:
    running, most = 0, 0
    lock = threading.Lock()

    class Counting(ScriptedProvider):
        def create_completion(self, model: str, messages: list[Any], stream: bool) -> Any:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
            try:
                yield Wait(0.002)
                yield "done"
            finally:
                with lock:
                    running -= 1

    one = Counting("one")
    one.max_concurrency = 2
    with Router([one], allow=[]) as router:
        texts: list[str] = []
        threads = [
            threading.Thread(
                target=lambda: texts.append(router.create_completion("one/model", USER).text)
            )
            for _ in range(16)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert texts == ["done"] * 16
    assert most == 2


def test_waiting_for_a_slot_is_bounded() -> None:
    held = Target("one", "model", max_concurrency=1)
    one = ScriptedProvider("one", ["a", "b"])
    with (
        Router([one], allow=[], policy={"queue": 0.05}) as router,
        router.create_completion(held, USER, stream=True),
        pytest.raises(Overloaded, match="limit of 1"),
    ):
        router.create_completion(held, USER)


def test_waiting_for_a_slot_ends_at_the_deadline() -> None:
    held = Target("one", "model", max_concurrency=1)
    policy = {"queue": 30.0, "deadline": 0.05}
    with Router([ScriptedProvider("one")], allow=[], policy=policy) as router:
        assert take(router.state.slots, "one/model", 1)
        began = router.clock()
        with pytest.raises((DeadlineExceeded, Overloaded)):
            router.create_completion(held, USER)
        assert router.clock() - began < PROMPTLY


# -- explain


def test_explain_says_all_and_sends_nothing() -> None:
    clock = VirtualClock()
    first = ScriptedProvider("first", [RateLimited("no", retry_after=30.0)])
    second, third = ScriptedProvider("second"), ScriptedProvider("third")
    with Router([first, second, third], allow=[], clock=clock) as router:
        router.create_completion(targets(first, second), USER)
        calls = len(first.calls) + len(second.calls)
        explanation = router.explain(
            targets(first, second, third), USER, policy={"never": ("third",)}, temperature=1
        )
        assert len(first.calls) + len(second.calls) == calls
    assert [each.target for each in explanation.targets] == ["second/model", "first/model"]
    assert explanation.targets[1].commanded
    assert explanation.targets[1].cooling_s == pytest.approx(30.0)
    assert [each.target for each in explanation.passed_over] == ["third/model"]
    assert explanation.worst_attempts == 6
    assert explanation.worst_seconds == 600.0
    assert "cooling for 30.0 s after RateLimited" in str(explanation)


# -- properties

ERRORS: list[RouterError] = [
    UpstreamError("broken"),
    RateLimited("slow down"),
    RateLimited("slow down", retry_after=3.0),
    RateLimited("slow down", retry_after=300.0),
    Overloaded("full"),
    ConnectFailed("refused"),
    ConnectionLost("cut"),
    ConnectionLost("closed", stale=True),
    AuthError("no"),
    QuotaExhausted("no money"),
    ProtocolError("html"),
    BadRequest("wrong"),
    ContentFiltered("no"),
    Timeout("slow", phase="total"),
]
CUES = st.one_of(
    st.sampled_from(["a", "bc", "déf", ""]),
    st.sampled_from(ERRORS),
    st.sampled_from([Wait(0.5), Wait(3.0), Wait(20.0), Chunk(), Chunk(id="x"), Truncated]),
    st.just(Chunk(reasoning="hm")),
)
SCRIPTS = st.lists(st.lists(CUES, max_size=5), min_size=1, max_size=4)
POLICIES = st.fixed_dictionaries(
    {
        "deadline": st.sampled_from([1.0, 10.0, 60.0]),
        "attempts": st.integers(1, 5),
        "retries": st.integers(0, 2),
        "first_token": st.sampled_from([2.0, 30.0]),
        "idle": st.sampled_from([1.0, 30.0]),
        "on_interrupt": st.sampled_from(
            ["raise", "buffer", "restart", "continue", ("continue", "restart")]
        ),
    }
)


def play(kind: Any, scripts: list[list[list[Any]]], policy: dict[str, Any], stream: bool) -> Any:
    prefilling = [Model(id="model", accepts_prefill=True)]
    providers = [
        ScriptedProvider(f"p{number}", *script, models=prefilling if number % 2 else ("model",))
        for number, script in enumerate(scripts)
    ]
    draws = iter(range(10_000))
    caller = Caller(kind, VirtualClock())
    result = caller(
        providers,
        targets(*providers),
        stream=stream,
        policy=policy,
        router={"draw": lambda: (next(draws) * 0.37) % 1.0, "new_id": lambda: "id"},
    )
    return result, providers, caller.clock


def whole_text(script: list[Any]) -> str:
    """All text that a script yields before it ends."""
    text = ""
    for cue in script:
        if isinstance(cue, BaseException) or cue is Truncated:
            break
        text += cue if isinstance(cue, str) else ""
    return text


@given(st.lists(SCRIPTS, min_size=1, max_size=3), POLICIES, st.booleans())
@settings(max_examples=100)
def test_any_script_of_faults_ends_within_its_limits_and_tells_no_lie(
    scripts: list[list[list[Any]]], policy: dict[str, Any], stream: bool
) -> None:
    result, providers, clock = play("sync", scripts, policy, stream)
    assert clock.now() <= policy["deadline"] + 1e-6
    assert result.trace is not None
    attempts = result.trace.attempts
    assert len(attempts) <= policy["attempts"]
    assert sum(each.ended for each in providers) == len(attempts)
    assert all(attempt.outcome != "running" for attempt in attempts)
    played = {f"{each.name}/model": 0 for each in providers}
    texts = []
    for attempt in attempts:
        script = scripts[int(attempt.provider[1:])]
        number = played[attempt.target]
        played[attempt.target] += 1
        texts.append(whole_text(script[min(number, len(script) - 1)]))
    if result.completion is not None:
        assert attempts[-1].outcome == "succeeded"
        assert result.completion.finish_reason == "stop"
        kept = [t for t, a in zip(texts, attempts, strict=True) if a.outcome != "failed"]
        if "continue" not in policy["on_interrupt"]:
            assert result.completion.text == kept[-1]
        else:
            assert result.completion.text.endswith(kept[-1])
        if stream:
            assert result.text == result.completion.text
    elif stream and policy["on_interrupt"] in ("raise", "buffer"):
        assert any(text.startswith(result.text) for text in texts) or not result.text


@given(st.lists(SCRIPTS, min_size=1, max_size=3), POLICIES, st.booleans())
@settings(max_examples=50)
def test_sync_and_async_do_the_same(
    scripts: list[list[list[Any]]], policy: dict[str, Any], stream: bool
) -> None:
    results = [play(kind, scripts, policy, stream) for kind in ("sync", "async")]
    (sync, _, sync_clock), (other, _, other_clock) = results
    assert sync_clock.now() == other_clock.now()
    assert sync.pieces == other.pieces
    assert type(sync.error) is type(other.error)
    assert str(sync.error) == str(other.error)
    strip = [
        [(a.target, a.outcome, a.started_ms, a.latency_ms, a.ttft_ms, str(a.error)) for a in t]
        for t in (sync.trace.attempts, other.trace.attempts)
    ]
    assert strip[0] == strip[1]
    assert sync.trace.passed_over == other.trace.passed_over
