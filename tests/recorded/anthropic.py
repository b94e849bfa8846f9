"""Recorded traffic of Anthropic's messages; what these functions are, says `recorded.harness`."""

import base64
import json
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

from providers.anthropic import Anthropic
from recorded.harness import Meaning, Recording
from router import (
    AuthError,
    BadRequest,
    ContextOverflow,
    ModelNotFound,
    Overloaded,
    PayloadTooLarge,
    PermissionDenied,
    QuotaExhausted,
    RateLimited,
    RouterError,
    Timeout,
    UpstreamError,
    Usage,
)

HEADERS = ("anthropic-version", "anthropic-beta")

SAME = ("max_tokens", "temperature", "top_p", "top_k", "thinking")
"""Parameters of the same name and meaning on both sides."""

NAMED = {
    *("model", "messages", "stream", "system", "stop_sequences", "tools", "tool_choice"),
    *("metadata", "output_config", "output_format", *SAME),
}
"""What of a body has a common name; the rest has none."""

NEUTRAL_BLOCKS = {
    *("text", "image", "document", "tool_result", "tool_use"),
    *("thinking", "redacted_thinking"),
}
"""What of a message has one; an answer may hold any other block besides."""

ERRORS: dict[str, type[RouterError]] = {
    "api_error": UpstreamError,
    "authentication_error": AuthError,
    "billing_error": QuotaExhausted,
    "invalid_request_error": BadRequest,
    "not_found_error": ModelNotFound,
    "overloaded_error": Overloaded,
    "permission_error": PermissionDenied,
    "rate_limit_error": RateLimited,
    "request_too_large": PayloadTooLarge,
    "timeout_error": Timeout,
}

FINISHES = {
    "end_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "refusal",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
}


def provider(recording: Recording, origin: str) -> Anthropic:
    return Anthropic(base_url=origin, key="a-made-up-key")


# -- the request that was recorded, as a neutral call


def neutral(body: dict[str, Any], recording: Recording) -> tuple[list[Any], dict[str, Any]]:
    parameters = _parameters(body)
    if (beta := recording.request_headers.get("anthropic-beta")) is not None:
        parameters["extra_headers"] = {"anthropic-beta": beta}
    messages = [{"role": "system", "content": _parts(body["system"])}] if "system" in body else []
    if _is_beyond(body["messages"]):
        parameters.setdefault("extra_body", {})["messages"] = body["messages"]
        return [*messages, {"role": "user", "content": "what has no neutral form"}], parameters
    return [*messages, *(each for turn in body["messages"] for each in _messages(turn))], parameters


def _is_beyond(messages: list[Any]) -> bool:
    """Whether a question holds a block, or a document a source, that has no neutral form."""
    asked = [each for each in messages if isinstance(each, dict) and each["role"] != "assistant"]
    blocks = [block for each in asked for block in _blocks(each["content"])]
    blocks += [inner for each in blocks for inner in _blocks(each.get("content") or ())]
    sources = [block["source"]["type"] for block in blocks if "source" in block]
    return "content" in sources or not {block["type"] for block in blocks} <= NEUTRAL_BLOCKS


def _messages(message: dict[str, Any] | str) -> Iterator[dict[str, Any]]:
    if isinstance(message, str):  # one recording shows what becomes of it
        yield {"role": "user", "content": message}
    elif message["role"] == "assistant":
        yield _answer(_blocks(message["content"]))
    else:
        for is_result, group in groupby(_blocks(message["content"]), _is_result):
            blocks = list(group)
            if is_result:
                yield from map(_result, blocks)
            else:
                yield {"role": message["role"], "content": _parts(blocks)}


def _is_result(block: dict[str, Any]) -> bool:
    return bool(block["type"] == "tool_result")


def _result(block: dict[str, Any]) -> dict[str, Any]:
    beside = _some(block, "is_error", "cache_control")
    content = _parts(block.get("content", ""))
    return {"role": "tool", "tool_call_id": block["tool_use_id"], "content": content, **beside}


def _answer(blocks: list[dict[str, Any]]) -> dict[str, Any]:
    length, texts, sealed, calls = 0, [], [], []
    for block in blocks:
        place = {"at": length} if length else {}
        match block["type"]:
            case "text":
                length += len(block["text"])
                texts.append(_part(block))
            case "tool_use":
                function = {"name": block["name"], "arguments": json.dumps(block["input"])}
                call = {"id": block["id"], "type": "function", "function": function}
                calls.append({**call, **({"signature": s} if (s := _caller(block)) else {})})
            case "thinking":
                thought = {"text": block["thinking"], "signature": block["signature"]}
                sealed.append({**thought, "extra": place})
            case "redacted_thinking":
                sealed.append({"data": block["data"], "extra": place})
            case _:
                sealed.append({"extra": {"block": block, **place}})
    text = "".join(part["text"] for part in texts)
    return {
        "role": "assistant",
        "content": text if sealed else texts,
        **({"tool_calls": calls} if calls else {}),
        **({"reasoning_blocks": sealed} if sealed else {}),
        **_some(blocks[-1], "cache_control"),
    }


def _caller(block: dict[str, Any]) -> str | None:
    """The tool of the service's that called one of the caller's, as JSON."""
    caller = block.get("caller", {"type": "direct"})
    return None if caller == {"type": "direct"} else json.dumps(caller, separators=(",", ":"))


def _some(fields: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: fields[name] for name in names if name in fields}


def _blocks(content: Any) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


def _parts(content: str | list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    return content if isinstance(content, str) else [_part(block) for block in content]


def _part(block: dict[str, Any]) -> dict[str, Any]:
    marks = _some(block, "cache_control", "citations", "context")
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
    parameters = _some(body, *SAME)
    if "stop_sequences" in body:
        parameters["stop"] = body["stop_sequences"]
    if "tools" in body:
        parameters["tools"] = [_tool(tool) for tool in body["tools"]]
    if "tool_choice" in body:
        parameters |= _tool_choice(body["tool_choice"])
    output = body.get("output_config", {})
    if "effort" in output:
        parameters["reasoning_effort"] = output["effort"]
    if (form := output.get("format") or body.get("output_format")) is not None:
        schema = {"name": "answer", "schema": form["schema"]}
        parameters["response_format"] = {"type": "json_schema", "json_schema": schema}
    if (user := body.get("metadata", {}).get("user_id")) is not None:
        parameters["user"] = user
    extra = {name: value for name, value in body.items() if name not in NAMED}
    return {**parameters, **({"extra_body": extra} if extra else {})}


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    if "input_schema" not in tool:
        return tool  # one that runs at the service
    named = {"name": tool["name"], "parameters": tool["input_schema"]}
    function = {**named, **_some(tool, "description", "strict")}
    beside = {k: v for k, v in tool.items() if k not in {*function, "input_schema", "type"}}
    return {"type": "function", "function": function, **beside}


def _tool_choice(choice: dict[str, Any]) -> dict[str, Any]:
    serial = {"parallel_tool_calls": False} if choice.get("disable_parallel_tool_use") else {}
    if choice["type"] == "tool":
        return {"tool_choice": {"type": "function", "function": {"name": choice["name"]}}, **serial}
    return {"tool_choice": {"any": "required"}.get(choice["type"], choice["type"]), **serial}


def canonical(body: dict[str, Any]) -> dict[str, Any]:
    """Contents as lists of blocks, turns as one message; what has its default is not said."""
    if "system" in body:
        body["system"] = _blocks(body["system"])
    body["messages"] = list(_turns(body["messages"]))
    for tool in body.get("tools", ()):
        _unsaid(tool, "type", "custom")
    _unsaid(body.get("tool_choice", {}), "disable_parallel_tool_use", False)
    return _unsaid(body, "stream", False)


def _turns(messages: list[Any]) -> Iterator[Any]:
    """Messages of one role that follow each other are one turn, as the wire has it."""
    for role, group in groupby(messages, lambda each: isinstance(each, dict) and each["role"]):
        turn = list(group)
        if role is False:
            yield from turn
            continue
        blocks = [_canonical(block) for each in turn for block in _blocks(each["content"])]
        yield {"role": role, "content": blocks if role == "user" else list(_joined(blocks))}


def _joined(blocks: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The blocks of an answer, its texts that nothing parts as one."""
    for is_text, group in groupby(blocks, lambda block: block.keys() == {"type", "text"}):
        if is_text:
            yield {"type": "text", "text": "".join(block["text"] for block in group)}
        else:
            yield from group


def _canonical(block: dict[str, Any]) -> dict[str, Any]:
    if block["type"] == "tool_result":
        block["content"] = [_canonical(each) for each in _blocks(block.get("content", ""))]
    if block["type"] == "text":
        block.pop("citations", None)  # of an answer, told again to its own model
    return _unsaid(_unsaid(block, "is_error", False), "caller", {"type": "direct"})


def _unsaid(fields: dict[str, Any], name: str, default: Any) -> dict[str, Any]:
    if fields.get(name) == default:
        fields.pop(name, None)
    return fields


def differences(recording: Recording) -> Mapping[str, str]:
    listed: dict[str, str] = {}
    if "?beta=true" in recording.url:
        listed["url"] = "the SDK's mark for its beta methods; the wire knows none"
    if "anthropic-version" not in recording.request_headers:
        listed["headers.anthropic-version"] = "left out of the recording; the service refuses none"
    body = recording.request
    if body is None:
        return listed
    if "effort" in body.get("output_config", {}) and "thinking" not in body:
        listed["thinking"] = "by its effort alone, this model would not think"
    if body.get("output_config", {}).get("effort") == "xhigh" and "-4-6" in body["model"]:
        listed["output_config.effort"] = "an effort that this model refuses, as recorded"
    if "output_format" in body:
        listed |= dict.fromkeys(("output_format", "output_config"), "the former name of the latter")
    if any(isinstance(each, dict) and each["role"] == "system" for each in body["messages"]):
        moved = "instructions stand beside the conversation, wherever they were given"
        listed |= dict.fromkeys(("messages*", "system*"), moved)
    if any(isinstance(message, str) for message in body["messages"]):
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
    if "prompt is too long" in error["message"] or "exceed context limit" in error["message"]:
        return ContextOverflow
    if "credit balance is too low" in error["message"]:
        return QuotaExhausted
    return ERRORS[error["type"]]


def _rebuilt(events: list[dict[str, Any]]) -> dict[str, Any]:
    """The whole message that a stream tells piece by piece."""
    message: dict[str, Any] = {}
    for event in events:
        match event["type"]:
            case "message_start":
                message = event["message"]
            case "content_block_start":
                message["content"].append({**event["content_block"], "json": "", "cited": []})
            case "content_block_delta":
                _add(message["content"][event["index"]], event["delta"])
            case "message_delta":
                message |= event["delta"]
                counts = event.get("usage", {}).items()
                message["usage"] |= {name: count for name, count in counts if count is not None}
            case "error":
                message["error"] = event["error"]
    return message


def _add(block: dict[str, Any], delta: dict[str, Any]) -> None:
    for name, value in delta.items():
        if name == "partial_json":
            block["json"] += value
        elif name == "citation":
            block["cited"].append(value)
        elif name != "type" and isinstance(value, str):
            block[name] = (block.get(name) or "") + value


def _meaning(message: dict[str, Any]) -> Meaning:
    blocks = message["content"]
    details = message.get("stop_details") or {}
    return Meaning(
        text="".join(block["text"] for block in blocks if block["type"] == "text"),
        reasoning="".join(block["thinking"] for block in blocks if block["type"] == "thinking"),
        refusal=details.get("explanation") or "",
        tool_calls=tuple(
            (block["name"], json.loads(block["json"]) if block.get("json") else block["input"])
            for block in blocks
            if block["type"] == "tool_use"
        ),
        finish_reason=FINISHES.get(message["stop_reason"], "other"),
        usage=_usage(message["usage"]),
        seals=tuple(filter(None, [*map(_seal, blocks), *map(_caller, blocks)])),
        citations=tuple(
            _cited(citation)
            for block in blocks
            for citation in [*(block.get("citations") or ()), *block.get("cited", ())]
        ),
    )


def _seal(block: dict[str, Any]) -> str | None:
    key = {"thinking": "signature", "redacted_thinking": "data"}.get(block["type"])
    return None if key is None else block.get(key)


def _cited(citation: dict[str, Any]) -> str:
    """The page of the web, or the document."""
    named = ("url", "source", "title", "document_title")
    found = next((citation[name] for name in named if citation.get(name)), None)
    return str(found or citation.get("document_index", ""))


def _usage(usage: dict[str, Any]) -> Usage:
    read, written = (usage.get(f"cache_{kind}_input_tokens") for kind in ("read", "creation"))
    return Usage(
        input_tokens=usage["input_tokens"] + (read or 0) + (written or 0),
        output_tokens=usage["output_tokens"],
        cached_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=(usage.get("output_tokens_details") or {}).get("thinking_tokens"),
    )
