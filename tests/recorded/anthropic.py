"""Recorded traffic of Anthropic's messages; what these functions are, says `recorded.harness`."""

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any

from providers.anthropic import Anthropic
from recorded.harness import Meaning, Recording
from router import (
    AuthError,
    BadRequest,
    ContextOverflow,
    ModelNotFound,
    Overloaded,
    PermissionDenied,
    RateLimited,
    RouterError,
    Usage,
)

HEADERS = ("anthropic-version",)

SAME = ("max_tokens", "temperature", "top_p", "top_k", "thinking")
"""Parameters of the same name and meaning on both sides."""

ERRORS: dict[str, type[RouterError]] = {
    "authentication_error": AuthError,
    "invalid_request_error": BadRequest,
    "not_found_error": ModelNotFound,
    "overloaded_error": Overloaded,
    "permission_error": PermissionDenied,
    "rate_limit_error": RateLimited,
}

FINISHES = {
    "end_turn": "stop",
    "max_tokens": "length",
    "pause_turn": "other",
    "refusal": "refusal",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
}


def provider(recording: Recording, origin: str) -> Anthropic:
    return Anthropic(base_url=origin, key="a-made-up-key")


# -- the request that was recorded, as a neutral call


def neutral(body: dict[str, Any], recording: Recording) -> tuple[list[Any], dict[str, Any]]:
    messages = [message for each in body["messages"] for message in _messages(each)]
    if (system := body.get("system")) is not None:
        messages.insert(0, {"role": "system", "content": _parts(system)})
    return messages, _parameters(body)


def _messages(message: dict[str, Any] | str) -> Iterator[dict[str, Any]]:
    if isinstance(message, str):  # one recording shows what becomes of it
        yield {"role": "user", "content": message}
        return
    blocks = _blocks(message["content"])
    for block in blocks:
        if block["type"] == "tool_result":
            content = _parts(block.get("content", ""))
            beside = {key: block[key] for key in ("is_error", "cache_control") if key in block}
            yield {
                "role": "tool",
                "tool_call_id": block["tool_use_id"],
                "content": content,
                **beside,
            }
    rest = [block for block in blocks if block["type"] != "tool_result"]
    if message["role"] == "assistant":
        yield _answer(rest)
    elif rest:
        yield {"role": "user", "content": _parts(rest)}


def _answer(blocks: list[dict[str, Any]]) -> dict[str, Any]:
    text, sealed, calls = "", [], []
    for block in blocks:
        place = {"at": len(text)} if text else {}
        match block["type"]:
            case "text":
                text += block["text"]
            case "tool_use":
                function = {"name": block["name"], "arguments": json.dumps(block["input"])}
                calls.append({"id": block["id"], "type": "function", "function": function})
            case "thinking":
                thought = {"text": block["thinking"], "signature": block["signature"]}
                sealed.append({**thought, "extra": place})
            case "redacted_thinking":
                sealed.append({"data": block["data"], "extra": place})
            case _:
                sealed.append({"extra": {"block": block, **place}})
    return {
        "role": "assistant",
        "content": text,
        **({"tool_calls": calls} if calls else {}),
        **({"reasoning_blocks": sealed} if sealed else {}),
    }


def _blocks(content: str | list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _parts(content: str | list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    return content if isinstance(content, str) else [_part(block) for block in content]


def _part(block: dict[str, Any]) -> dict[str, Any]:
    marks = {k: block[k] for k in ("cache_control", "citations", "context") if k in block}
    if block["type"] == "text":
        return {"type": "text", "text": block["text"], **marks}
    place = _place(block["source"])
    if block["type"] == "image":
        return {"type": "image_url", "image_url": {"url": place}, **marks}
    named = {"filename": block["title"]} if "title" in block else {}
    key = "file_data" if place.startswith("data:") else "file_id"
    return {"type": "file", "file": {key: place, **named}, **marks}


def _place(source: dict[str, Any]) -> str:
    """A URL, a `data:` URL or the id of a file."""
    if source["type"] == "text":
        source = {**source, "data": base64.b64encode(source["data"].encode()).decode()}
    if "data" in source:
        return f"data:{source['media_type']};base64,{source['data']}"
    place: str = source.get("url") or source["file_id"]
    return place


def _parameters(body: dict[str, Any]) -> dict[str, Any]:
    parameters = {name: body[name] for name in SAME if name in body}
    if "stop_sequences" in body:
        parameters["stop"] = body["stop_sequences"]
    if "tools" in body:
        parameters["tools"] = [_tool(tool) for tool in body["tools"]]
    if "tool_choice" in body:
        parameters |= _tool_choice(body["tool_choice"])
    output = body.get("output_config", {})
    if "effort" in output:
        parameters["reasoning_effort"] = output["effort"]
    if "format" in output:
        schema = {"name": "answer", "schema": output["format"]["schema"]}
        parameters["response_format"] = {"type": "json_schema", "json_schema": schema}
    if (user := body.get("metadata", {}).get("user_id")) is not None:
        parameters["user"] = user
    beyond = ("service_tier", "container", "context_management", "mcp_servers", "cache_control")
    extra = {name: body[name] for name in beyond if name in body}
    return {**parameters, **({"extra_body": extra} if extra else {})}


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    if "input_schema" not in tool:
        return tool  # one that runs at the service
    named = {"name": tool["name"], "parameters": tool["input_schema"]}
    function = {**named, **{k: tool[k] for k in ("description", "strict") if k in tool}}
    beside = {k: v for k, v in tool.items() if k not in {*function, "input_schema", "type"}}
    return {"type": "function", "function": function, **beside}


def _tool_choice(choice: dict[str, Any]) -> dict[str, Any]:
    serial = {"parallel_tool_calls": False} if choice.get("disable_parallel_tool_use") else {}
    if choice["type"] == "tool":
        return {"tool_choice": {"type": "function", "function": {"name": choice["name"]}}, **serial}
    return {"tool_choice": {"any": "required"}.get(choice["type"], choice["type"]), **serial}


def canonical(body: dict[str, Any]) -> dict[str, Any]:
    """Contents as lists of blocks; what has its default, as if it were not said."""
    if "system" in body:
        body["system"] = _blocks(body["system"])
    for message in body["messages"]:
        if isinstance(message, dict):
            message["content"] = [_canonical(block) for block in _blocks(message["content"])]
    for tool in body.get("tools", ()):
        if tool.get("type") == "custom":
            del tool["type"]
    if body.get("stream") is False:
        del body["stream"]
    return body


def _canonical(block: dict[str, Any]) -> dict[str, Any]:
    if block["type"] == "tool_result":
        block["content"] = [_canonical(each) for each in _blocks(block.get("content", ""))]
        if block.get("is_error") is False:
            del block["is_error"]
    return block


def differences(recording: Recording) -> Mapping[str, str]:
    listed = {}
    if "?beta=true" in recording.url:
        listed["url"] = "the SDK's mark for its beta methods; the wire knows none"
    if "anthropic-version" not in recording.request_headers:
        listed["headers.anthropic-version"] = "left out of the recording; the service refuses none"
    if recording.request is None:
        return listed
    if any(recording.request["model"] in model.aliases for model in Anthropic.models):
        listed["model"] = "the alias of a known model goes out as the model's id"
    if "effort" in recording.request.get("output_config", {}):
        listed["thinking"] = "by its effort alone, this model would not think"
    if any(isinstance(message, str) for message in recording.request["messages"]):
        listed["messages.0"] = "a message that is none cannot be asked for"
    return listed


# -- the answer that was recorded, read plainly


def meaning(recording: Recording) -> Meaning | type[RouterError]:
    if recording.status >= 400:
        return _error(recording.json()["error"])
    if recording.body.lstrip().startswith(b"{"):
        return _meaning(recording.json())
    message = _rebuilt(recording.events())
    return _error(message["error"]) if "error" in message else _meaning(message)


def _error(error: dict[str, Any]) -> type[RouterError]:
    if "prompt is too long" in error["message"]:
        return ContextOverflow
    return ERRORS[error["type"]]


def _rebuilt(events: list[dict[str, Any]]) -> dict[str, Any]:
    """The whole message that a stream tells piece by piece."""
    message: dict[str, Any] = {}
    for event in events:
        match event["type"]:
            case "message_start":
                message = {**event["message"], "content": []}
            case "content_block_start":
                message["content"].append({**event["content_block"], "json": "", "cited": []})
            case "content_block_delta":
                _add(message["content"][event["index"]], event["delta"])
            case "message_delta":
                message |= event["delta"]
                message["usage"] |= event["usage"]
            case "error":
                message["error"] = event["error"]
    return message


def _add(block: dict[str, Any], delta: dict[str, Any]) -> None:
    for name, value in delta.items():
        if name == "partial_json":
            block["json"] += value
        elif name == "citation":
            block["cited"].append(value)
        elif name != "type":
            block[name] += value


def _meaning(message: dict[str, Any]) -> Meaning:
    blocks = message["content"]
    details = message.get("stop_details") or {}
    return Meaning(
        text="".join(block["text"] for block in blocks if block["type"] == "text"),
        reasoning="".join(block["thinking"] for block in blocks if block["type"] == "thinking"),
        refusal=details.get("explanation", ""),
        tool_calls=tuple(
            (block["name"], json.loads(block["json"]) if block.get("json") else block["input"])
            for block in blocks
            if block["type"] == "tool_use"
        ),
        finish_reason=FINISHES[message["stop_reason"]],
        usage=_usage(message["usage"]),
        seals=tuple(
            block["signature"] if block["type"] == "thinking" else block["data"]
            for block in blocks
            if block["type"] in ("thinking", "redacted_thinking")
        ),
        citations=tuple(
            cited.get("url") or cited.get("document_title") or str(cited["document_index"])
            for block in blocks
            for cited in [*(block.get("citations") or ()), *block.get("cited", ())]
        ),
    )


def _usage(usage: dict[str, Any]) -> Usage:
    read, written = usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"]
    return Usage(
        input_tokens=usage["input_tokens"] + read + written,
        output_tokens=usage["output_tokens"],
        cached_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=usage.get("output_tokens_details", {}).get("thinking_tokens"),
    )
