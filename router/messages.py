"""The messages of a call: checked up front, the same for every provider."""

from __future__ import annotations

import base64
import binascii
import contextlib
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias, get_args

import msgspec
from msgspec import Struct, field

from router.errors import BadRequest
from router.types import Reasoning, ToolCall

Role = Literal["system", "developer", "user", "assistant", "tool"]
ROLES: tuple[str, ...] = get_args(Role)


class Text(Struct, frozen=True, kw_only=True):
    """A piece of text. `extra` keeps what the caller gave beside it (cache markers and such)."""

    text: str
    extra: Mapping[str, Any] = field(default_factory=dict)


class Image(Struct, frozen=True, kw_only=True):
    """A picture: a URL that the provider fetches, or its bytes with their media type."""

    url: str | None = None
    data: bytes | None = None
    media_type: str | None = None
    detail: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


class Audio(Struct, frozen=True, kw_only=True):
    """Sound: its bytes and their format (`wav`, `mp3`)."""

    data: bytes
    format: str
    extra: Mapping[str, Any] = field(default_factory=dict)


class File(Struct, frozen=True, kw_only=True):
    """A document: its bytes with a media type, or the id of one that the provider holds."""

    data: bytes | None = None
    media_type: str | None = None
    name: str | None = None
    id: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


Part: TypeAlias = Text | Image | Audio | File


class Message(Struct, frozen=True, kw_only=True):
    """One message. `content` is text or parts; empty beside tool calls alone.

    `reasoning` are the blocks that the model's provider wants back, `origin` says which provider
    that is (`None`: not known, sent to any). `extra` keeps the keys that have no name here, so
    that an OpenAI-style dict comes back whole.
    """

    role: Role
    content: str | tuple[Part, ...] = ""
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    reasoning: tuple[Reasoning, ...] = ()
    origin: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def without_seals(self) -> Message:
        """The message as another provider may see it: no reasoning blocks, no signatures."""
        calls = tuple(msgspec.structs.replace(call, signature=None) for call in self.tool_calls)
        return msgspec.structs.replace(self, reasoning=(), tool_calls=calls, origin=None)

    @property
    def has_seals(self) -> bool:
        """Whether it holds what its origin alone can read."""
        return bool(self.reasoning) or any(call.signature for call in self.tool_calls)

    @property
    def text(self) -> str:
        """The text of the content, without what is no text."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content if isinstance(part, Text))

    def to_dict(self) -> dict[str, Any]:
        """The message as a dict of the OpenAI API, made anew at each call."""
        result: dict[str, Any] = {"role": self.role}
        if isinstance(self.content, str):
            unsaid = not self.content and (self.tool_calls or self.extra.get("refusal"))
            result["content"] = None if unsaid else self.content
        else:
            result["content"] = [_part_to_dict(part) for part in self.content]
        if self.name is not None:
            result["name"] = self.name
        if self.tool_calls:
            result["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                    **({} if call.signature is None else {"signature": call.signature}),
                }
                for call in self.tool_calls
            ]
        if self.tool_call_id is not None:
            result["tool_call_id"] = self.tool_call_id
        if self.reasoning:
            result["reasoning_blocks"] = [
                msgspec.to_builtins(block, order="deterministic") for block in self.reasoning
            ]
        if self.origin is not None:
            result["origin"] = self.origin
        return {**result, **copied(self.extra)}


def check_messages(messages: Iterable[Message | Mapping[str, Any]]) -> tuple[Message, ...]:
    """The messages as `Message`, from those or from dicts as in the OpenAI API.

    Raises:
        BadRequest: There is none, or one is not what it should be; says which and why.
    """
    if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Iterable):
        raise BadRequest(
            f"messages is a list of messages, not {type(messages).__name__}: "
            '[{"role": "user", "content": "..."}]'
        )
    checked = tuple(_check_message(message, i) for i, message in enumerate(messages))
    if not checked:
        raise BadRequest("messages is empty: a call needs at least one message")
    return checked


MAX_NESTING = 100
"""How deep the dicts and lists of a call may lie in each other: no schema comes near it, and
Python's own limit, a thousand frames, is not reached by what walks through them."""


def copied(value: Any, depth: int = 0) -> Any:
    """The same, its dicts and lists made anew, however deep: a provider may change its copy.

    Raises:
        BadRequest: They lie deeper in each other than `MAX_NESTING`.
    """
    if depth > MAX_NESTING:
        raise BadRequest(f"dicts and lists more than {MAX_NESTING} deep in each other")
    if isinstance(value, dict):
        return {key: copied(inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, list):
        return [copied(inner, depth + 1) for inner in value]
    return value


_NAMED = frozenset(
    {
        "role",
        "content",
        "name",
        "tool_calls",
        "tool_call_id",
        "reasoning_blocks",
        "origin",
    }
)


def _check_message(message: object, index: int) -> Message:
    where = f"messages[{index}]"
    if isinstance(message, Message):
        _check_typed(message, where)
        return message
    if callable(dump := getattr(message, "model_dump", None)):  # of the openai client, or ours
        message = dump(exclude_none=True)
    if not isinstance(message, Mapping):
        raise BadRequest(f"{where} is a dict or a Message, not {type(message).__name__}")
    role = message.get("role")
    if role not in ROLES:
        raise BadRequest(f"{where}: the role is one of {', '.join(ROLES)}, not {_shown(role)}")
    calls = tuple(
        _check_tool_call(call, f"{where}.tool_calls[{i}]")
        for i, call in enumerate(_list_of(message, "tool_calls", where))
    )
    return Message(
        role=role,
        content=_check_content(message, calls, where),
        name=_optional_str(message, "name", where),
        tool_calls=calls,
        tool_call_id=_optional_str(message, "tool_call_id", where),
        reasoning=_check_reasoning(message, where),
        origin=_optional_str(message, "origin", where),
        extra={key: value for key, value in message.items() if key not in _NAMED},
    )


def _check_typed(message: Message, where: str) -> None:
    """A Struct does not check its types when it is made, so a typed message is checked here."""
    if message.role not in ROLES:
        raise BadRequest(
            f"{where}: the role is one of {', '.join(ROLES)}, not {_shown(message.role)}"
        )
    if not isinstance(message.content, str | tuple):
        raise BadRequest(
            f"{where}: the content is a str or a tuple of parts, not {_kind(message.content)}"
        )
    if not isinstance(message.content, str):
        for number, part in enumerate(message.content):
            _check_typed_part(part, f"{where}.content[{number}]")
    if not all(isinstance(call, ToolCall) for call in message.tool_calls):
        raise BadRequest(f"{where}: tool_calls is a tuple of ToolCall")
    fields = {"name": message.name, "tool_call_id": message.tool_call_id}
    for key in fields:
        _optional_str(fields, key, where)


def _check_typed_part(part: object, where: str) -> Part:
    match part:
        case (
            Text(text=str())
            | Image(url=str())
            | Image(data=bytes())
            | Audio(data=bytes(), format=str())
            | File(data=bytes())
            | File(id=str())
        ):
            return part
    raise BadRequest(f"{where} is no part, or one without what it is to hold: {_kind(part)}")


def _check_content(
    message: Mapping[str, Any], calls: tuple[ToolCall, ...], where: str
) -> str | tuple[Part, ...]:
    content = message.get("content")
    if isinstance(content, str):
        return content
    if content is None:
        if calls or message.get("refusal"):
            return ""
        raise BadRequest(f"{where} has no content")
    if isinstance(content, Mapping | bytes) or not isinstance(content, Iterable):
        raise BadRequest(f"{where}: the content is a str or a list of parts, not {_kind(content)}")
    return tuple(
        _check_part(part, f"{where}.content[{number}]") for number, part in enumerate(content)
    )


def _check_tool_call(call: object, where: str) -> ToolCall:
    if isinstance(call, ToolCall):
        return call
    if isinstance(call, Mapping) and isinstance(function := call.get("function"), Mapping):
        fields = {**function, "id": call.get("id"), "signature": call.get("signature")}
        with contextlib.suppress(msgspec.ValidationError):
            return msgspec.convert(fields, ToolCall)
    raise BadRequest(
        f"{where} is "
        '{"id": str, "type": "function", "function": {"name": str, "arguments": str}}'
    )


def _check_reasoning(message: Mapping[str, Any], where: str) -> tuple[Reasoning, ...]:
    if not (given := _list_of(message, "reasoning_blocks", where)):
        return ()
    try:
        return msgspec.convert(given, tuple[Reasoning, ...], from_attributes=True)
    except msgspec.ValidationError as error:
        raise BadRequest(f"{where}.reasoning_blocks: {error}") from None


def _check_part(part: object, where: str) -> Part:
    if isinstance(part, Part):
        return _check_typed_part(part, where)
    if not isinstance(part, Mapping):
        raise BadRequest(f"{where} is a dict with a type, or a typed part, not {_kind(part)}")
    kind = part.get("type")
    read = {"text": _text, "image_url": _image, "input_audio": _audio, "file": _file}.get(str(kind))
    if read is None:
        raise BadRequest(
            f"{where}: the type is one of text, image_url, input_audio, file, not {_shown(kind)}"
        )
    extra = {key: value for key, value in part.items() if key not in ("type", kind)}
    try:
        return read(part[str(kind)], extra)
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error) as error:
        raise BadRequest(f"{where} is no {kind} part: {type(error).__name__}") from None


def _text(value: Any, extra: dict[str, Any]) -> Part:
    if not isinstance(value, str):
        raise TypeError
    return Text(text=value, extra=extra)


def _image(value: Any, extra: dict[str, Any]) -> Part:
    url, detail = value["url"], value.get("detail")
    if not url.startswith("data:"):
        return Image(url=url, detail=detail, extra=extra)
    media_type, data = _data_url(url)
    return Image(data=data, media_type=media_type, detail=detail, extra=extra)


def _audio(value: Any, extra: dict[str, Any]) -> Part:
    data = base64.b64decode(value["data"], validate=True)
    return Audio(data=data, format=value["format"], extra=extra)


def _file(value: Any, extra: dict[str, Any]) -> Part:
    if "file_data" not in value:
        return File(id=value["file_id"], name=value.get("filename"), extra=extra)
    media_type, data = _data_url(value["file_data"])
    return File(data=data, media_type=media_type, name=value.get("filename"), extra=extra)


def _data_url(url: str) -> tuple[str, bytes]:
    head, _, data = url.removeprefix("data:").partition(",")
    media_type, _, encoding = head.partition(";")
    if encoding != "base64":
        raise ValueError
    return media_type, base64.b64decode(data, validate=True)


def _part_to_dict(part: Part) -> dict[str, Any]:
    match part:
        case Text():
            return {"type": "text", "text": part.text, **copied(part.extra)}
        case Image():
            image = {"url": part.url or to_data_url(part.data or b"", part.media_type)}
            detail = {} if part.detail is None else {"detail": part.detail}
            return {"type": "image_url", "image_url": {**image, **detail}, **copied(part.extra)}
        case Audio():
            audio = {"data": base64.b64encode(part.data).decode(), "format": part.format}
            return {"type": "input_audio", "input_audio": audio, **copied(part.extra)}
        case File():
            file = {} if part.name is None else {"filename": part.name}
            if part.data is None:
                file["file_id"] = part.id or ""
            else:
                file["file_data"] = to_data_url(part.data, part.media_type)
            return {"type": "file", "file": file, **copied(part.extra)}


def to_data_url(data: bytes, media_type: str | None) -> str:
    """The bytes as a `data:` URL."""
    return (
        f"data:{media_type or 'application/octet-stream'};base64,{base64.b64encode(data).decode()}"
    )


def _list_of(message: Mapping[str, Any], key: str, where: str) -> list[Any] | tuple[Any, ...]:
    value = message.get(key)
    if value is None:
        return ()
    if not isinstance(value, list | tuple):
        raise BadRequest(f"{where}: {key} is a list, not {_kind(value)}")
    return value


def _optional_str(message: Mapping[str, Any], key: str, where: str) -> str | None:
    value = message.get(key)
    if value is not None and not isinstance(value, str):
        raise BadRequest(f"{where}: {key} is a str, not {_kind(value)}")
    return value


def _kind(value: object) -> str:
    return type(value).__name__


def _shown(value: object) -> str:
    """A wrong role or type, cut short, since it may hold what was meant as content."""
    return repr(value)[:40] if isinstance(value, str) else _kind(value)
