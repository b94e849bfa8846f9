"""`Router` against requests: a call, a stream, a fallback."""

from __future__ import annotations

import json

import requests

from benchmarks.measure import Comparison
from router import Router

KEY = "sk-0123456789abcdef0123456789abcdef"
MODEL = "gpt-4o-mini"
MESSAGES = [
    {"role": "system", "content": "You are a poet of few words."},
    {"role": "user", "content": "Write one sentence about the sea."},
]


def comparisons(upstream: str, broken: str) -> list[Comparison]:
    """All four; each keeps its connection open, as an application does."""
    plain = _Plain(upstream)
    routed = _Routed(upstream, broken)
    return [
        Comparison(name="call", baseline=plain.call, ours=routed.call, times=30, goal=1.2),
        Comparison(name="stream", baseline=plain.stream, ours=routed.stream, times=8, goal=1.0),
        Comparison(
            name="fallback", baseline=plain.two_calls, ours=routed.fallback, times=15, goal=1.2
        ),
        Comparison(
            name="slow stream",
            baseline=lambda: plain.stream("drip"),
            ours=lambda: routed.stream("lmstudio"),
            times=1,
        ),
    ]


class _Plain:
    """What an application writes that has requests and one provider."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {KEY}"

    def call(self, kind: str = "whole") -> str:
        answer = self._post(kind).json()
        return str(answer["choices"][0]["message"]["content"]) if kind == "whole" else ""

    def two_calls(self) -> str:
        self.call("broken")
        return self.call()

    def stream(self, kind: str = "stream") -> str:
        text = ""
        with self._post(kind, stream=True) as response:
            for line in response.iter_lines():
                if line.startswith(b"data: ") and line != b"data: [DONE]":
                    chunk = json.loads(line[6:])
                    text += chunk["choices"][0]["delta"].get("content", "")
        return text

    def _post(self, kind: str, *, stream: bool = False) -> requests.Response:
        body = {"model": MODEL, "messages": MESSAGES, "temperature": 0.2, "max_tokens": 100}
        return self._session.post(
            f"{self._upstream}/{kind}/chat/completions",
            json={**body, "stream": True} if stream else body,
            stream=stream,
        )


class _Routed:
    """The same through the router; what breaks and what streams are providers of their own."""

    def __init__(self, upstream: str, broken: str) -> None:
        urls = {
            "openai": f"{upstream}/whole",
            "vllm": f"{upstream}/stream",
            "lmstudio": f"{upstream}/drip",
            "groq": f"{broken}/broken",
        }
        self._router = Router(
            settings={name: {"base_url": url, "key": KEY} for name, url in urls.items()}
        )

    def call(self) -> str:
        return self._router.create_completion(
            f"openai/{MODEL}", MESSAGES, temperature=0.2, max_tokens=100
        ).text

    def stream(self, provider: str = "vllm") -> str:
        pieces = self._router.create_completion(
            f"{provider}/{MODEL}", MESSAGES, stream=True, temperature=0.2, max_tokens=100
        )
        text = ""
        for piece in pieces:
            text += piece
        return text

    def fallback(self) -> str:
        # What failed before would not be asked: each time is to be the first.
        self._router.reset_health()
        targets = [f"groq/{MODEL}", f"openai/{MODEL}"]
        completion = self._router.create_completion(
            targets, MESSAGES, temperature=0.2, max_tokens=100
        )
        if len(completion.trace.attempts) != 2:
            raise RuntimeError(f"no fallback was measured: {completion.trace}")
        return completion.text
