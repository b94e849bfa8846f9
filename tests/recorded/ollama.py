"""Ollama's own wire in recorded traffic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from providers.ollama import Ollama
from router import RouterError, ToolCall, Usage

from .harness import Meaning, Recording

HEADERS: tuple[str, ...] = ()

COMMON_NAMES = {"num_predict": "max_tokens", "repeat_penalty": "repetition_penalty"}
OPTIONS = (
    *("temperature", "top_p", "top_k", "min_p", "seed", "stop", "num_ctx", "num_predict"),
    *("repeat_penalty", "presence_penalty", "frequency_penalty"),
)
BESIDE = ("tools", "keep_alive", "logprobs", "top_logprobs")
OFF = ("format", "keep_alive", "options", "tools")
"""What a client sends empty, where it means nothing."""


def provider(recording: Recording, origin: str) -> Ollama:
    return Ollama(base_url=origin)


def neutral(body: dict[str, Any], recording: Recording) -> tuple[list[Any], dict[str, Any]]:
    body = _meant(body)
    options = body.pop("options", {})
    parameters = {
        COMMON_NAMES.get(name, name): options.pop(name) for name in OPTIONS if name in options
    }
    parameters |= {name: body.pop(name) for name in BESIDE if name in body}
    if body.get("think", True) is not True:  # `true` has no common name: every effort is a level
        parameters["reasoning_effort"] = body.pop("think") or "none"
    if (wanted := body.pop("format", None)) is not None:
        parameters["response_format"] = _response_format(wanted)
    messages = [_message(message) for message in body.pop("messages")]
    del body["model"]
    body.pop("stream", None)
    extra = {**body, **({"options": options} if options else {})}
    return messages, parameters | ({"extra_body": extra} if extra else {})


def _message(message: dict[str, Any]) -> dict[str, Any]:
    """A message of the wire as one of OpenAI's; its calls are typed, since they may have no id."""
    content: list[dict[str, Any]] | str = message["content"]
    if pictures := message.get("images"):
        urls = [{"url": f"data:image/png;base64,{picture}"} for picture in pictures]
        content = [{"type": "text", "text": message["content"]}]
        content += [{"type": "image_url", "image_url": url} for url in urls]
    calls = [
        ToolCall(
            id=call.get("id", ""),
            name=call["function"]["name"],
            arguments=msgspec.json.encode(call["function"]["arguments"]).decode(),
        )
        for call in message.get("tool_calls", ())
    ]
    thinking = message.get("thinking")
    blocks = [{"text": thinking}] if thinking else []
    name = message.get("tool_name")
    return {
        "role": message["role"],
        "content": content,
        "tool_calls": calls,
        "reasoning_blocks": blocks,
        "tool_call_id": message.get("tool_call_id"),
        "name": name,
    }


def _response_format(wanted: Any) -> dict[str, Any]:
    if wanted == "json":
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": wanted}}


def canonical(body: dict[str, Any]) -> dict[str, Any]:
    """Nothing for what is empty, and for `index`, which counts the calls."""
    for message in body["messages"]:
        for call in message.get("tool_calls", ()):
            call["function"].pop("index", None)
    return _meant(body)


def _meant(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name not in OFF or value}


def differences(recording: Recording) -> Mapping[str, str]:
    return {}


def meaning(recording: Recording) -> Meaning | type[RouterError]:
    lines = recording.events()
    messages = [line.get("message", {}) for line in lines]
    calls = tuple(
        (call["function"]["name"], call["function"]["arguments"])
        for message in messages
        for call in message.get("tool_calls", ())
    )
    last = lines[-1]
    assert last["done"]
    return Meaning(
        text="".join(message.get("content", "") for message in messages),
        reasoning="".join(message.get("thinking", "") for message in messages),
        tool_calls=calls,
        finish_reason="tool_calls" if calls else last["done_reason"],
        usage=Usage(
            input_tokens=last.get("prompt_eval_count"), output_tokens=last.get("eval_count")
        ),
    )
