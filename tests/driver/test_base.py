"""When an attempt is cut, in both drivers: at its limit, whatever its provider does."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from calling import USER, Caller
from routed import PROMPTLY, Kind, Routed

from router import (
    Chunk,
    ProtocolError,
    Provider,
    StreamInterrupted,
    Target,
    Timeout,
    Wait,
    WireProvider,
)
from router.limit import AFTER_FINISH, AFTER_UNSURE_FINISH
from router.testing import ScriptedProvider


class Endless(WireProvider):
    """One that never asks for anything, and never ends."""

    name = "one"
    models = ("model",)

    def __init__(self, piece: str | Chunk) -> None:
        self.piece = piece

    def create_completion(self, model: str, messages: list[Any], stream: bool) -> Iterator[Any]:
        yield from itertools.repeat(self.piece)


class EndlessIO(Endless, Provider):
    """The same, with I/O of its own, which it does not do either."""

    does_io = True

    async def create_completion_async(
        self, model: str, messages: list[Any], stream: bool
    ) -> AsyncIterator[Any]:
        while True:
            yield self.piece


@pytest.mark.parametrize("make", [Endless, EndlessIO])
@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_an_answer_that_never_waits_is_cut_all_the_same(
    make: type[Endless], kind: Kind, stream: bool
) -> None:
    """The limits were looked at where a provider waits, so one that did not went on for ever."""
    policy = {"total": 0.2, "retries": 0}
    with Routed(kind, [make("x")], policy=policy) as routed:
        began = time.monotonic()
        error = routed.call("one/model", stream=stream).error
        assert time.monotonic() - began < 0.2 + PROMPTLY
    if stream:
        assert isinstance(error, StreamInterrupted)
        error = error.cause
    assert isinstance(error, Timeout)
    assert error.phase == "total"


@pytest.mark.parametrize("make", [Endless, EndlessIO])
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_signs_of_life_alone_are_cut_at_the_first_token(make: type[Endless], kind: Kind) -> None:
    policy = {"first_token": 0.2, "total": 10.0}
    with Routed(kind, [make(Chunk()), ScriptedProvider("two")], policy=policy) as routed:
        began = time.monotonic()
        result = routed.call(["one/model", "two/model"], stream=True)
        assert time.monotonic() - began < 0.2 + PROMPTLY
    assert result.trace is not None
    first, second = result.trace.attempts
    assert isinstance(first.error, Timeout)
    assert first.error.phase == "first_token"
    assert second.outcome == "succeeded"


class Late(Provider):
    """One that is whole, and then goes on for longer than it may."""

    name = "one"
    models = ("model",)

    def create_completion(self, model: str, messages: list[Any], stream: bool) -> Iterator[Any]:
        yield "all"
        yield Chunk(finish_reason="stop")
        time.sleep(0.3)
        yield Chunk()


class LateTwin(Late):
    async def create_completion_async(
        self, model: str, messages: list[Any], stream: bool
    ) -> AsyncIterator[Any]:
        yield "all"
        yield Chunk(finish_reason="stop")
        await asyncio.sleep(30)


@pytest.mark.parametrize("make", [Late, LateTwin])
@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_an_answer_that_is_cut_after_its_finish_reason_is_whole(
    make: type[Late], kind: Kind, stream: bool
) -> None:
    """What does its own I/O was said to have failed, or to have been interrupted."""
    policy = {"total": 0.2, "retries": 0}
    with Routed(kind, [make()], policy=policy) as routed:
        result = routed.call("one/model", stream=stream)
    assert result.error is None
    assert result.completion is not None
    assert result.completion.text == "all"


class Ending(WireProvider):
    """One that has these pieces, and then keeps its caller waiting.

    Args:
        pieces: What it has.
        lives: Whether it shows every second that it is alive.
    """

    name = "one"
    models = ("model",)

    def __init__(self, *pieces: str | Chunk, lives: bool = False) -> None:
        self.pieces = pieces
        self.lives = lives

    def create_completion(self, model: str, messages: list[Any], stream: bool) -> Iterator[Any]:
        yield from self.pieces
        try:
            for _ in range(50):
                yield Wait(1.0)
                if self.lives:
                    yield Chunk()
        except Timeout:
            yield Chunk(finish_reason="stop")


SURE = Chunk(finish_reason="stop")
UNSURE = Chunk(native_finish_reason="STOP")


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize(
    ("provider", "seconds"),
    [
        (Ending("Hi", SURE), AFTER_FINISH),
        (Ending("Hi", SURE, lives=True), AFTER_FINISH),
        (Ending("Hi", UNSURE), AFTER_UNSURE_FINISH),
        (Ending("Hi", UNSURE, lives=True), AFTER_UNSURE_FINISH),
        (Ending("Hi", UNSURE, " there", lives=True), 50.0),
    ],
    ids=["sure", "sure and alive", "unsure", "unsure and alive", "unsure, and it went on"],
)
def test_what_comes_behind_a_finish_reason_is_not_waited_for_long(
    provider: Ending, seconds: float, kind: Kind
) -> None:
    """Silence behind a reason that need not be the last took the idle limit; with signs of life
    behind any, it took the whole attempt's."""
    caller = Caller(kind)
    caller([provider], "one/model", stream=True)
    assert caller.clock.now() == pytest.approx(seconds)


class Rude(WireProvider):
    """One that does in its end what no generator should."""

    name = "one"
    models = ("model",)

    def __init__(self, end: str, piece: Any = "a") -> None:
        self.end = end
        self.piece = piece

    def create_completion(self, model: str, messages: list[Any], stream: bool) -> Iterator[Any]:
        try:
            yield self.piece
            yield "b"
        finally:
            if self.end == "raises":
                raise LookupError("a bug")
            if self.end == "exits":
                raise SystemExit(3)
            yield "and another thing"


class RudeIO(Rude, Provider):
    does_io = True


class RudeTwin(RudeIO):
    async def create_completion_async(
        self, model: str, messages: list[Any], stream: bool
    ) -> AsyncIterator[Any]:
        try:
            yield "a"
            yield "b"
        finally:
            if self.end == "raises":
                raise LookupError("a bug")
            if self.end == "exits":
                raise SystemExit(3)
            yield "and another thing"


@pytest.mark.parametrize("make", [Rude, RudeIO, RudeTwin])
@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("end", ["raises", "exits", "yields"])
def test_what_a_provider_does_in_its_end_is_not_told_to_who_closes_it(
    make: type[Rude], kind: Kind, end: str
) -> None:
    """It was raised from `close()`; a SystemExit would have ended the application."""
    with Routed(kind, [make(end)]) as routed:
        target = Target("one", "model", max_concurrency=1)
        arguments: dict[str, Any] = {"model": target, "messages": USER, "stream": True}
        answer = routed.run(routed.router.create_completion, **arguments)
        routed.run(answer.close)
        [attempt] = answer.trace.attempts
        assert attempt.outcome == "cancelled"


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("end", ["raises", "exits", "yields"])
def test_what_a_provider_does_in_its_end_hides_no_error(kind: Kind, end: str) -> None:
    with Routed(kind, [Rude(end, b"a")]) as routed:
        assert isinstance(routed.call("one/model").error, ProtocolError)
