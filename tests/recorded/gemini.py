"""Gemini's generateContent, at the Gemini API and at Vertex: the same bodies in both places."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from providers.gemini import Gemini
from providers.gemini_requests import MADE
from recorded.harness import Meaning, Recording
from router import (
    Audio,
    AuthError,
    BadRequest,
    ContentFiltered,
    ContextOverflow,
    File,
    Image,
    ModelNotFound,
    Overloaded,
    Part,
    PermissionDenied,
    Provider,
    RateLimited,
    RouterError,
    Text,
    Usage,
)

Json = dict[str, Any]

HEADERS = ()

SPELLINGS = {
    "allowed_function_names": "allowedFunctionNames",
    "file_data": "fileData",
    "file_uri": "fileUri",
    "function_call": "functionCall",
    "function_calling_config": "functionCallingConfig",
    "function_declarations": "functionDeclarations",
    "function_response": "functionResponse",
    "generation_config": "generationConfig",
    "include_thoughts": "includeThoughts",
    "inline_data": "inlineData",
    "mime_type": "mimeType",
    "parameters_json_schema": "parametersJsonSchema",
    "response_json_schema": "responseJsonSchema",
    "response_mime_type": "responseMimeType",
    "response_schema": "responseSchema",
    "safety_settings": "safetySettings",
    "system_instruction": "systemInstruction",
    "thinking_budget": "thinkingBudget",
    "thinking_config": "thinkingConfig",
    "thinking_level": "thinkingLevel",
    "thought_signature": "thoughtSignature",
    "tool_config": "toolConfig",
}
"""Protobuf's JSON takes a field's name in either spelling."""

THEIR_OWN = ("args", "response", "parameters", "parametersJsonSchema", "responseJsonSchema")
"""Below these stand names of the caller's."""

PARAMETERS = {
    "temperature": "temperature",
    "topP": "top_p",
    "topK": "top_k",
    "maxOutputTokens": "max_tokens",
    "candidateCount": "n",
    "seed": "seed",
    "presencePenalty": "presence_penalty",
    "frequencyPenalty": "frequency_penalty",
    "responseLogprobs": "logprobs",
    "logprobs": "top_logprobs",
    "stopSequences": "stop",
}

FINISHES = {"STOP": "stop", "MAX_TOKENS": "length"}
FILTERED = (
    *("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY"),
    "MODEL_ARMOR",
)

ERRORS: dict[int, type[RouterError]] = {
    400: BadRequest,
    401: AuthError,
    403: PermissionDenied,
    404: ModelNotFound,
    429: RateLimited,
    503: Overloaded,
}


def provider(recording: Recording, origin: str) -> Provider:
    """Vertex has the same wire at a longer path, which is a setting."""
    before = recording.path.partition("/models/")[0] if recording.url else "/v1beta"
    return Gemini(base_url=origin + before, key="a-made-up-key")


# -- the request


def neutral(body: Json, recording: Recording) -> tuple[list[Any], Json]:
    body = canonical(body)
    instruction = body.pop("systemInstruction", {"parts": []})
    messages: list[Any] = [
        {"role": "system", "content": part["text"]} for part in instruction["parts"]
    ]
    calls: list[Json] = []
    for content in body.pop("contents"):
        if content.get("role") == "model":
            messages.append(_assistant(content["parts"], calls))
        else:
            messages += _user(content["parts"], calls)
    parameters = _parameters(body.pop("generationConfig", {}))
    if "tools" in body:
        parameters["tools"] = [tool for each in body.pop("tools") for tool in _tools(each)]
    config = body.get("toolConfig", {}).get("functionCallingConfig", {})
    if (choice := _choice(config)) is not None:
        parameters["tool_choice"] = choice
        del body["toolConfig"]
    if body:
        parameters.setdefault("extra_body", {}).update(body)
    return messages, parameters


def _assistant(parts: Iterable[Json], calls: list[Json]) -> Json:
    message: Json = {"role": "assistant", "content": "", "tool_calls": [], "reasoning_blocks": []}
    for part in parts:
        signature = part.get("thoughtSignature")
        if (call := part.get("functionCall")) is not None:
            call_id = call.get("id") or f"{MADE}{len(calls)}"
            calls.append({"id": call_id, "name": call["name"]})
            function = {"name": call["name"], "arguments": json.dumps(call.get("args", {}))}
            asked = {"id": call_id, "type": "function", "function": function}
            message["tool_calls"].append({**asked, "signature": signature})
            continue
        start = len(message["content"])
        block: Json = {"signature": signature, "extra": {"start": start, "end": start}}
        if part.get("thought"):
            message["reasoning_blocks"].append({**block, "text": part.get("text", "")})
        elif "text" not in part:
            block["extra"]["part"] = part
            message["reasoning_blocks"].append(block)
        else:
            message["content"] += part["text"]
            if signature:
                block["extra"]["end"] = len(message["content"])
                message["reasoning_blocks"].append(block)
    return message


def _user(parts: Iterable[Json], calls: list[Json]) -> Iterator[Json]:
    said: list[Part] = []
    for part in parts:
        if (result := part.get("functionResponse")) is None:
            said.append(_part(part))
            continue
        call_id = result.get("id")
        asked = next(
            call for call in calls if call_id == call["id"] or result["name"] == call["name"]
        )
        calls.remove(asked)
        media = [_part(each) for each in result.get("parts", [])]
        response = json.dumps(result["response"])
        content = [*([Text(text=response)] if result["response"] else []), *media]
        answer = {"role": "tool", "tool_call_id": asked["id"]}
        yield {**answer, "content": content if media else response}
    if said:
        yield {"role": "user", "content": said}


def _part(part: Json) -> Part:
    if "text" in part:
        return Text(text=part["text"])
    if (held := part.get("fileData")) is not None:
        kind = held.get("mimeType")
        if kind and kind.startswith("image/"):
            return Image(url=held["fileUri"], media_type=kind)
        return File(id=held["fileUri"], media_type=kind)
    kind = part["inlineData"]["mimeType"]
    data = base64.b64decode(part["inlineData"]["data"])
    if kind.startswith("image/"):
        return Image(data=data, media_type=kind)
    if kind.startswith("audio/"):
        return Audio(data=data, format=kind.removeprefix("audio/"))
    return File(data=data, media_type=kind)


def _tools(tool: Json) -> list[Json]:
    if "functionDeclarations" not in tool:
        return [tool]
    functions = []
    for declared in tool["functionDeclarations"]:
        function = {key: declared[key] for key in ("name", "description") if key in declared}
        if "parametersJsonSchema" in declared:
            function["parameters"] = declared["parametersJsonSchema"]
        functions.append({"type": "function", "function": function})
    return functions


def _choice(config: Json) -> Any:
    """The choice in neutral words; `None` where they have none for it."""
    names, mode = config.get("allowedFunctionNames"), config.get("mode")
    if names:
        named = {"type": "function", "function": {"name": names[0]}}
        return named if mode == "ANY" and len(names) == 1 else None
    return {"AUTO": "auto", "NONE": "none", "ANY": "required"}.get(mode or "")


def _parameters(config: Json) -> Json:
    parameters = {
        name: config.pop(wire) for wire, name in PARAMETERS.items() if config.get(wire) is not None
    }
    schema = config.pop("responseJsonSchema", None)
    kind = config.pop("responseMimeType", "text/plain")
    if schema is not None:
        named = {"name": "answer", "schema": schema}
        parameters["response_format"] = {"type": "json_schema", "json_schema": named}
    elif kind == "application/json":
        parameters["response_format"] = {"type": "json_object"}
    thinking = config.get("thinkingConfig", {})
    if "includeThoughts" in thinking:
        parameters["include_thoughts"] = thinking.pop("includeThoughts")
    if "thinkingLevel" in thinking:
        parameters["reasoning_effort"] = thinking.pop("thinkingLevel").lower()
    if not thinking:
        config.pop("thinkingConfig", None)
    if config:
        parameters["extra_body"] = {"generationConfig": config}
    return parameters


def canonical(body: Json) -> Json:
    """One spelling of names, of base64 and of types; without what is empty."""
    body = _spelled(body)
    instruction = body.pop("systemInstruction", {"parts": []})
    parts = instruction["parts"]
    parts = [part for part in (parts if isinstance(parts, list) else [parts]) if part["text"]]
    if parts:
        body["systemInstruction"] = {"parts": parts}
    for content in body["contents"]:
        content["parts"] = [part for part in content["parts"] if part != {"text": ""}]
    if not body.get("generationConfig"):
        body.pop("generationConfig", None)
    for tool in body.get("tools", ()):
        for declared in tool.get("functionDeclarations", ()):
            _one_schema(declared, "parameters", "parametersJsonSchema")
    _one_schema(body.get("generationConfig", {}), "responseSchema", "responseJsonSchema")
    return body


def _one_schema(holder: Json, old: str, new: str) -> None:
    """A schema in OpenAPI's words, whose types are in capitals, as JSON Schema."""
    if old in holder:
        holder[new] = _lowered(holder.pop(old))


def _lowered(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_lowered(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: value.lower() if key == "type" and isinstance(value, str) else _lowered(value)
        for key, value in schema.items()
    }


def _spelled(value: Any) -> Any:
    if isinstance(value, list):
        return [_spelled(each) for each in value]
    if not isinstance(value, dict):
        return value
    spelled = {}
    for key, each in value.items():
        name = SPELLINGS.get(key, key)
        if name in ("thoughtSignature", "data"):
            spelled[name] = each.translate(str.maketrans("-_", "+/"))
        elif name == "thinkingLevel":
            spelled[name] = each.upper()
        else:
            spelled[name] = each if name in THEIR_OWN else _spelled(each)
    return spelled


def differences(recording: Recording) -> Mapping[str, str]:
    found = {}
    if "streamGenerateContent" in recording.url and "alt=sse" not in recording.url:
        found["url"] = "the stream is asked for as events, and was as a list in JSON"
    elif "%24alt" in recording.url:
        found["url"] = "how enumerations are written was asked for, as the service does it anyway"
    return found


# -- the answer


def meaning(recording: Recording) -> Meaning | type[RouterError]:
    whole = recording.body.lstrip().startswith((b"{", b"["))
    told = recording.json() if whole else recording.events()
    replies = told if isinstance(told, list) else [told]
    if "error" in replies[-1]:
        return _error(recording.status, replies[-1]["error"])
    if any(reply.get("promptFeedback", {}).get("blockReason") for reply in replies):
        return ContentFiltered
    candidates = [
        candidate
        for reply in replies
        for candidate in reply.get("candidates", ())
        if candidate.get("index", 0) == 0
    ]
    parts = [
        part for candidate in candidates for part in candidate.get("content", {}).get("parts", ())
    ]
    calls = _calls(part["functionCall"] for part in parts if "functionCall" in part)
    said = [part for part in parts if "functionCall" not in part]
    called = [part for part in parts if "functionCall" in part]
    return Meaning(
        text="".join(part.get("text", "") for part in said if not part.get("thought")),
        reasoning="".join(part.get("text", "") for part in said if part.get("thought")),
        tool_calls=tuple(calls),
        finish_reason=_finish(candidates, bool(calls)),
        usage=_usage(replies),
        seals=tuple(
            part["thoughtSignature"] for part in said + called if "thoughtSignature" in part
        ),
        citations=tuple(_citations(candidates)),
    )


def _error(status: int, error: Json) -> type[RouterError]:
    message = error["message"]
    if "API key" in message:
        return AuthError
    if "input token count" in message:
        return ContextOverflow
    return ERRORS[error.get("code") or status]


def _calls(told: Iterable[Json]) -> list[tuple[str, Any]]:
    """Names and arguments; those in pieces are of plain names at the first level here."""
    calls: list[tuple[str, Any]] = []
    for call in told:
        if "name" in call:
            calls.append((call["name"], dict(call.get("args", {}))))
        for piece in call.get("partialArgs", ()):
            arguments, name = calls[-1][1], piece["jsonPath"].removeprefix("$.")
            if "stringValue" in piece:
                arguments[name] = arguments.get(name, "") + piece["stringValue"]
            else:
                arguments[name] = next(piece[key] for key in piece if key.endswith("Value"))
    return calls


def _finish(candidates: list[Json], has_calls: bool) -> str:
    reason = next(each["finishReason"] for each in candidates if "finishReason" in each)
    if reason == "STOP" and has_calls:
        return "tool_calls"
    return FINISHES.get(reason, "content_filter" if reason in FILTERED else "other")


def _usage(replies: list[Json]) -> Usage | None:
    told = [reply["usageMetadata"] for reply in replies if "usageMetadata" in reply]
    counted = [each for each in told if any(key.endswith("TokenCount") for key in each)]
    if not counted:
        return None
    last = counted[-1]
    details = last.get("promptTokensDetails", []) + last.get("candidatesTokensDetails", [])
    return Usage(
        input_tokens=_sum(last, "promptTokenCount", "toolUsePromptTokenCount"),
        output_tokens=_sum(last, "candidatesTokenCount", "thoughtsTokenCount"),
        cached_tokens=last.get("cachedContentTokenCount"),
        reasoning_tokens=last.get("thoughtsTokenCount"),
        audio_tokens=sum(each["tokenCount"] for each in details if each["modality"] == "AUDIO")
        or None,
    )


def _sum(counts: Json, *names: str) -> int | None:
    told = [counts[name] for name in names if name in counts]
    return sum(told) if told else None


def _citations(candidates: list[Json]) -> list[str]:
    chunks: list[Json] = []
    supports: list[Json] = []
    recited: list[Json] = []
    for candidate in candidates:
        grounding = candidate.get("groundingMetadata", {})
        told = grounding.get("groundingChunks") or []
        chunks = told if told[: len(chunks)] == chunks else chunks + told  # once more, or more
        supports += grounding.get("groundingSupports", [])
        recitation = candidate.get("citationMetadata", {})
        recited += recitation.get("citationSources") or recitation.get("citations") or []
    numbers = [n for support in supports for n in support.get("groundingChunkIndices", ())]
    numbers += [n for n in range(len(chunks)) if n not in numbers]
    sources = [next(iter(chunks[number].values())) for number in numbers]
    urls = [each.get("uri") or each.get("title") or "" for each in sources]
    return [*urls, *(each["uri"] for each in recited)]
