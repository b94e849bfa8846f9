"""The dialects of OpenAI's wire: what a service wants said in another way, one function each.

Each takes the body of a request, under the parameters' common names, and changes it. A row lists
those that its service needs, with the source of that.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from typing import Any, TypeAlias

from router import UnsupportedParameter

Body: TypeAlias = dict[str, Any]
Dialect: TypeAlias = Callable[[Body], None]

# -- how long to think


_THREE_EFFORTS = {"minimal": "low", "medium": "high", "xhigh": "high"}
"""The efforts that services with the three levels low, high and max have no word for."""

_LOW_TO_HIGH = {"minimal": "low", "xhigh": "high", "max": "high"}
"""The efforts that services with the three levels low, medium and high have no word for."""

_THINKING_BUDGETS = {"minimal": 512, "low": 1024, "medium": 4096}
"""Tokens for an effort, where a service limits tokens; a higher effort has no limit of ours."""


def effort_with_switch(body: Body) -> None:
    """`thinking` switches it on or off, `reasoning_effort` is low, high or max."""
    if (effort := body.pop("reasoning_effort", None)) is None:
        return
    body["thinking"] = {"type": "disabled" if effort == "none" else "enabled"}
    if effort != "none":
        body["reasoning_effort"] = _THREE_EFFORTS.get(effort, effort)


def effort_low_to_high(body: Body) -> None:
    """`reasoning_effort` is low, medium or high, or none."""
    if (effort := body.get("reasoning_effort")) is not None:
        body["reasoning_effort"] = _LOW_TO_HIGH.get(effort, effort)


def effort_as_reasoning(body: Body) -> None:
    """`reasoning` holds the effort."""
    if (effort := body.pop("reasoning_effort", None)) is not None:
        body["reasoning"] = {"effort": effort}


def no_effort_as_reasoning(body: Body) -> None:
    """`reasoning` switches it off; else `reasoning_effort` is low, medium or high."""
    if body.get("reasoning_effort") == "none":
        del body["reasoning_effort"]
        body["reasoning"] = {"enabled": False}
    effort_low_to_high(body)


def effort_as_budget(body: Body) -> None:
    """`enable_thinking` switches it on or off, `thinking_budget` limits its tokens."""
    if (effort := body.pop("reasoning_effort", None)) is None:
        return
    body["enable_thinking"] = effort != "none"
    if effort in _THINKING_BUDGETS:
        body["thinking_budget"] = _THINKING_BUDGETS[effort]


def effort_for_template(body: Body) -> None:
    """The model's chat template reads it; each template has one of the two names."""
    if (effort := body.pop("reasoning_effort", None)) is not None:
        body["chat_template_kwargs"] = {
            "enable_thinking": effort != "none",
            "reasoning_effort": effort,
        }


def effort_high_or_none(body: Body) -> None:
    """`reasoning_effort` knows high and none alone."""
    if (effort := body.get("reasoning_effort")) is not None:
        body["reasoning_effort"] = "none" if effort in ("none", "minimal") else "high"


# -- the form of the answer


def schema_in_words(body: Body) -> None:
    """No schema is taken: JSON is asked for, and the schema told in a message of its own."""
    schema = _schema(body)
    if schema is not None:
        body["response_format"] = {"type": "json_object"}
        told = json.dumps(schema, ensure_ascii=False)
        words = f"Answer with one JSON object of this JSON Schema, and nothing else:\n{told}"
        body["messages"] = [{"role": "system", "content": words}, *body["messages"]]


def schema_as_guide(body: Body) -> None:
    """The schema has a field of its own, `guided_json`."""
    if (schema := _schema(body)) is not None:
        body["response_format"] = {"type": "json_object"}
        body["guided_json"] = schema


def _schema(body: Body) -> Any:
    wanted = body.get("response_format")
    if not isinstance(wanted, dict) or wanted.get("type") != "json_schema":
        return None
    named = wanted.get("json_schema")
    return named.get("schema") if isinstance(named, dict) else None


def logprobs_as_number(body: Body) -> None:
    """`logprobs` is the number of alternatives at each token."""
    alternatives = body.pop("top_logprobs", None)
    if body.get("logprobs"):
        body["logprobs"] = alternatives or 1


# -- tools


def tool_choice_is_auto(body: Body) -> None:
    """The model alone chooses: `none` takes the tools away, and nothing can be demanded.

    Raises:
        UnsupportedParameter: A call is demanded.
    """
    choice = body.pop("tool_choice", None)
    if choice == "none":
        body.pop("tools", None)
    elif choice not in (None, "auto"):
        raise UnsupportedParameter("tool_choice is auto or none here: no call can be demanded")


_NINE_CHARACTERS = re.compile("[a-zA-Z0-9]{9}")
_UP_TO_FORTY = re.compile(".{0,40}", re.DOTALL)


def ids_of_nine_characters(body: Body) -> None:
    """Ids of tool calls are nine letters or digits; others are told by a hash of theirs."""
    _fit_ids(body, _NINE_CHARACTERS, 9)


def ids_up_to_forty_characters(body: Body) -> None:
    """Longer ids of tool calls, as vLLM and Cohere give them, are told by a hash of theirs."""
    _fit_ids(body, _UP_TO_FORTY, 40)


def _fit_ids(body: Body, taken: re.Pattern[str], length: int) -> None:
    def fit(id_: str) -> str:
        return id_ if taken.fullmatch(id_) else hashlib.sha256(id_.encode()).hexdigest()[:length]

    for message in body["messages"]:
        for call in message.get("tool_calls") or ():
            call["id"] = fit(call["id"])
        if "tool_call_id" in message:
            message["tool_call_id"] = fit(message["tool_call_id"])


# -- messages


def system_for_developer(body: Body) -> None:
    """There is no role `developer`: what OpenAI calls so now was the system's before."""
    for message in body["messages"]:
        if message["role"] == "developer":
            message["role"] = "system"


def reasoning_of_calls(body: Body) -> None:
    """A turn with tool calls has a `reasoning_content`, empty where there was none to send."""
    for message in body["messages"]:
        if message.get("tool_calls"):
            message.setdefault("reasoning_content", "")


def no_files_by_url(body: Body) -> None:
    """A file goes out as its data, or as its id: the service fetches none.

    Raises:
        UnsupportedParameter: There is one by its URL.
    """
    contents = (message.get("content") for message in body["messages"])
    parts = (part for content in contents if isinstance(content, list) for part in content)
    files = (part["file"] for part in parts if part.get("type") == "file")
    if any(file.get("file_data", "").startswith(("https://", "http://")) for file in files):
        raise UnsupportedParameter("takes files as data, not by their URL")


def no_names(body: Body) -> None:
    """Messages of users and assistants have no name; one is refused."""
    for message in body["messages"]:
        if message["role"] != "tool":
            message.pop("name", None)
