"""Every call that begins ends once: in the hook, in the log, and in the trace of its error."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from calling import USER, Kind

from router import (
    AsyncRouter,
    CallSummary,
    Cancelled,
    ConnectionLost,
    Policy,
    Router,
    RouterError,
    UpstreamError,
    Wait,
    hookimpl,
)
from router.testing import ScriptedProvider
from router.testing.virtual import VirtualClock


class Ends:
    """A plugin that keeps how calls ended, and says that one began."""

    name = "ends"

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.summaries: list[CallSummary] = []

    @hookimpl
    def attempt_started(self) -> None:
        self.began.set()

    @hookimpl
    def completion_finished(self, summary: CallSummary) -> None:
        self.summaries.append(summary)


class Watched:
    """A router of either kind, whose calls are watched to their end."""

    def __init__(self, kind: Kind, caplog: pytest.LogCaptureFixture, *scripts: Any) -> None:
        self.kind = kind
        self.ends = Ends()
        self._caplog = caplog
        make: Any = Router if kind == "sync" else AsyncRouter
        plugins = [self.ends, ScriptedProvider("one", *scripts)]
        policy = Policy(retries=0, deadline=100.0)
        self.router = make(plugins, allow=[], clock=VirtualClock(), policy=policy)

    def run(self, made: Any) -> Any:
        return made if self.kind == "sync" else asyncio.run(made)

    def call(self, *arguments: Any, **more: Any) -> Any:
        """One call, whose error is given."""
        with pytest.raises(BaseException) as caught:  # noqa: PT011  # whatever ends it
            self.read(*arguments, **more)
        return caught.value

    def read(self, model: Any = "one/model", messages: Any = USER, **more: Any) -> Any:
        """One call to its end."""
        if self.kind == "sync":
            answer = self.router.create_completion(model, messages, **more)
            return list(answer) if more.get("stream") else answer
        return asyncio.run(self._read(model, messages, more))

    async def _read(self, model: Any, messages: Any, more: dict[str, Any]) -> Any:
        answer = await self.router.create_completion(model, messages, **more)
        return [each async for each in answer] if more.get("stream") else answer

    def ended(self) -> CallSummary:
        """How the only call ended; the log says the same."""
        [summary] = self.ends.summaries
        told = [r.router | {"event": r.getMessage().split()[0]} for r in self._caplog.records]
        [event] = [each for each in told if each["event"].startswith("completion_")]
        assert event["request_id"] == summary.trace.request_id
        if summary.error is None:
            assert event["event"] == "completion_succeeded"
            return summary
        cancelled = isinstance(summary.error, Cancelled)
        assert event["event"] == ("completion_cancelled" if cancelled else "completion_failed")
        assert event["error_type"] == type(summary.error).__name__
        assert event["attempts"] == len(summary.trace.attempts)
        assert summary.target is None
        return summary


@pytest.fixture(params=["sync", "async"])
def watch(
    request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> Callable[..., Watched]:
    caplog.set_level(logging.INFO, "router")
    return lambda *scripts: Watched(request.param, caplog, *scripts)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_call_that_is_answered_ends_once(watch: Callable[..., Watched], stream: bool) -> None:
    watched = watch(["text"])
    watched.read(stream=stream)
    assert watched.ended().target == "one/model"


REFUSED: dict[str, dict[str, Any]] = {
    "message": {"messages": [{"role": "user"}]},
    "no messages": {"messages": None},
    "model": {"model": "nobody/model"},
    "no model": {"model": None},
    "parameter": {"nosuch": 1},
    "value": {"temperature": "hot"},
    "header": {"extra_headers": {"Host": "elsewhere"}},
    "policy": {"policy": {"nosuch": 1}},
    "stream": {"stream": "yes"},
}


@pytest.mark.parametrize("arguments", REFUSED.values(), ids=REFUSED)
def test_a_call_that_is_refused_ends_once(
    watch: Callable[..., Watched], arguments: dict[str, Any]
) -> None:
    """What nobody was sent was neither in the log nor told to an observer."""
    watched = watch(["text"])
    error = watched.call(**arguments)
    assert isinstance(error, RouterError)
    summary = watched.ended()
    assert summary.error is error
    assert error.trace == summary.trace
    assert summary.trace.attempts == ()
    assert summary.trace.request_id


def test_a_call_of_a_closed_router_ends_once(watch: Callable[..., Watched]) -> None:
    watched = watch(["text"])
    watched.run(watched.router.close())
    assert watched.call() is watched.ended().error


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    "script",
    [
        [UpstreamError("down", status=500)],
        ["half", ConnectionLost("cut")],
        [ValueError("a bug")],
        [Wait(1000.0), "late"],
        ["half", Wait(1000.0), "late"],
    ],
    ids=["failed", "cut", "buggy", "late", "stalled"],
)
def test_a_call_that_fails_ends_once(
    watch: Callable[..., Watched], script: list[Any], stream: bool
) -> None:
    watched = watch(script)
    error = watched.call(stream=stream)
    summary = watched.ended()
    assert summary.error is error
    assert error.trace == summary.trace
    assert len(summary.trace.attempts) == 1


class Interrupted(ScriptedProvider):
    """Its user loses patience: at the call, or after the first piece."""

    def __init__(self, *, late: bool) -> None:
        super().__init__("hasty")
        self._late = late

    def create_completion(self, model: str, messages: list[Any], stream: bool) -> Any:
        if self._late:
            yield "first"
        raise KeyboardInterrupt


@pytest.mark.parametrize("late", [False, True])
def test_a_call_that_is_interrupted_ends_once(caplog: pytest.LogCaptureFixture, late: bool) -> None:
    caplog.set_level(logging.INFO, "router")
    watched = Watched("sync", caplog)
    watched.router.register(Interrupted(late=late))
    assert isinstance(watched.call("hasty/model", stream=True), KeyboardInterrupt)
    assert isinstance(watched.ended().error, Cancelled)


def test_a_call_that_is_interrupted_before_it_is_sent_ends_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """While a plugin is imported, say."""

    def interrupt() -> Any:
        raise KeyboardInterrupt
        yield

    caplog.set_level(logging.INFO, "router")
    watched = Watched("sync", caplog)
    assert isinstance(watched.call(messages=interrupt()), KeyboardInterrupt)
    assert isinstance(watched.ended().error, Cancelled)


@pytest.mark.parametrize("way", ["close", "leave", "drop", "drop unread"])
def test_a_stream_that_is_left_ends_once(caplog: pytest.LogCaptureFixture, way: str) -> None:
    caplog.set_level(logging.INFO, "router")
    watched = Watched("sync", caplog, ["first", "second"])
    answer = watched.router.create_completion("one/model", USER, stream=True)
    if way != "drop unread":
        assert next(answer) == "first"
    if way == "close":
        answer.close()
        answer.close()
    elif way == "leave":
        with answer:
            pass
    del answer
    summary = watched.ended()
    assert isinstance(summary.error, Cancelled)
    assert [attempt.outcome for attempt in summary.trace.attempts] == ["cancelled"]


@pytest.mark.parametrize("way", ["close", "leave", "cancel", "cancel early"])
def test_an_async_stream_that_is_left_ends_once(caplog: pytest.LogCaptureFixture, way: str) -> None:
    caplog.set_level(logging.INFO, "router")

    async def read(router: AsyncRouter, reading: asyncio.Event) -> None:
        async with await router.create_completion("one/model", USER, stream=True) as answer:
            async for _ in answer:
                reading.set()
                if way == "leave":
                    return
                if way == "close":
                    await answer.close()
                    return

    async def main(ends: Ends) -> None:
        stalls = ["first", Wait(60.0), "second"]
        script = [Wait(60.0), *stalls] if way == "cancel early" else stalls
        async with AsyncRouter([ends, ScriptedProvider("one", script)], allow=[]) as router:
            reading = asyncio.Event()
            task = asyncio.create_task(read(router, reading))
            if way.startswith("cancel"):
                await (ends.began if way == "cancel early" else reading).wait()
                task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert task.cancelled() == way.startswith("cancel")

    watched = Watched("sync", caplog)
    asyncio.run(main(watched.ends))
    summary = watched.ended()
    assert isinstance(summary.error, Cancelled)
    assert [attempt.outcome for attempt in summary.trace.attempts] == ["cancelled"]
