"""The same with requests: a blocking provider, which uses what library it likes."""

import json
from collections.abc import Iterator
from typing import Annotated, Any

import requests
from msgspec import Meta

from router import TUNING, Chunk, Provider, UpstreamError


class OllamaRequests(Provider):
    """Runs in the caller's thread in the sync router, in a pool in the async one."""

    name = "ollama-requests"
    open_models = True

    def __init__(self, base_url: str = "http://127.0.0.1:11434") -> None:
        self.url = f"{base_url}/api/chat"

    def create_completion(
        self,
        model: str,
        messages: list[dict[str, Any]],
        stream: bool,
        *,
        temperature: Annotated[float, TUNING, Meta(ge=0)] = 0.8,
    ) -> Iterator[str | Chunk]:
        """Ask, and pass on what comes; what requests raises, the router translates."""
        options = {"temperature": temperature}
        body: dict[str, Any] = {"model": model, "messages": messages, "options": options}
        with requests.post(self.url, json=body, stream=True, timeout=60) as response:
            response.raise_for_status()
            for line in map(json.loads, response.iter_lines()):
                if "error" in line:
                    raise UpstreamError(line["error"])
                yield line["message"]["content"]
                if line["done"]:
                    yield Chunk(finish_reason="stop")
