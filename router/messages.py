"""The messages of a call: checked up front, the same for every provider."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, get_args

import msgspec
from msgspec import Struct, field

from router.errors import BadRequest
from router.parts import Part, Text, check_part, part_to_dict, shown
from router.types import Reasoning, ToolCall
from router.values import copied, plain, unsendable

Role = Literal["system", "developer", "user", "assistant", "tool"]
ROLES: tuple[str, ...] = get_args(Role)


class Message(Struct, frozen=True, kw_only=True):
    """One message. `content` is text or parts; empty beside tool calls alone.

    `reasoning` are the blocks that the model's provider wants back, `origin` says which provider
    that is (`None`: not known, sent to any). `extra` keeps the keys that have no name here, so
    that an OpenAI-style dict comes back whole; those that are `None` say nothing, and go.
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
            result["content"] = None if self._says_otherwise else self.content
        else:
            result["content"] = [part_to_dict(part) for part in self.content]
        if self.name is not None:
            result["name"] = self.name
        if self.tool_calls:
            result["tool_calls"] = [_call_to_dict(call) for call in self.tool_calls]
        if self.tool_call_id is not None:
            result["tool_call_id"] = self.tool_call_id
        if self.reasoning:
            result["reasoning_blocks"] = [
                msgspec.to_builtins(block, order="deterministic") for block in self.reasoning
            ]
        if self.origin is not None:
            result["origin"] = self.origin
        return {**result, **copied(self.extra)} if self.extra else result

    @property
    def _says_otherwise(self) -> bool:
        """Whether the content is empty, and something stands in its place."""
        if self.content:
            return False
        return bool(self.tool_calls) or any(self.extra.get(name) for name in _SAID)


def check_messages(messages: Iterable[Message | Mapping[str, Any]]) -> tuple[Message, ...]:
    """The messages as `Message`, from those or from dicts as in the OpenAI API.

    What that API had before tool calls (`function_call`, the role `function`) becomes a tool call
    and its result, and a refusal that is a part of the content the message's own.

    Raises:
        BadRequest: There is none, or one is not what it should be; says which and why.
    """
    if isinstance(messages, (str, bytes, Mapping)) or not isinstance(messages, Iterable):
        raise BadRequest(
            f"messages is a list of messages, not {type(messages).__name__}: "
            '[{"role": "user", "content": "..."}]'
        )
    checked: list[Message] = []
    for message in messages:
        checked.append(_check_message(message, checked))
    if not checked:
        raise BadRequest("messages is empty: a call needs at least one message")
    return tuple(checked)


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

_FEWEST = {"role", "content"}

_SAID = ("refusal", "audio")
"""What an assistant may have said in place of a content."""


def _check_message(given: object, before: Sequence[Message]) -> Message:
    where = f"messages[{len(before)}]"
    if isinstance(given, Message):
        _check_typed(given, where)
        return given
    message = plain(given, where)
    if not isinstance(message, dict):
        raise BadRequest(f"{where} is a dict or a Message, not {type(given).__name__}")
    _modernise(message, where, before)
    role = message.get("role")
    if role not in ROLES:
        raise BadRequest(f"{where}: the role is one of {', '.join(ROLES)}, not {shown(role)}")
    content = _check_content(message, where)
    if message.keys() == _FEWEST:  # as most have
        return Message(role=role, content=content)
    return Message(
        role=role,
        content=content,
        name=_optional_str(message, "name", where),
        tool_calls=_check_tool_calls(message, where),
        tool_call_id=_optional_str(message, "tool_call_id", where),
        reasoning=_check_reasoning(message, where),
        origin=_optional_str(message, "origin", where),
        extra={k: v for k, v in message.items() if k not in _NAMED and v is not None},
    )


def _modernise(message: dict[str, Any], where: str, before: Sequence[Message]) -> None:
    """Say in the way of today what the OpenAI API has two ways for."""
    if (called := message.pop("function_call", None)) is not None:
        call = {"id": f"call_{len(before)}", "type": "function", "function": called}
        message["tool_calls"] = [*_list_of(message, "tool_calls", where), call]
    if message.get("role") == "function":
        calls = [call for each in before for call in each.tool_calls]
        named = [call.id for call in calls if call.name == message.get("name")]
        if not named:
            raise BadRequest(f"{where}: a function's result, and no function_call of its name yet")
        result = {"role": "tool", "tool_call_id": named[-1], "content": message.get("content")}
        message.update(result, content=result["content"] or "")
    match message.get("content"):
        case [{"type": "refusal", "refusal": str(refusal)}]:  # it stands alone, by that API
            message.update(content=None, refusal=refusal)


def _check_typed(message: Message, where: str) -> None:
    """A Struct does not check its types when it is made, so a typed message is checked here."""
    if message.role not in ROLES:
        raise BadRequest(
            f"{where}: the role is one of {', '.join(ROLES)}, not {shown(message.role)}"
        )
    if not isinstance(message.content, str | tuple):
        raise BadRequest(
            f"{where}: the content is a str or a tuple of parts, not {_kind(message.content)}"
        )
    if not isinstance(message.content, str):
        for number, part in enumerate(message.content):
            if not isinstance(part, Part):
                raise BadRequest(f"{where}.content[{number}] is no part, but {_kind(part)}")
            check_part(part, f"{where}.content[{number}]")
    if not all(isinstance(call, ToolCall) for call in message.tool_calls):
        raise BadRequest(f"{where}: tool_calls is a tuple of ToolCall")
    fields = {"name": message.name, "tool_call_id": message.tool_call_id}
    for key in fields:
        _optional_str(fields, key, where)
    plain(message.extra, f"{where}.extra")
    if (fault := unsendable(message)) is not None:
        raise BadRequest(f"{where} holds {fault}")


def _check_content(message: Mapping[str, Any], where: str) -> str | tuple[Part, ...]:
    content = message.get("content")
    if isinstance(content, str):
        return content
    if content is None and message["role"] == "assistant":  # it called, refused, or said nothing
        return ""
    if content is None:
        raise BadRequest(f'{where} has no content: give a str, or a list of parts ("" for none)')
    if not isinstance(content, list):
        raise BadRequest(f"{where}: the content is a str or a list of parts, not {_kind(content)}")
    return tuple(
        check_part(part, f"{where}.content[{number}]") for number, part in enumerate(content)
    )


def _check_tool_calls(message: Mapping[str, Any], where: str) -> tuple[ToolCall, ...]:
    calls = _list_of(message, "tool_calls", where)
    return tuple([_check_tool_call(c, f"{where}.tool_calls[{i}]") for i, c in enumerate(calls)])


def _check_tool_call(call: object, where: str) -> ToolCall:
    if isinstance(call, ToolCall):
        return call
    if not isinstance(call, Mapping):
        raise BadRequest(f"{where} is a dict, not {_kind(call)}: {_CALL}")
    named = {"id": call.get("id"), "signature": call.get("signature")}
    try:
        match call:
            case {"custom": Mapping() as custom}:
                fields = {"name": custom.get("name"), "arguments": custom.get("input")}
                return msgspec.convert({**fields, **named, "custom": True}, ToolCall)
            case {"function": Mapping() as function}:
                return msgspec.convert({**function, **named}, ToolCall)
    except msgspec.ValidationError as error:
        raise BadRequest(f"{where}: {error}; it is {_CALL}") from None
    raise BadRequest(f'{where} has no dict "function" in it: it is {_CALL}')


_CALL = '{"id": str, "type": "function", "function": {"name": str, "arguments": str}}'


def _call_to_dict(call: ToolCall) -> dict[str, Any]:
    if call.custom:
        named = {"type": "custom", "custom": {"name": call.name, "input": call.arguments}}
    else:
        function = {"name": call.name, "arguments": call.arguments}
        named = {"type": "function", "function": function}
    signature = {} if call.signature is None else {"signature": call.signature}
    return {"id": call.id, **named, **signature}


def _check_reasoning(message: Mapping[str, Any], where: str) -> tuple[Reasoning, ...]:
    if not (given := _list_of(message, "reasoning_blocks", where)):
        return ()
    try:
        return msgspec.convert(given, tuple[Reasoning, ...], from_attributes=True)
    except msgspec.ValidationError as error:
        raise BadRequest(f"{where}.reasoning_blocks: {error}") from None


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
