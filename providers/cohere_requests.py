"""What goes out on Cohere's wire: a conversation and its parameters, as a request's body.

- A model's plan for its tools goes back as `tool_plan`, its thinking as a part of the content.
- A file in a tool's result is a document, which the answer can cite.
- The wire cannot name the function to be called: it is the only one offered then.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from router import (
    Audio,
    BadRequest,
    File,
    Image,
    Message,
    Part,
    ProtocolError,
    Text,
    ToolCall,
    UnsupportedParameter,
    Video,
    decode_json,
)

Block = dict[str, Any]

NAMES = {"top_k": "k", "top_p": "p", "stop": "stop_sequences"}
"""What the wire calls otherwise than others do."""

AS_GIVEN = (
    *("temperature", "top_p", "top_k", "max_tokens", "seed", "logprobs", "thinking"),
    *("presence_penalty", "frequency_penalty"),
)
"""What goes out with the value that it was given."""

BUDGETS = {"minimal": 512, "low": 1024, "medium": 4096}
"""Tokens to think for an effort, as the other wires that count tokens have them; a high effort has
no limit but the model's own."""

TEXT = {"type": "text"}
"""The `response_format` that nothing is said of."""

PLAN = "tool_plan"
"""What marks the reasoning that is a plan for tools."""


def body_of(
    model: str, messages: Iterable[Message], stream: bool, given: Mapping[str, Any]
) -> dict[str, Any]:
    """A request's body.

    Raises:
        UnsupportedParameter: A part is of a kind that the wire does not have.
        BadRequest: A document is no JSON object, or not UTF-8.
    """
    body = {
        "model": model,
        "messages": [_message(message) for message in messages],
        "stream": stream,
        **{NAMES.get(name, name): given[name] for name in AS_GIVEN if name in given},
    }
    if "stop" in given:
        stop = given["stop"]
        body[NAMES["stop"]] = [stop] if isinstance(stop, str) else stop
    if "tools" in given:
        body |= _tools(given["tools"], given.get("tool_choice"))
    if given.get("response_format", TEXT) != TEXT:
        body["response_format"] = _response_format(given["response_format"])
    if "reasoning_effort" in given:
        body.setdefault("thinking", _thinking(given["reasoning_effort"]))
    return body


def _message(message: Message) -> Block:
    match message.role:
        case "assistant":
            return _answer(message)
        case "tool":
            content = _content(message.content, _result_part)
            return {"role": "tool", "tool_call_id": message.tool_call_id, "content": content}
        case "developer":
            return {"role": "system", "content": _content(message.content, _part)}
    return {"role": message.role, "content": _content(message.content, _part)}


def _answer(message: Message) -> Block:
    turn: Block = {"role": "assistant"}
    plan = "".join(block.text for block in message.reasoning if block.extra.get("type") == PLAN)
    thoughts = [
        {"type": "thinking", "thinking": block.text}
        for block in message.reasoning
        if block.text and block.extra.get("type") != PLAN
    ]
    content = _content(message.content or message.extra.get("refusal") or "", _part)
    if thoughts:
        said = [{"type": "text", "text": content}] if content else []
        turn["content"] = thoughts + (said if isinstance(content, str) else content)
    elif content or not message.tool_calls:
        turn["content"] = content
    if plan:
        turn["tool_plan"] = plan
    if message.tool_calls:
        turn["tool_calls"] = [_tool_call(call) for call in message.tool_calls]
    return turn


def _content(content: str | tuple[Part, ...], block_of: Callable[[Part], Block]) -> Any:
    return content if isinstance(content, str) else [block_of(part) for part in content]


def _part(part: Part) -> Block:
    match part:
        case Text():
            return {"type": "text", "text": part.text}
        case Image():
            detail = {} if part.detail is None else {"detail": part.detail}
            return {"type": "image_url", "image_url": {"url": _url(part), **detail}}
        case Audio() | Video():
            raise UnsupportedParameter(f"cohere takes no {type(part).__name__.lower()} input")
        case File():
            raise UnsupportedParameter(
                "cohere takes files in the results of tools alone: for others, give `documents` "
                "in extra_body"
            )


def _url(image: Image) -> str:
    encoded = base64.b64encode(image.data or b"").decode()
    return image.url or f"data:{image.media_type};base64,{encoded}"


def _result_part(part: Part) -> Block:
    if isinstance(part, Image):
        raise UnsupportedParameter("cohere takes no pictures in the results of tools")
    if not isinstance(part, File):
        return _part(part)
    named = {} if part.name is None else {"id": part.name}
    return {"type": "document", "document": {**named, "data": _document(part)}}


def _document(file: File) -> dict[str, Any]:
    """The fields of a document: those of a JSON object, or a text's one."""
    if file.data is None:
        raise UnsupportedParameter("cohere takes documents as data, not by a URL or an id")
    media_type = file.media_type or ""
    try:
        if media_type == "application/json":
            fields: dict[str, Any] = decode_json(file.data, dict[str, Any])
            return fields
        if media_type.startswith("text/"):
            return {"text": file.data.decode()}
    except (ProtocolError, UnicodeDecodeError):
        raise BadRequest(f"a file of {media_type} that is no JSON object, or no UTF-8") from None
    raise UnsupportedParameter(
        f"cohere takes documents of text or JSON, not of {media_type or 'no type'}"
    )


def _tool_call(call: ToolCall) -> Block:
    function = {"name": call.name, "arguments": call.arguments.strip() or "{}"}
    return {"id": call.id, "type": "function", "function": function}


def _tools(tools: list[dict[str, Any]], choice: Any) -> dict[str, Any]:
    """The `tools`, whether their schemas bind (for all of them, if for one), and the choice."""
    chosen: dict[str, Any] = {}
    match choice:
        case "required" | "none":
            chosen = {"tool_choice": choice.upper()}
        case {"function": {"name": name}}:
            chosen = {"tool_choice": "REQUIRED"}
            tools = [tool for tool in tools if _function(tool).get("name") == name]
    strict = any(_function(tool).get("strict") for tool in tools)
    bound = {"strict_tools": True} if strict else {}
    return {"tools": [_tool(tool) for tool in tools], **bound, **chosen}


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    if not (function := _function(tool)):
        return tool
    sent = {key: function[key] for key in function if key != "strict"}
    return {"type": "function", "function": sent}


def _function(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    function = tool.get("function")
    return function if isinstance(function, dict) else {}


def _response_format(wanted: Mapping[str, Any]) -> Mapping[str, Any]:
    match wanted:
        case {"type": "json_schema", "json_schema": {"schema": schema}}:
            return {"type": "json_object", "json_schema": schema}
    return wanted


def _thinking(effort: str) -> dict[str, Any]:
    if effort == "none":
        return {"type": "disabled"}
    budget = {"token_budget": BUDGETS[effort]} if effort in BUDGETS else {}
    return {"type": "enabled", **budget}
