"""`AsyncRouter` against aiohttp: calls and streams, several in flight."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from contextlib import ExitStack

import aiohttp

from benchmarks.blocking import KEY, MESSAGES, MODEL
from benchmarks.measure import Comparison
from router import AsyncRouter

CALLS = 50
STREAMS = 8


def comparisons(upstream: str, runner: asyncio.Runner, stack: ExitStack) -> list[Comparison]:
    """Both, for information, since no goal is set; what they open is closed with the stack."""
    plain = _Plain(upstream)
    routed = _Routed(upstream)
    stack.callback(lambda: runner.run(plain.close()))
    stack.callback(lambda: runner.run(routed.close()))

    def many(function: Callable[[], Coroutine[None, None, str]], count: int) -> Callable[[], None]:
        async def run() -> None:
            await asyncio.gather(*[function() for _ in range(count)])

        return lambda: runner.run(run())

    return [
        Comparison(
            name="async call",
            baseline=many(plain.call, CALLS),
            ours=many(routed.call, CALLS),
            times=1,
            unit=CALLS,
        ),
        Comparison(
            name="async stream",
            baseline=many(plain.stream, STREAMS),
            ours=many(routed.stream, STREAMS),
            times=1,
            unit=STREAMS,
        ),
    ]


class _Plain:
    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._opened: aiohttp.ClientSession | None = None

    async def call(self) -> str:
        async with self._post("whole") as response:
            answer = await response.json()
        return str(answer["choices"][0]["message"]["content"])

    async def stream(self) -> str:
        text = ""
        async with self._post("stream", stream=True) as response:
            async for line in response.content:
                if line.startswith(b"data: ") and line != b"data: [DONE]\n":
                    chunk = json.loads(line[6:])
                    text += chunk["choices"][0]["delta"].get("content", "")
        return text

    async def close(self) -> None:
        if self._opened is not None:
            await self._opened.close()

    def _post(self, kind: str, *, stream: bool = False) -> aiohttp.client._RequestContextManager:
        if self._opened is None:
            self._opened = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                headers={"Authorization": f"Bearer {KEY}"},
            )
        body = {"model": MODEL, "messages": MESSAGES, "temperature": 0.2, "max_tokens": 100}
        return self._opened.post(
            f"{self._upstream}/{kind}/chat/completions",
            json={**body, "stream": True} if stream else body,
        )


class _Routed:
    def __init__(self, upstream: str) -> None:
        kinds = {"openai": "whole", "vllm": "stream"}
        self._router = AsyncRouter(
            settings={
                name: {"base_url": f"{upstream}/{kind}", "key": KEY} for name, kind in kinds.items()
            }
        )

    async def close(self) -> None:
        await self._router.close()

    async def call(self) -> str:
        completion = await self._router.create_completion(
            f"openai/{MODEL}", MESSAGES, temperature=0.2, max_tokens=100
        )
        return completion.text

    async def stream(self) -> str:
        pieces = await self._router.create_completion(
            f"vllm/{MODEL}", MESSAGES, stream=True, temperature=0.2, max_tokens=100
        )
        text = ""
        async for piece in pieces:
            text += piece
        return text
