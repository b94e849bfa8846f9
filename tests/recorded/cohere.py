"""Cohere's chat, version 2, in recorded traffic."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from providers.cohere import Cohere
from router import (
    AuthError,
    BadRequest,
    ContextOverflow,
    ModelNotFound,
    RateLimited,
    RouterError,
    Usage,
)

from .harness import Meaning, Recording, value_of

HEADERS: tuple[str, ...] = ()

COMMON_NAMES = {"k": "top_k", "p": "top_p", "stop_sequences": "stop"}
REASONS = {"COMPLETE": "stop", "TOOL_CALL": "tool_calls", "MAX_TOKENS": "length"}
NAMED = ("temperature", "max_tokens", "seed", "tools", "thinking", "logprobs", *COMMON_NAMES)


def provider(recording: Recording, origin: str) -> Cohere:
    return Cohere(base_url=f"{origin}/v2", key="a-made-up-key")


def neutral(body: dict[str, Any], recording: Recording) -> tuple[list[Any], dict[str, Any]]:
    messages = [_message(message) for message in body["messages"]]
    known = {name: body[name] for name in NAMED if name in body}
    parameters = {COMMON_NAMES.get(name, name): value for name, value in known.items()}
    beside = {"model", "messages", "stream", "tool_choice", "response_format", *NAMED}
    if (choice := body.get("tool_choice")) is not None:
        parameters["tool_choice"] = choice.lower()
    if (wanted := body.get("response_format")) is not None:
        parameters["response_format"] = _response_format(wanted)
    if extra := {name: value for name, value in body.items() if name not in beside}:
        parameters["extra_body"] = extra
    return messages, parameters


def _message(message: dict[str, Any]) -> dict[str, Any]:
    """A message of the wire as one of OpenAI's; documents as files."""
    content = message.get("content")
    blocks = []
    if (plan := message.pop("tool_plan", None)) is not None:
        blocks.append({"text": plan, "extra": {"type": "tool_plan"}})
    if isinstance(content, list):
        blocks += [{"text": p["thinking"]} for p in content if p["type"] == "thinking"]
        content = [_part(part) for part in content if part["type"] != "thinking"]
    elif content is None:
        content = ""
    return {**message, "content": content, **({"reasoning_blocks": blocks} if blocks else {})}


def _part(part: dict[str, Any]) -> dict[str, Any]:
    if part["type"] != "document":
        return part
    document = part["document"]
    fields = document["data"]
    kind = "text/plain" if isinstance(fields, str) else "application/json"
    content = fields if isinstance(fields, str) else json.dumps(fields)
    data = base64.b64encode(content.encode()).decode()
    file = {"filename": document.get("id"), "file_data": f"data:{kind};base64,{data}"}
    return {"type": "file", "file": file}


def _response_format(wanted: dict[str, Any]) -> dict[str, Any]:
    schema = wanted.get("json_schema") or wanted.get("schema")
    if schema is None:
        return wanted
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def canonical(body: dict[str, Any]) -> dict[str, Any]:
    """A text for a list of one text, nothing for an empty content beside tool calls.

    A document that is a text has it as its one field.
    """
    for message in body["messages"]:
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            document = part.get("document", {})
            if isinstance(document.get("data"), str):
                document["data"] = {"text": document["data"]}
        if isinstance(content, list) and [part["type"] for part in content] == ["text"]:
            content = message["content"] = content[0]["text"]
        if not content and message.get("tool_calls"):
            message.pop("content", None)
    return body


def differences(recording: Recording) -> Mapping[str, str]:
    return {}


def meaning(recording: Recording) -> Meaning | type[RouterError]:
    if recording.status >= 400:
        return _error(recording)
    return _streamed(recording.events()) if recording.streaming else _whole(recording.json())


def _error(recording: Recording) -> type[RouterError]:
    if recording.status == 400:
        return ContextOverflow if b"too many tokens" in recording.body else BadRequest
    return {401: AuthError, 404: ModelNotFound, 429: RateLimited}[recording.status]


def _whole(answer: dict[str, Any]) -> Meaning:
    message = answer["message"]
    content = message.get("content", [])
    return Meaning(
        text="".join(part.get("text", "") for part in content),
        reasoning=message.get("tool_plan", "") + "".join(p.get("thinking", "") for p in content),
        tool_calls=tuple(_called(call["function"]) for call in message.get("tool_calls", [])),
        finish_reason=REASONS[answer["finish_reason"]],
        usage=_usage(answer["usage"]),
        citations=_sources(message.get("citations", [])),
    )


def _streamed(events: list[dict[str, Any]]) -> Meaning:
    text = reasoning = ""
    functions: list[dict[str, str]] = []
    citations = []
    for event in events:
        delta = event.get("delta", {})
        added = delta.get("message", {})
        match event["type"]:
            case "content-start" | "content-delta":
                text += added["content"].get("text", "")
                reasoning += added["content"].get("thinking", "")
            case "tool-plan-delta":
                reasoning += added["tool_plan"]
            case "tool-call-start":
                functions.append(added["tool_calls"]["function"])
            case "tool-call-delta":
                functions[-1]["arguments"] += added["tool_calls"]["function"]["arguments"]
            case "citation-start":
                citations.append(added["citations"])
    return Meaning(
        text=text,
        reasoning=reasoning,
        tool_calls=tuple(map(_called, functions)),
        finish_reason=REASONS[delta["finish_reason"]],
        usage=_usage(delta["usage"]),
        citations=_sources(citations),
    )


def _called(function: dict[str, str]) -> tuple[str, Any]:
    """Name and arguments; a call without arguments has an empty text for them, or `null`."""
    return function["name"], value_of(function["arguments"] or "{}") or {}


def _sources(citations: list[dict[str, Any]]) -> tuple[str, ...]:
    return tuple(
        found.get("url") or found.get("title") or source["id"]
        for citation in citations
        for source in citation["sources"]
        for found in [source.get("tool_output", source.get("document", {}))]
    )


def _usage(usage: dict[str, Any]) -> Usage:
    tokens = usage["tokens"]
    return Usage(
        input_tokens=tokens["input_tokens"],
        output_tokens=tokens["output_tokens"],
        cached_tokens=usage.get("cached_tokens"),
        reasoning_tokens=tokens.get("reasoning_tokens"),
    )
