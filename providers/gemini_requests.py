"""What goes out on Gemini's wire: a conversation and its parameters, as a request's body.

- System messages stand beside the conversation, wherever they stood in it; alone, they are it.
- A tool's result names the function. The results of one turn are one message, in the order of the
  calls, since calls without ids are matched by it.
- What the model sealed goes back in its place: thoughts, pieces of the text, calls, and parts of
  kinds that have no name here, such as the code that it ran.
"""

from __future__ import annotations

import base64
import mimetypes
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any
from urllib.parse import urlsplit

import msgspec

from router import (
    Audio,
    BadRequest,
    File,
    Image,
    Message,
    Part,
    Reasoning,
    Text,
    ToolCall,
    UnsupportedParameter,
    Video,
)

from .schema_references import DEFINITIONS, WHOLE, recursive, references

Json = dict[str, Any]

MADE = "made-"
"""How the ids begin that calls were given here: the service has given none, and gets none back."""

UNSEALED = "skip_thought_signature_validator"
"""What the service takes for the seal of a call that another model has made, by its documentation.

From Gemini 3 on it refuses a call without one.
"""

CONFIG = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "max_tokens": "maxOutputTokens",
    "n": "candidateCount",
    "seed": "seed",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
    "logprobs": "responseLogprobs",
    "top_logprobs": "logprobs",
}
"""The parameters that are of one name and one value in the wire's `generationConfig`."""

TEXT = {"type": "text"}
"""The `response_format` that nothing is said of."""

MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY"}

BUDGETS = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24_576}
"""Tokens to think with, for Gemini 2.5: as Google's own service for OpenAI's wire has it."""

LEAST_BUDGET = 128
"""What Gemini 2.5 Pro thinks with at least: it cannot be told not to think."""

ABOVE_HIGH = ("xhigh", "max")
"""Efforts that Gemini does not tell from `high`."""

_OLD = re.compile(r"gemini-[12]\b")
_THOUGHTLESS = re.compile(r"gemini-(1|2\.0)\b|gemma-[1-3]\b")
_MINIMAL = re.compile(r"gemini-3(\.[0-6])?-flash|-flash-lite")  # by Google's pages of the models
_OCTETS = "application/octet-stream"


def is_old(model: str) -> bool:
    """Whether the model is older than Gemini 3, which brought levels of thinking and hard seals."""
    return _OLD.search(model) is not None


def unfit(model: str, given: Mapping[str, Any]) -> dict[str, str]:
    """Which parameters the model refuses, each with words that say beside what.

    Models before Gemini 2.5 cannot be told how to think, and those before Gemini 3 answer in JSON
    or call functions.
    """
    thinking = ("reasoning_effort", "include_thoughts") if _THOUGHTLESS.search(model) else ()
    gone = {name: "with this model" for name in thinking if name in given}
    wanted = given.get("response_format") or TEXT
    if is_old(model) and given.get("tools") and wanted != TEXT:
        gone["response_format"] = "beside tools"
    return gone


def conversation(messages: Iterable[Message], *, old: bool) -> Json:
    """The `contents` and, where there is one, the `systemInstruction` of a body.

    Args:
        messages: The conversation.
        old: Whether it is for a model older than Gemini 3.

    Raises:
        BadRequest: A tool's result belongs to no call, and has no name of its own.
    """
    system: list[Json] = []
    contents: list[Json] = []
    calls: dict[str, ToolCall] = {}
    for role, group in groupby(messages, key=_role):
        if role == "system":
            system += [part for message in group for part in _parts(message)]
        elif role == "tool":
            contents.append({"role": "user", "parts": _results(list(group), calls, old=old)})
        elif role == "user":
            contents += [{"role": "user", "parts": _parts(message)} for message in group]
        else:
            for message in group:
                for call in message.tool_calls:
                    calls.pop(call.id, None)  # an id that comes up again is the later call's
                    calls[call.id] = call
                contents.append({"role": "model", "parts": _model_parts(message, old=old)})
    if not contents:  # the service refuses an empty list: what is left to say is the user's
        return {"contents": [{"role": "user", "parts": system}]}
    instruction = {"systemInstruction": {"parts": system}} if system else {}
    return {"contents": contents, **instruction}


def settings(model: str, given: Mapping[str, Any]) -> Json:
    """The rest of a body: the parameters that were given, under the wire's names.

    Raises:
        UnsupportedParameter: `tool_choice` or `response_format` is of a kind that the wire lacks.
    """
    config = {wire: given[name] for name, wire in CONFIG.items() if name in given}
    if "stop" in given:
        stop = given["stop"]
        config["stopSequences"] = [stop] if isinstance(stop, str) else stop
    config |= _format(given.get("response_format"))
    thinking = _thinking(model, given.get("reasoning_effort"))
    if "include_thoughts" in given:
        thinking["includeThoughts"] = given["include_thoughts"]
    if thinking:
        config["thinkingConfig"] = thinking
    body: Json = {"generationConfig": config} if config else {}
    tools = _tools(given.get("tools") or ())
    if tools:
        body["tools"] = tools
    # The service refuses a choice where there is no function.
    if "tool_choice" in given and any("functionDeclarations" in tool for tool in tools):
        body["toolConfig"] = {"functionCallingConfig": _choice(given["tool_choice"])}
    return body


# -- messages


def _role(message: Message) -> str:
    return "system" if message.role == "developer" else message.role


def _parts(message: Message) -> list[Json]:
    if isinstance(message.content, str):
        return [{"text": message.content}]
    return [_part(part) for part in message.content]


def _part(part: Part) -> Json:
    match part:
        case Text():
            return {"text": part.text}
        case Image(url=str(url)) | Video(url=str(url)):
            return _held(url, part.media_type)
        case Image() | Video():
            return _inline(part.data or b"", part.media_type or _OCTETS)
        case Audio():
            return _inline(part.data, f"audio/{part.format}")
        case File(data=bytes(data)):
            return _inline(data, part.media_type or _media_type(part.name or "") or _OCTETS)
        case File():
            return _held(part.url or part.id or "", part.media_type or _media_type(part.name or ""))


def _inline(data: bytes, media_type: str) -> Json:
    return {"inlineData": {"mimeType": media_type, "data": base64.b64encode(data).decode()}}


def _held(url: str, media_type: str | None) -> Json:
    """A file that the service holds or fetches; for its own files it knows the type itself."""
    media_type = media_type or _media_type(url)
    return {"fileData": {"fileUri": url, **({"mimeType": media_type} if media_type else {})}}


def _media_type(name: str) -> str | None:
    return mimetypes.guess_type(urlsplit(name).path)[0]


def _model_parts(message: Message, *, old: bool) -> list[Json]:
    parts = _text_parts(message.text, message.reasoning)
    if not isinstance(message.content, str):
        parts += [_part(part) for part in message.content if not isinstance(part, Text)]
    calls = [_call(call) for call in message.tool_calls]
    if calls and not old and not any(call.signature for call in message.tool_calls):
        calls[0]["thoughtSignature"] = UNSEALED
    return [*parts, *calls] or [{"text": ""}]


def _text_parts(text: str, blocks: Sequence[Reasoning]) -> list[Json]:
    """The text, with what was sealed in it or between its pieces."""
    parts: list[Json] = []
    at = 0
    for block in blocks:
        start, end = _span(block, at, len(text))
        if text[at:start]:
            parts.append({"text": text[at:start]})
        parts.append(_block(block, text[start:end]))
        at = end
    return [*parts, {"text": text[at:]}] if text[at:] else parts


def _span(block: Reasoning, at: int, length: int) -> tuple[int, int]:
    """The place of a block in the text, if it says so: the caller may have changed either."""
    start, end = block.extra.get("start"), block.extra.get("end")
    if not isinstance(start, int) or not isinstance(end, int):
        return at, at
    start = max(at, min(start, length))
    return start, max(start, min(end, length))


def _block(block: Reasoning, text: str) -> Json:
    if isinstance(part := block.extra.get("part"), dict):
        return part
    seal = {"thoughtSignature": block.signature} if block.signature else {}
    if block.text:
        return {"text": block.text, "thought": True, **seal}
    return {"text": text, **seal}


def _call(call: ToolCall) -> Json:
    function = {"name": call.name, "args": _arguments(call), **_id(call.id)}
    seal = {"thoughtSignature": call.signature} if call.signature else {}
    return {"functionCall": function, **seal}


def _arguments(call: ToolCall) -> Json:
    """The arguments as the object that the wire wants, whatever a model has once written."""
    try:
        return call.parsed() if call.arguments.strip() else {}
    except ValueError:
        return {"arguments": call.arguments}


def _id(call_id: str) -> Json:
    return {"id": call_id} if call_id and not call_id.startswith(MADE) else {}


def _results(messages: list[Message], calls: Mapping[str, ToolCall], *, old: bool) -> list[Json]:
    """The results of one turn's calls, as the parts of one message."""
    order = {call_id: number for number, call_id in enumerate(calls)}
    ordered = sorted(messages, key=lambda each: order.get(each.tool_call_id or "", len(order)))
    return [part for message in ordered for part in _result(message, calls, old=old)]


def _result(message: Message, calls: Mapping[str, ToolCall], *, old: bool) -> list[Json]:
    call_id = message.tool_call_id or ""
    name = calls[call_id].name if call_id in calls else message.name
    if name is None:
        raise BadRequest("a tool's result with a tool_call_id that no call before it has")
    content = () if isinstance(message.content, str) else message.content
    media = [_part(part) for part in content if not isinstance(part, Text)]
    function: Json = {
        "name": name,
        "response": _response(message, bool(media)),
        **_id(call_id),
    }
    if media and not old:
        function["parts"] = media
        return [{"functionResponse": function}]
    return [{"functionResponse": function}, *media]


def _response(message: Message, has_media: bool) -> Json:
    """The result as the object that the wire wants: one in JSON as it is."""
    text = message.text
    if message.extra.get("is_error"):
        return {"error": text}
    try:
        return msgspec.json.decode(text.encode(), type=Json)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return {} if has_media and not text else {"output": text}


# -- parameters


def _tools(tools: Iterable[Mapping[str, Any]]) -> list[Json]:
    """Functions as declarations; any other tool is Gemini's own, and goes as it is."""
    declarations = []
    others = []
    for tool in tools:
        function = tool.get("function")
        if isinstance(function, dict):
            declarations.append(_declaration(function))
        else:
            others.append(dict(tool))
    return [*([{"functionDeclarations": declarations}] if declarations else []), *others]


def _declaration(function: Mapping[str, Any]) -> Json:
    names = {"name": "name", "description": "description", "parameters": "parametersJsonSchema"}
    return {wire: function[name] for name, wire in names.items() if name in function}


def _choice(choice: str | Mapping[str, Any]) -> Json:
    if isinstance(choice, str):
        if choice in MODES:
            return {"mode": MODES[choice]}
    elif isinstance(function := choice.get("function"), dict) and "name" in function:
        return {"mode": "ANY", "allowedFunctionNames": [function["name"]]}
    raise UnsupportedParameter("tool_choice is auto, none, required, or one function, for gemini")


def _format(wanted: Mapping[str, Any] | None) -> Json:
    if wanted is None or wanted == TEXT:
        return {}
    if wanted.get("type") == "json_object":
        return {"responseMimeType": "application/json"}
    match wanted:
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)}}:
            return {"responseMimeType": "application/json", "responseJsonSchema": _bound(schema)}
    raise UnsupportedParameter(
        "response_format is of the type text, json_object or json_schema, for gemini"
    )


def _bound(schema: Json) -> Json:
    """The schema, in which what leads back to where it stands is not required.

    Only as an optional property does the service take it, by its reference of `responseJsonSchema`.
    """
    if not (names := recursive(schema)):
        return schema
    made = _optional(schema, names) if WHOLE in names else dict(schema)
    for place in DEFINITIONS:
        if place in schema:
            made[place] = {
                name: _optional(each, names) if name in names else each
                for name, each in schema[place].items()
            }
    return made


def _optional(schema: Any, names: Collection[str]) -> Any:
    """A schema, in which no property is required that refers to one of these definitions."""
    if isinstance(schema, list):
        return [_optional(each, names) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _optional(value, names) for key, value in schema.items()}
    if isinstance(required := schema.get("required"), list):
        properties = schema.get("properties", {})
        made["required"] = [
            key for key in required if not {*references(properties.get(key))} & {*names}
        ]
    return made


def _thinking(model: str, effort: str | None) -> Json:
    """How long to think: a budget in tokens for Gemini 2.5, a level for later models.

    A level cannot be "none", and most have no "minimal": the least that there is stands for them.
    """
    if effort is None:
        return {}
    effort = "high" if effort in ABOVE_HIGH else effort
    if is_old(model):
        return {"thinkingBudget": max(BUDGETS[effort], LEAST_BUDGET if "-pro" in model else 0)}
    if effort in ("none", "minimal"):
        effort = "minimal" if _MINIMAL.search(model) else "low"
    return {"thinkingLevel": effort.upper()}
