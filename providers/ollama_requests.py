"""What goes out on Ollama's own wire: a conversation and its parameters, as a request's body.

- A message is one text with its pictures beside it, as data: the server fetches nothing.
- The arguments of a tool call are an object. A result names its tool, beside the call's id, which
  older servers do not know.
- What makes the model answer otherwise stands in `options`.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any

from router import Image, Message, ProtocolError, Text, ToolCall, UnsupportedParameter, decode_json

NAMES = {"max_tokens": "num_predict", "repetition_penalty": "repeat_penalty"}
"""What the wire calls otherwise than others do."""

OPTIONS = (
    *("temperature", "top_p", "top_k", "min_p", "max_tokens", "seed", "num_ctx"),
    *("presence_penalty", "frequency_penalty", "repetition_penalty"),
)
"""What goes into `options` with the value that it was given."""

AS_GIVEN = ("keep_alive", "logprobs", "top_logprobs")

THINK = {"none": False, "minimal": "low"}
"""What the wire has another word for than an effort's own. Models that know no levels think at any
of them, and those that cannot be stopped take the lowest for `false`."""


def body_of(
    model: str, messages: Iterable[Message], stream: bool, given: Mapping[str, Any]
) -> dict[str, Any]:
    """A request's body.

    Raises:
        UnsupportedParameter: A part is of a kind that the wire does not have.
    """
    body = {
        "model": model,
        "messages": _conversation(messages),
        "stream": stream,
        **{name: given[name] for name in AS_GIVEN if name in given},
    }
    options = {NAMES.get(name, name): given[name] for name in OPTIONS if name in given}
    if "stop" in given:
        stop = given["stop"]
        options["stop"] = [stop] if isinstance(stop, str) else stop
    if options:
        body["options"] = options
    if "tools" in given and given.get("tool_choice") != "none":
        body["tools"] = [_tool(tool) for tool in given["tools"]]
    if "reasoning_effort" in given:
        effort = given["reasoning_effort"]
        body["think"] = THINK.get(effort, effort)
    if (wanted := _format(given.get("response_format"))) is not None:
        body["format"] = wanted
    return body


def _conversation(messages: Iterable[Message]) -> list[dict[str, Any]]:
    turns = []
    names: dict[str, str] = {}
    for message in messages:
        names |= {call.id: call.name for call in message.tool_calls if call.id}
        turns.append(_turn(message, names))
    return turns


def _turn(message: Message, names: Mapping[str, str]) -> dict[str, Any]:
    """A message.

    Args:
        message: It.
        names: The tools that were called before it, by the ids of the calls.
    """
    turn: dict[str, Any] = {
        "role": "system" if message.role == "developer" else message.role,
        "content": message.text or message.extra.get("refusal") or "",
    }
    if pictures := _pictures(message):
        turn["images"] = pictures
    if thinking := "".join(block.text for block in message.reasoning):
        turn["thinking"] = thinking
    if message.tool_calls:
        turn["tool_calls"] = [_tool_call(call) for call in message.tool_calls]
    if message.tool_call_id:
        turn["tool_call_id"] = message.tool_call_id
    if message.role == "tool" and (name := message.name or names.get(message.tool_call_id or "")):
        turn["tool_name"] = name
    return turn


def _pictures(message: Message) -> list[str]:
    if isinstance(message.content, str):
        return []
    pictures = []
    for part in message.content:
        match part:
            case Image(data=bytes() as data):
                pictures.append(base64.b64encode(data).decode())
            case Image():
                raise UnsupportedParameter("ollama takes pictures as data, not by their URL")
            case Text():
                pass
            case _:
                kind = type(part).__name__.lower()
                raise UnsupportedParameter(f"ollama takes text and pictures, no {kind} parts")
    return pictures


def _tool_call(call: ToolCall) -> dict[str, Any]:
    known = {"id": call.id} if call.id else {}
    return {**known, "function": {"name": call.name, "arguments": _arguments(call.arguments)}}


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in tool.items() if name != "cache_control"}


def _arguments(text: str) -> dict[str, Any]:
    """A tool call's arguments as the object that the wire wants.

    Text that is none goes back in one, so that the model sees what it wrote.
    """
    try:
        arguments: dict[str, Any] = decode_json(text.encode(), dict[str, Any])
    except ProtocolError:
        return {"INVALID_JSON": text} if text.strip() else {}
    return arguments


def _format(wanted: Any) -> Any:
    match wanted:
        case {"type": "json_schema", "json_schema": {"schema": schema}}:
            return schema
        case {"type": "json_object"}:
            return "json"
    return None
