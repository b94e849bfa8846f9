"""What each dialect makes of a body, one function each."""

import re

import pytest
from emulators.chat import Played, sse
from hypothesis import given
from hypothesis import strategies as st

from providers import openai_dialects as dialects
from providers.compatible import azure
from providers.openai import openai
from router import UnsupportedParameter

SCHEMA = {"type": "object", "properties": {"città": {"type": "string"}}}
WANTED = {"type": "json_schema", "json_schema": {"name": "City", "schema": SCHEMA}}
USER = {"role": "user", "content": "Hi"}


def changed(dialect, **body):
    body = {"messages": [dict(USER)], **body}
    dialect(body)
    return {name: value for name, value in body.items() if (name, value) != ("messages", [USER])}


EFFORTS = {
    dialects.effort_with_switch: {
        "none": {"thinking": {"type": "disabled"}},
        "minimal": {"thinking": {"type": "enabled"}, "reasoning_effort": "low"},
        "medium": {"thinking": {"type": "enabled"}, "reasoning_effort": "high"},
        "max": {"thinking": {"type": "enabled"}, "reasoning_effort": "max"},
    },
    dialects.effort_low_to_high: {
        "none": {"reasoning_effort": "none"},
        "minimal": {"reasoning_effort": "low"},
        "medium": {"reasoning_effort": "medium"},
        "xhigh": {"reasoning_effort": "high"},
    },
    dialects.effort_as_reasoning: {
        "none": {"reasoning": {"effort": "none"}},
        "high": {"reasoning": {"effort": "high"}},
    },
    dialects.no_effort_as_reasoning: {
        "none": {"reasoning": {"enabled": False}},
        "low": {"reasoning_effort": "low"},
        "minimal": {"reasoning_effort": "low"},
    },
    dialects.effort_as_budget: {
        "none": {"enable_thinking": False},
        "low": {"enable_thinking": True, "thinking_budget": 1024},
        "high": {"enable_thinking": True},
    },
    dialects.effort_for_template: {
        "none": {"chat_template_kwargs": {"enable_thinking": False, "reasoning_effort": "none"}},
        "high": {"chat_template_kwargs": {"enable_thinking": True, "reasoning_effort": "high"}},
    },
    dialects.effort_high_or_none: {
        "minimal": {"reasoning_effort": "none"},
        "low": {"reasoning_effort": "high"},
    },
}
MAPPINGS = [(dialect, *pair) for dialect, pairs in EFFORTS.items() for pair in pairs.items()]


@pytest.mark.parametrize(
    ("dialect", "effort", "expected"),
    MAPPINGS,
    ids=[f"{dialect.__name__}-{effort}" for dialect, effort, _ in MAPPINGS],
)
def test_effort_becomes_the_knob_of_the_service(dialect, effort, expected):
    assert changed(dialect, reasoning_effort=effort) == expected


ALL = [value for name, value in vars(dialects).items() if getattr(value, "__doc__", None)]
ALL = [each for each in ALL if getattr(each, "__module__", "") == dialects.__name__]
ALL = [each for each in ALL if not each.__name__.startswith("_")]


@pytest.mark.parametrize("dialect", ALL, ids=lambda dialect: dialect.__name__)
def test_dialect_changes_nothing_where_there_is_nothing_to_change(dialect):
    assert changed(dialect, temperature=0.5) == {"temperature": 0.5}


def test_schema_in_words_asks_for_json_and_tells_the_schema_first():
    body = changed(dialects.schema_in_words, response_format=WANTED)
    assert body["response_format"] == {"type": "json_object"}
    told, user = body["messages"]
    assert told["role"] == "system"
    assert "JSON" in told["content"]  # DeepSeek refuses json_object without the word
    assert '"città"' in told["content"]
    assert user == USER


def test_schema_as_guide_has_a_field_of_its_own():
    body = changed(dialects.schema_as_guide, response_format=WANTED)
    assert body == {"response_format": {"type": "json_object"}, "guided_json": SCHEMA}


@pytest.mark.parametrize("dialect", [dialects.schema_in_words, dialects.schema_as_guide])
@pytest.mark.parametrize("wanted", [{"type": "json_object"}, {"type": "json_schema"}])
def test_format_without_a_schema_goes_as_it_is(dialect, wanted):
    assert changed(dialect, response_format=wanted) == {"response_format": wanted}


def test_logprobs_as_number_counts_the_alternatives():
    assert changed(dialects.logprobs_as_number, logprobs=True) == {"logprobs": 1}
    assert changed(dialects.logprobs_as_number, logprobs=True, top_logprobs=4) == {"logprobs": 4}
    assert changed(dialects.logprobs_as_number, logprobs=False) == {"logprobs": False}


def test_tool_choice_is_auto_or_takes_the_tools_away():
    tools = [{"type": "function", "function": {"name": "clock"}}]
    kept = changed(dialects.tool_choice_is_auto, tools=tools, tool_choice="auto")
    assert kept == {"tools": tools}
    assert changed(dialects.tool_choice_is_auto, tools=tools, tool_choice="none") == {}
    for demanded in ("required", {"type": "function", "function": {"name": "clock"}}):
        with pytest.raises(UnsupportedParameter):
            changed(dialects.tool_choice_is_auto, tools=tools, tool_choice=demanded)


@given(ids=st.lists(st.text(min_size=1), min_size=1, unique=True))
def test_ids_of_nine_characters_stay_apart_and_results_name_their_calls(ids):
    calls = [{"id": id_, "type": "function", "function": {}} for id_ in ids]
    results = [{"role": "tool", "content": "", "tool_call_id": id_} for id_ in ids]
    body = {"messages": [{"role": "assistant", "tool_calls": calls}, *results]}
    dialects.ids_of_nine_characters(body)
    assistant, *tools = body["messages"]
    made = [call["id"] for call in assistant["tool_calls"]]
    assert all(re.fullmatch("[a-zA-Z0-9]{9}", id_) for id_ in made)
    assert made == [message["tool_call_id"] for message in tools]
    assert len(set(made)) == len(ids)


@pytest.mark.parametrize(
    ("dialect", "id_"),
    [
        (dialects.ids_of_nine_characters, "g6fVbXS8K"),
        (dialects.ids_up_to_forty_characters, "functions.get_weather:0"),
        (dialects.ids_up_to_forty_characters, "c" * 40),
    ],
)
def test_ids_that_fit_are_left_alone(dialect, id_):
    call = {"id": id_, "type": "function", "function": {}}
    body = {"messages": [{"role": "assistant", "tool_calls": [call]}]}
    dialect(body)
    assert body["messages"][0]["tool_calls"][0]["id"] == id_


@pytest.mark.parametrize("service", [openai(key="a-key"), azure("http://127.0.0.1", key="a-key")])
def test_long_ids_of_calls_are_told_by_a_hash(service):
    """A conversation that vLLM had begun was refused: its ids have 46 characters."""
    ids = [f"chatcmpl-tool-{number:032x}" for number in range(2)]
    calls = [{"id": each, "type": "function", "function": {"name": "f"}} for each in ids]
    results = [{"role": "tool", "content": "", "tool_call_id": each} for each in ids]
    asked = [USER, {"role": "assistant", "content": None, "tool_calls": calls}, *results]
    _, turn, *told = Played(service, sse(), messages=asked).request.json["messages"]
    sent = [call["id"] for call in turn["tool_calls"]]
    assert sent == [each["tool_call_id"] for each in told]
    assert len(set(sent)) == 2
    assert all(len(each) <= 40 for each in sent)
    assert [each["id"] for each in calls] == ids


def test_system_for_developer_renames_that_role_alone():
    messages = [{"role": "developer", "content": "Be brief."}, dict(USER)]
    body = changed(dialects.system_for_developer, messages=messages)
    assert [message["role"] for message in body["messages"]] == ["system", "user"]


def test_no_names_leaves_those_of_tools():
    messages = [{**USER, "name": "Ada"}, {"role": "tool", "content": "1", "name": "clock"}]
    body = changed(dialects.no_names, messages=messages)
    assert body["messages"] == [USER, {"role": "tool", "content": "1", "name": "clock"}]


def test_reasoning_of_calls_is_empty_where_there_is_none():
    """DeepSeek and Moonshot refuse a turn with tool calls that has no reasoning at all."""
    calls = [{"id": "c", "type": "function", "function": {}}]
    messages = [
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "assistant", "content": None, "tool_calls": calls, "reasoning_content": "Hm."},
        {"role": "assistant", "content": "Hello"},
    ]
    body = changed(dialects.reasoning_of_calls, messages=messages)
    assert [m.get("reasoning_content") for m in body["messages"]] == ["", "Hm.", None]
