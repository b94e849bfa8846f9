"""The same call through both routers: what a test says of one holds for the other."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from msgspec import Struct

from router import AsyncRouter, Chunk, Completion, Restart, Router, RouterError, Target, Trace
from router.testing.virtual import VirtualClock

Kind = Literal["sync", "async"]
USER = [{"role": "user", "content": "Say something"}]


class Result(Struct, kw_only=True):
    """What a call came to: its pieces as far as they came, and its end."""

    pieces: list[Chunk | Restart]
    completion: Completion | None = None
    error: RouterError | None = None
    trace: Trace | None = None

    @property
    def text(self) -> str:
        """The delivered text, announced restarts obeyed."""
        text = ""
        for piece in self.pieces:
            if isinstance(piece, Restart):
                text = text[: len(text) - piece.discard_characters]
            else:
                text += piece.text
        return text

    @property
    def outcomes(self) -> list[tuple[str, str]]:
        """Target and outcome of each attempt."""
        assert self.trace is not None
        return [(attempt.target, attempt.outcome) for attempt in self.trace.attempts]


class Caller:
    """Makes calls through one of the routers, under a clock of its own."""

    def __init__(self, kind: Kind, clock: VirtualClock | None = None) -> None:
        self.kind = kind
        self.clock = clock or VirtualClock()

    def __call__(
        self,
        providers: Iterable[Any],
        model: str | Target | Sequence[str | Target],
        messages: Any = USER,
        *,
        stream: bool = False,
        router: dict[str, Any] | None = None,
        **arguments: Any,
    ) -> Result:
        """One call through a fresh router with these providers and no installed ones."""
        settings = {"allow": [], "clock": self.clock, **(router or {})}
        if self.kind == "sync":
            return self._sync(Router(providers, **settings), model, messages, stream, arguments)
        return asyncio.run(
            self._async(AsyncRouter(providers, **settings), model, messages, stream, arguments)
        )

    def _sync(
        self, router: Router, model: Any, messages: Any, stream: bool, arguments: dict[str, Any]
    ) -> Result:
        result = Result(pieces=[])
        with router:
            try:
                if stream:
                    answer = router.create_completion(model, messages, True, **arguments)
                    for piece in answer.chunks():
                        result.pieces.append(piece)
                    result.completion = answer.completion
                else:
                    result.completion = router.create_completion(model, messages, **arguments)
            except RouterError as error:
                result.error = error
        return _ended(result)

    async def _async(
        self,
        router: AsyncRouter,
        model: Any,
        messages: Any,
        stream: bool,
        arguments: dict[str, Any],
    ) -> Result:
        result = Result(pieces=[])
        async with router:
            try:
                if stream:
                    answer = await router.create_completion(model, messages, True, **arguments)
                    async for piece in answer.chunks():
                        result.pieces.append(piece)
                    result.completion = answer.completion
                else:
                    result.completion = await router.create_completion(model, messages, **arguments)
            except RouterError as error:
                result.error = error
        return _ended(result)


def _ended(result: Result) -> Result:
    result.trace = (result.completion or result.error).trace  # type: ignore[union-attr]  # one is there
    return result
