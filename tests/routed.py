"""A router of either kind over real sockets, called from plain code as often as a test likes."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable
from typing import Any, Literal, Self

from calling import USER, Result

from providers.openai import OpenAI, Row
from router import AsyncRouter, HttpRequest, Router, RouterError, WireProvider
from router.slots import Slot, Slots, Turn

Kind = Literal["sync", "async"]

PROMPTLY = 4.0
"""Seconds within which what takes no time is done on a machine that stalls. What waits in place of
that takes 5 and more. The 100 ms that are promised have tests of their own, which may try again."""


def service(name: str, url: str, key: str | None = None) -> OpenAI:
    """A provider of that name that speaks the fault server's wire."""
    row = Row(name=name, base_url=url, url_variable="", key_variables=("NO_KEY",), needs_key=False)
    return row(key=key)


def take(slots: Slots, target: str, limit: int) -> Slot | None:
    """Take a slot, if one is free, as an attempt does that does not wait."""
    return slots.take(Turn(target, limit, math.inf), 0.0)


class Sending(WireProvider):
    """Sends bytes that are there already: to encode a long prompt may take as long as the limit."""

    models = ("m",)

    def __init__(self, name: str, url: str, content: bytes = b"") -> None:
        self.name = name
        self.url = url
        self.content = content

    def create_completion(self, model: str, messages: list[Any], stream: bool) -> Any:
        yield HttpRequest("POST", f"{self.url}/chat/completions", content=self.content)


class Routed:
    """One of the routers; the event loop of the async one lives as long as this.

    Args:
        kind: Which.
        providers: All that it has: installed plugins are left out.
        settings: Further arguments of the router.
    """

    def __init__(self, kind: Kind, providers: Iterable[Any], **settings: Any) -> None:
        make = Router if kind == "sync" else AsyncRouter
        self.router: Any = make(providers, allow=[], **settings)
        self._runner = None if kind == "sync" else asyncio.Runner()

    def __enter__(self) -> Self:
        if self._runner is not None:
            self._runner.get_loop()
        return self

    def __exit__(self, *_: object) -> None:
        if self._runner is None:
            self.router.close()
            return
        with self._runner:
            self._runner.run(self.router.close())

    def run(self, method: Callable[..., Any], **arguments: Any) -> Any:
        """What a method of the router brings, awaited where it must be."""
        made = method(**arguments)
        return made if self._runner is None else self._runner.run(made)

    def call(self, model: Any, *, stream: bool = False, **arguments: Any) -> Result:
        """One call to its end, whichever that is."""
        arguments = {"messages": USER, "stream": stream, **arguments}
        result = Result(pieces=[])
        try:
            if self._runner is None:
                self._call(result, model, arguments)
            else:
                self._runner.run(self._call_async(result, model, arguments))
        except RouterError as error:
            result.error = error
        ended: Any = result.completion or result.error
        result.trace = ended.trace
        return result

    def _call(self, result: Result, model: Any, arguments: dict[str, Any]) -> None:
        answer = self.router.create_completion(model, **arguments)
        if not arguments["stream"]:
            result.completion = answer
            return
        for piece in answer.chunks():
            result.pieces.append(piece)
        result.completion = answer.completion

    async def _call_async(self, result: Result, model: Any, arguments: dict[str, Any]) -> None:
        answer = await self.router.create_completion(model, **arguments)
        if not arguments["stream"]:
            result.completion = answer
            return
        async for piece in answer.chunks():
            result.pieces.append(piece)
        result.completion = answer.completion
