"""What goes out on Anthropic's wire: a conversation and its parameters, as a request's body.

- System messages stand beside the conversation, wherever they stood in it; alone, they are it.
- Messages of one role that follow each other are one turn; the results of tools belong to the
  user's. A text that is empty or blank is left out, since the service refuses it.
- What the model's reasoning left to be sent back goes to its place in the text, or before it.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from router import (
    BadRequest,
    File,
    Image,
    Message,
    Part,
    ProtocolError,
    Reasoning,
    Text,
    ToolCall,
    UnsupportedParameter,
    decode_json,
)

from .anthropic_families import family_of
from .anthropic_schema import closed

Block = dict[str, Any]

DOCUMENT_KEYS = ("cache_control", "citations", "context", "title")
"""What the wire takes beside a document; beside any other part it takes cache markers alone."""

TOOL_CHOICES = {"required": "any"}
"""What OpenAI calls otherwise; `auto` and `none` are the same."""

FORCED = ("any", "tool")
"""The kinds of a choice after which the answer begins with a call."""

LEAST_TOP_P = 0.95
"""The service takes no less beside thinking."""

CALL_ID = re.compile("[a-zA-Z0-9_-]*")
"""What the service takes as the id of a tool call."""

FILES_BETA = "files-api-2025-04-14"
"""The value of `anthropic-beta` without which no file is known by its id."""


def body_of(
    model: str, messages: Sequence[Message], max_tokens: int, given: Mapping[str, Any]
) -> dict[str, Any]:
    """A request's body, but for `stream`.

    Args:
        model: The call's.
        messages: The call's.
        max_tokens: The wire has no default for it.
        given: The other parameters of the call, under the router's names, and no `None`.

    Raises:
        UnsupportedParameter: The wire has no form for a part, or for JSON without a schema.
        BadRequest: A file of text is not UTF-8.
    """
    body = {"model": model, "max_tokens": max_tokens, **_conversation(messages)}
    asked, thought = _settings(given), _thinking(model, messages, max_tokens, given)
    # What is asked of the output's form stands in one object with the effort.
    output = {**thought.get("output_config", {}), **asked.get("output_config", {})}
    return {**body, **thought, **asked, **({"output_config": output} if output else {})}


def unfit(
    model: str, messages: Sequence[Message], max_tokens: int, given: Mapping[str, Any]
) -> dict[str, str]:
    """Which parameters the model refuses beside the others, each with words that say so.

    Of those that think up to a number of tokens, an effort gives way; others heed an effort without
    thinking. The arguments are those of `body_of`.
    """
    family = family_of(model)
    gone = {name: "with this model" for name in family.without if name in given}
    if family.one_sampler and {"temperature", "top_p"} <= given.keys():
        gone["top_p"] = "beside temperature"
    if not family.forced_calls and _is_forced(given):
        gone["tool_choice"] = "that forces a call"
    if not all(text.strip() for text in _stops(given)):
        gone["stop"] = "of white space alone"
    effort = given.get("reasoning_effort", "none")
    if effort != "none" and not _thinking(model, messages, max_tokens, given):
        gone["reasoning_effort"] = _hindrance(messages, given) or "with so few max_tokens"
    return gone


def prefill_of(messages: Sequence[Message]) -> str | None:
    """The text that the model is to continue, or `None`. Thinking does not go with it.

    A last answer with something sealed is no prefill: a tool of the service's paused it, and sent
    back, it has the model go on with that.
    """
    last = messages[-1]
    return last.text if last.role == "assistant" and not last.reasoning else None


def has_file_ids(messages: Iterable[Message]) -> bool:
    """Whether a part names a file that the service holds."""
    contents = (m.content for m in messages if not isinstance(m.content, str))
    files = (part for content in contents for part in content if isinstance(part, File))
    return any(file.data is None and file.url is None for file in files)


def tool_input(arguments: str) -> dict[str, Any]:
    """A tool call's arguments as the object that the wire wants.

    Text that is no JSON object goes back in one, under the key that Anthropic proposes.
    """
    try:
        value: dict[str, Any] = decode_json(arguments.encode(), dict[str, Any])
    except ProtocolError:
        return {"INVALID_JSON": arguments} if arguments.strip() else {}
    return value


def _conversation(messages: Iterable[Message]) -> dict[str, Any]:
    """The `messages` and, where there is one, the `system` of a body."""
    system: list[Block] = []
    turns: list[dict[str, Any]] = []
    for message in messages:
        blocks = _marked(_blocks(message), message.extra)
        if message.role in ("system", "developer"):
            system += blocks
            continue
        role = "assistant" if message.role == "assistant" else "user"
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        elif blocks:
            turns.append({"role": role, "content": blocks})
    if not turns:  # the service refuses an empty list: what is left to say is the user's
        turns, system = [{"role": "user", "content": system}], []
    if turns[-1]["role"] == "assistant":
        _trim(turns[-1]["content"])
    return {"messages": turns, **({"system": system} if system else {})}


def _trim(blocks: list[Block]) -> None:
    """Take the white space from the end of what is continued: the service refuses it."""
    if (last := blocks[-1])["type"] == "text":
        blocks[-1] = {**last, "text": last["text"].rstrip()}


def _settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """The rest of a body: the parameters that were given, under the wire's names.

    Raises:
        UnsupportedParameter: `response_format` is JSON without a schema.
    """
    same = ("temperature", "top_p", "top_k", "thinking")
    body = {name: given[name] for name in same if name in given}
    if "stop" in given:
        body["stop_sequences"] = _stops(given)
    if "user" in given:
        body["metadata"] = {"user_id": given["user"]}
    if "tools" in given:
        body["tools"] = [_tool(tool) for tool in given["tools"]]
        choice = _tool_choice(given.get("tool_choice"), given.get("parallel_tool_calls"))
        body |= {} if choice is None else {"tool_choice": choice}
    if (schema := _schema(given.get("response_format"))) is not None:
        body["output_config"] = {"format": {"type": "json_schema", "schema": closed(schema)}}
    return body


def _thinking(
    model: str, messages: Sequence[Message], max_tokens: int, given: Mapping[str, Any]
) -> dict[str, Any]:
    """The `thinking` and the `output_config` of a body that ask for the effort that was given."""
    effort = given.get("reasoning_effort")
    if effort is None:
        return {}
    hindered = _hindrance(messages, given) is not None
    return family_of(model).thinking(effort, max_tokens, hindered=hindered)


def _hindrance(messages: Sequence[Message], given: Mapping[str, Any]) -> str | None:
    """What thinking does not go with, by the guide to it; these temperatures and such it does."""
    if given.get("temperature", 1) != 1:
        return "beside temperature"
    if given.get("top_p", 1) < LEAST_TOP_P:
        return "beside top_p"
    if "top_k" in given:
        return "beside top_k"
    if _is_forced(given):
        return "beside a forced call"
    return None if prefill_of(messages) is None else "where an answer is continued"


def _stops(given: Mapping[str, Any]) -> list[str]:
    stop = given.get("stop", [])
    return [stop] if isinstance(stop, str) else stop


def _is_forced(given: Mapping[str, Any]) -> bool:
    choice = _tool_choice(given.get("tool_choice"), None) if "tools" in given else None
    return choice is not None and choice.get("type") in FORCED


def _blocks(message: Message) -> list[Block]:
    if message.role == "tool":
        return [_tool_result(message)]
    if message.role != "assistant":
        return _content(message.content)
    calls = [_tool_use(call) for call in message.tool_calls]
    return [*_interleaved(message), *calls]


def _interleaved(message: Message) -> list[Block]:
    """The text of an answer with what is sent back of its reasoning, each in its place."""
    sealed = [(block, at) for each in message.reasoning for block, at in _sealed(each)]
    if not isinstance(message.content, str):
        return [*(block for block, _ in sealed), *_content(message.content)]
    text = message.content or str(message.extra.get("refusal") or "")
    blocks: list[Block] = []
    told = 0
    for block, at in sealed:
        place = max(told, at)
        blocks += [*_content(text[told:place]), block]
        told = place
    return [*blocks, *_content(text[told:])]


def _sealed(reasoning: Reasoning) -> list[tuple[Block, int]]:
    """The block and its place; none for thinking without a seal, which the service refuses."""
    at = reasoning.extra.get("at")
    at = at if isinstance(at, int) else 0
    if isinstance(block := reasoning.extra.get("block"), dict):
        return [(block, at)]
    if reasoning.data is not None:
        return [({"type": "redacted_thinking", "data": reasoning.data}, at)]
    if reasoning.signature is None:
        return []
    thought = {"thinking": reasoning.text, "signature": reasoning.signature}
    return [({"type": "thinking", **thought}, at)]


def _content(content: str | tuple[Part, ...]) -> list[Block]:
    if isinstance(content, str):
        content = (Text(text=content),)
    return [_part(part) for part in content if not isinstance(part, Text) or part.text.strip()]


def _part(part: Part) -> Block:
    match part:
        case File():
            return _file(part)
        case Text():
            block: Block = {"type": "text", "text": part.text}
        case Image():
            block = {"type": "image", "source": _source(part.url, part.data, part.media_type)}
        case _:
            raise UnsupportedParameter(f"takes no {type(part).__name__.lower()} input")
    return _marked([block], part.extra)[0]


def _file(file: File) -> Block:
    media_type = file.media_type or ""
    if media_type.startswith("image/"):
        kind, source = "image", _source(file.url, file.data, media_type, file.id)
    elif media_type.startswith("text/") and file.data is not None:
        kind, source = "document", _plain_text(file.data)
    elif file.data is None or media_type == "application/pdf":
        kind, source = "document", _source(file.url, file.data, media_type, file.id)
    else:
        raise UnsupportedParameter(
            f"takes files of PDF, text and pictures, not of {media_type or 'no type'}"
        )
    title = {} if file.name is None or kind == "image" else {"title": file.name}
    kept = {key: file.extra[key] for key in DOCUMENT_KEYS if key in file.extra}
    return {"type": kind, "source": source, **title, **kept}


def _source(
    url: str | None, data: bytes | None, media_type: str | None, held: str | None = None
) -> Block:
    """Where a picture or document is: at a URL, here, or under an id at the service."""
    if data is not None:
        encoded = base64.b64encode(data).decode()
        return {"type": "base64", "media_type": media_type, "data": encoded}
    if url is not None:
        return {"type": "url", "url": url}
    return {"type": "file", "file_id": held}


def _plain_text(data: bytes) -> Block:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise BadRequest("a file of text that is not UTF-8") from None
    return {"type": "text", "media_type": "text/plain", "data": text}


def _tool_use(call: ToolCall) -> Block:
    use = {"type": "tool_use", "id": _call_id(call.id), "name": call.name}
    seal = call.signature or ""
    caller = {"caller": tool_input(seal)} if seal.startswith("{") else {}
    return {**use, "input": tool_input(call.arguments), **caller}


def _tool_result(message: Message) -> Block:
    content = message.content if isinstance(message.content, str) else _content(message.content)
    call_id = _call_id(message.tool_call_id or "")
    result = {"type": "tool_result", "tool_use_id": call_id, "content": content}
    failed = {key: message.extra[key] for key in ("is_error",) if key in message.extra}
    return {**result, **failed}


def _call_id(id_: str) -> str:
    """The id of a call, or a hash of it where another service has put dots or colons into it."""
    return id_ if CALL_ID.fullmatch(id_) else hashlib.sha256(id_.encode()).hexdigest()


def _marked(blocks: list[Block], extra: Mapping[str, Any]) -> list[Block]:
    """The blocks, the last of them with the cache marker that was given beside them."""
    if blocks and "cache_control" in extra:
        blocks[-1] = {**blocks[-1], "cache_control": extra["cache_control"]}
    return blocks


def _tool(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """A function as the wire has it; a tool of the wire's own (a server tool) as it is."""
    function = tool.get("function")
    if not isinstance(function, dict):
        return tool
    beside = {key: value for key, value in tool.items() if key not in ("type", "function")}
    same = {key: function[key] for key in ("name", "description", "strict") if key in function}
    schema = function.get("parameters") or {"type": "object", "properties": {}}
    bound = closed(schema) if function.get("strict") else schema
    return {**same, "input_schema": bound, **beside}


def _tool_choice(choice: Any, parallel: bool | None) -> dict[str, Any] | None:
    match choice:
        case None:
            made: dict[str, Any] = {"type": "auto"}
        case str():
            made = {"type": TOOL_CHOICES.get(choice, choice)}
        case {"function": {"name": name}}:
            made = {"type": "tool", "name": name}
        case _:
            made = dict(choice)
    if parallel is False and made.get("type") != "none":
        made["disable_parallel_tool_use"] = True
    return None if choice is None and len(made) == 1 else made


def _schema(wanted: Any) -> Any:
    match wanted:
        case None | {"type": "text"}:
            return None
        case {"type": "json_schema", "json_schema": {"schema": schema}}:
            return schema
    raise UnsupportedParameter(
        "takes no response_format without a schema: give one, as json_schema"
    )
