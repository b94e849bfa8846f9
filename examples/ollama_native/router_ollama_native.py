"""Ollama by its own API: a wire provider, which does no I/O and so runs in both routers."""

from typing import Annotated, Any

from msgspec import Meta

from router import (
    TUNING,
    Chunk,
    Exchange,
    HttpRequest,
    JSONLines,
    UpstreamError,
    Usage,
    WireProvider,
    error_for_status,
)


class OllamaNative(WireProvider):
    """Takes every model that the server has; `base_url` is a setting."""

    name = "ollama-native"
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
        num_predict: Annotated[int, Meta(ge=1, description="The most tokens to say.")] = 1024,
    ) -> Exchange:
        """Ask, and pass on what comes, line by line."""
        options = {"temperature": temperature, "num_predict": num_predict}
        body = {"model": model, "messages": messages, "options": options, "stream": True}
        response = yield HttpRequest("POST", self.url, json=body, stream=True)
        if response.status != 200:
            raise error_for_status(response.status, response.excerpt)
        lines = JSONLines()
        while data := (yield response):
            for line in lines.feed(data):
                if "error" in line:
                    raise UpstreamError(line["error"])
                yield line["message"]["content"]
                if line["done"]:
                    yield Chunk(
                        finish_reason="length" if line["done_reason"] == "length" else "stop",
                        usage=Usage(output_tokens=line["eval_count"]),
                    )
