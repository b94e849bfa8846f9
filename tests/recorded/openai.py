"""OpenAI's chat completions: what recorded requests mean, and what recorded answers say."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

from providers import compatible
from providers.openai import Row, openai
from recorded.harness import Meaning, Recording, value_of
from router import (
    AuthError,
    BadRequest,
    ContextOverflow,
    ModelNotFound,
    Overloaded,
    Provider,
    QuotaExhausted,
    RateLimited,
    RouterError,
    UnsupportedParameter,
    UpstreamError,
    Usage,
)

HEADERS: tuple[str, ...] = ()

ROWS = {row.name: row for row in vars(compatible).values() if isinstance(row, Row)}
ROWS |= {
    "openai": openai,
    "moonshotai": compatible.moonshot,
    "ollama": compatible.ollama_openai,
}

SERVED_BY = {
    "llm--tools-streaming-variant-a.0.json": "openrouter",
    "llm--tools-streaming-variant-a.1.json": "openrouter",
}
"""Files that lie under another name than that of the service that answered."""

COMMON = {
    *("temperature", "top_p", "max_tokens", "stop", "n", "presence_penalty", "frequency_penalty"),
    *("logit_bias", "logprobs", "top_logprobs", "tools", "tool_choice", "parallel_tool_calls"),
    *("response_format", "seed", "user"),
}
"""What goes into a request under its common name, whatever the service."""

ERRORS: dict[int, type[RouterError]] = {
    400: BadRequest,
    401: AuthError,
    402: QuotaExhausted,
    404: ModelNotFound,
    422: BadRequest,
    429: RateLimited,
    503: Overloaded,
}

FINISHES = {"function_call": "tool_calls"}
"""Reasons of other names."""

RENAMED = {"max_completion_tokens": "max_tokens", "random_seed": "seed", "user_id": "user"}


def provider(recording: Recording, origin: str) -> Provider:
    """The row of the service; Azure's other endpoint, the one recorded, by its settings."""
    row = _row(recording)
    if row is compatible.azure:
        parts = urlsplit(recording.url)
        query = dict(pair.split("=") for pair in parts.query.split("&"))
        return row(base_url=origin, key="a-made-up-key", path=parts.path, query=query)
    path = urlsplit(_base_url(recording) or row.base_url).path
    return row(base_url=f"{origin}{path}", key="a-made-up-key")


def _row(recording: Recording) -> Row:
    name = recording.file.rpartition("/")[2]
    return ROWS[SERVED_BY.get(name, recording.provider)]


def _base_url(recording: Recording) -> str | None:
    """Where to, where no row can know: Hugging Face names one of the services behind it."""
    if "router.huggingface.co/" in recording.url:
        return recording.url.removesuffix("/chat/completions")
    return None


# -- the request


def neutral(
    body: dict[str, Any], recording: Recording
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    parameters: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for name, value in body.items():
        if name in ("model", "messages", "stream", "stream_options"):
            continue
        common = RENAMED.get(name, name)
        if common in COMMON:
            parameters[common] = value
        elif name not in ("thinking", "reasoning_effort"):
            extra[name] = value
    parameters |= _effort(body, extra)
    if parameters.get("tool_choice") == "any":
        parameters["tool_choice"] = "required"
    if extra:
        parameters["extra_body"] = extra
    return [_neutral_message(message) for message in body["messages"]], parameters


def _effort(body: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    """The effort that the request asks for; what else its switch holds has no common name."""
    thinking = dict(body.get("thinking") or {})
    kind = thinking.pop("type", None)
    if thinking:
        extra["thinking"] = thinking
    if "reasoning_effort" in body:
        return {"reasoning_effort": body["reasoning_effort"]}
    if kind == "enabled":  # with the service's own effort, which has no common name
        extra["thinking"] = {"type": kind, **thinking}
    return {"reasoning_effort": "none"} if kind == "disabled" else {}


def _neutral_message(message: dict[str, Any]) -> dict[str, Any]:
    """The message with its reasoning as blocks, and without what says nothing."""
    neutral = {name: value for name, value in message.items() if value is not None}
    neutral.setdefault("content", "")
    blocks = [_neutral_block(each) for each in neutral.pop("reasoning_details", ())]
    texts = [neutral.pop(name, None) for name in ("reasoning_content", "reasoning")]
    if not blocks and (text := next(filter(None, texts), None)):
        blocks = [{"text": text}]
    if blocks:
        neutral["reasoning_blocks"] = blocks
    if not neutral.get("tool_calls"):
        neutral.pop("tool_calls", None)
    return neutral


def _neutral_block(detail: dict[str, Any]) -> dict[str, Any]:
    named = {"text", "summary", "signature", "data", "id"}
    block = {name: detail[name] for name in ("signature", "data", "id") if detail.get(name)}
    block["text"] = detail.get("text") or detail.get("summary") or ""
    block["extra"] = {name: value for name, value in detail.items() if name not in named}
    return block


def canonical(body: dict[str, Any]) -> dict[str, Any]:
    """The body with one way to say what has several.

    - What is null, or an empty list of tools, is not there; `stream` is there, and `n` where it is
      not one.
    - Content is a list of parts; of an assistant's message, empty content is none.
    - A tool call's number is its place. Its arguments are the value that their JSON has.
    - `prefix` is there where it is true.
    """
    plain = {name: value for name, value in body.items() if value is not None}
    plain.setdefault("stream", False)
    if plain.get("n") == 1:
        del plain["n"]
    if not plain.get("tools", True):
        del plain["tools"]
    for tool in plain.get("tools", ()):
        tool.setdefault("type", "function")
    plain["messages"] = [_canonical_message(message) for message in body["messages"]]
    return plain


def _canonical_message(message: dict[str, Any]) -> dict[str, Any]:
    plain = {name: value for name, value in message.items() if value is not None}
    content = plain.get("content") or []
    plain["content"] = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not plain.get("prefix"):
        plain.pop("prefix", None)
    for detail in plain.get("reasoning_details", ()):
        if detail.get("id", "") is None:
            del detail["id"]
    for call in plain.get("tool_calls", ()):
        call.pop("index", None)
        call["function"]["arguments"] = value_of(call["function"]["arguments"])
    return plain


def differences(recording: Recording) -> dict[str, str]:
    body, row = recording.request, _row(recording)
    found: dict[str, str] = {}
    if recording.streaming and row.stream_usage and "stream_options" not in body:
        found["stream_options"] = "we ask every service for a stream's usage"
    newer = row in (openai, compatible.azure)
    if ("max_tokens" if newer else "max_completion_tokens") in body:
        found |= dict.fromkeys(
            ("max_tokens", "max_completion_tokens"),
            "OpenAI's newer name is for all its models, the older for all services that have both",
        )
    if body.get("tool_choice") == "any":
        found["tool_choice"] = "Mistral has two words for it, `any` and `required`"
    if row is compatible.ollama_openai and _has(body, "reasoning_content"):
        found["messages.*.reasoning_content"] = (
            "it was sent under both names; Ollama reads the other"
        )
    if recording.file.rpartition("/")[2] in SERVED_BY:
        found["url"] = "recorded under OpenAI's address"
    return found


def _has(body: dict[str, Any], name: str) -> bool:
    return any(message.get(name) for message in body["messages"])


# -- the answer


def meaning(recording: Recording) -> Meaning | type[RouterError]:
    replies = recording.events() if _is_stream(recording) else [recording.json()]
    finished = False
    for reply in replies:
        if "error" in reply and not finished:  # behind the finish reason it changes nothing
            return _failure(recording, reply["error"])
        finished |= any(each.get("finish_reason") for each in reply["choices"])
    choices = [each for reply in replies for each in reply["choices"] if each["index"] == 0]
    messages = [each.get("delta") or each.get("message") or {} for each in choices]
    finishes = [each["finish_reason"] for each in choices if each.get("finish_reason")]
    return Meaning(
        text="".join(_text(message) for message in messages),
        reasoning="".join(_reasoning(message) for message in messages),
        refusal="".join(message.get("refusal") or "" for message in messages),
        tool_calls=_tool_calls(messages),
        finish_reason=FINISHES.get(finishes[0], finishes[0])
        if finishes
        else "other",  # OpenRouter: [DONE] behind the usage
        usage=_usage(replies),
        seals=tuple(_seals(messages)),
        citations=tuple(_citations(replies, messages)),
    )


def _is_stream(recording: Recording) -> bool:
    return not recording.body.lstrip().startswith(b"{")


def _failure(recording: Recording, error: dict[str, Any]) -> type[RouterError]:
    if any(code in json.dumps(error) for code in ("unsupported_parameter", "unsupported_value")):
        return (
            UnsupportedParameter  # of the service, or of the one that it passes the error on from
        )
    said = error["message"].lower()
    if "context length" in said or error.get("type") == "too_many_prompt_tokens":
        return ContextOverflow
    told = error.get("status_code", error.get("code"))
    code = told if recording.status == 200 else recording.status
    return ERRORS.get(code, UpstreamError) if isinstance(code, int) else UpstreamError


def _text(message: dict[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return "".join(part["text"] for part in content if part["type"] == "text")
    return content or ""


def _reasoning(message: dict[str, Any]) -> str:
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    thinking = [inner["text"] for part in parts for inner in part.get("thinking", ())]
    return message.get("reasoning_content") or message.get("reasoning") or "".join(thinking)


def _tool_calls(messages: list[dict[str, Any]]) -> tuple[tuple[str, Any], ...]:
    """Names and arguments, by number; one without a number is new where it has an id."""
    calls: dict[int, list[str]] = {}
    pieces = [each for message in messages for each in enumerate(_calls(message))]
    for place, piece in pieces:
        called = piece.get("function") or piece["custom"]
        number = piece.get("index", len(calls) if piece.get("id") else place)
        made = calls.setdefault(number, ["", ""])
        made[0] = made[0] or called.get("name", "")
        made[1] += called.get("arguments") or called.get("input") or ""
    return tuple((name, value_of(arguments or "{}")) for name, arguments in calls.values())


def _calls(message: dict[str, Any]) -> list[dict[str, Any]]:
    """A message's calls; there was one at most when they were called functions."""
    function = message.get("function_call")
    return message.get("tool_calls") or ([{"function": function}] if function else [])


def _seals(messages: list[dict[str, Any]]) -> list[str]:
    details = [each for message in messages for each in message.get("reasoning_details") or ()]
    return [each[name] for each in details for name in ("signature", "data") if each.get(name)]


def _citations(replies: list[dict[str, Any]], messages: list[dict[str, Any]]) -> list[str]:
    """The pages, each once: those of the annotations, or those beside the choices."""
    noted = [each for message in messages for each in message.get("annotations") or ()]
    urls = [each["url_citation"]["url"] for each in noted]
    for reply in replies:
        found = [result["url"] for result in reply.get("search_results") or ()]
        urls += found or reply.get("citations") or ()
    return list(dict.fromkeys(urls))


def _usage(replies: list[dict[str, Any]]) -> Usage | None:
    told = [choice.get("usage") for reply in replies for choice in reply["choices"]]
    told += [reply.get("usage") or reply.get("x_groq", {}).get("usage") for reply in replies]
    usage = next((each for each in reversed(told) if each), None)
    if usage is None:
        return None
    sent = usage.get("prompt_tokens_details") or {}
    received = usage.get("completion_tokens_details") or {}
    named = ("cached_tokens", "prompt_cache_hit_tokens", "num_cached_tokens")
    cached = [sent.get("cached_tokens"), *(usage.get(name) for name in named)]
    heard, spoken = sent.get("audio_tokens"), received.get("audio_tokens")
    # What the parts of a total leave over is what the service left out of one of them.
    over = usage["total_tokens"] - usage["prompt_tokens"] - usage["completion_tokens"]
    reasoned = received.get("reasoning_tokens")
    return Usage(
        input_tokens=usage["prompt_tokens"] + (over if over and over != reasoned else 0),
        output_tokens=usage["completion_tokens"] + (over if over == reasoned else 0),
        cached_tokens=next((count for count in cached if count is not None), None),
        cache_write_tokens=sent.get("cache_write_tokens", usage.get("cache_creation_input_tokens")),
        reasoning_tokens=reasoned,
        audio_tokens=None if heard is spoken is None else (heard or 0) + (spoken or 0),
    )
