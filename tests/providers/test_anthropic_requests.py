"""What goes out on Anthropic's wire: messages and parameters as its body has them."""

import base64
import re

import pytest
from emulators.messages import (
    play,
    stream,
    text,
    thinking,
    tool_use,
    whole,
)
from features import emulated
from hypothesis import given
from hypothesis import strategies as st

from providers.anthropic import Anthropic
from providers.anthropic_requests import has_file_ids, tool_input
from router import BadRequest, Message, ToolCall, UnsupportedParameter
from router.messages import check_messages

ANSWER = whole(text("Hi"))
PNG = b"\x89PNG"
PDF = b"%PDF-1.7"
MARK = {"cache_control": {"type": "ephemeral"}}


def data_url(data, media_type):
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def sent(*messages, **given):
    played = play(ANSWER, messages=check_messages(messages), stream=False, **given)
    if played.error is not None:
        raise played.error
    return played.request.json


def turns(*messages):
    """The messages that go out for these."""
    return sent(*messages)["messages"]


def user(content, **fields):
    return {"role": "user", "content": content, **fields}


def assistant(content, **fields):
    return {"role": "assistant", "content": content, **fields}


def tool(id_, content, **fields):
    return {"role": "tool", "tool_call_id": id_, "content": content, **fields}


def calling(*calls, content=None, **fields):
    made = [
        {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}
        for id_, name, arguments in calls
    ]
    return assistant(content, tool_calls=made, **fields)


# -- messages


def test_text_is_a_block():
    assert turns(user("Hello")) == [{"role": "user", "content": [text("Hello")]}]


@emulated("anthropic", "system prompts")
def test_system_messages_stand_beside_the_conversation():
    body = sent(
        {"role": "system", "content": "Be brief."},
        user("Hello"),
        {"role": "developer", "content": [{"type": "text", "text": "Be kind.", **MARK}]},
    )
    assert body["system"] == [text("Be brief."), {**text("Be kind."), **MARK}]
    assert body["messages"] == [{"role": "user", "content": [text("Hello")]}]


def test_body_without_instructions_has_no_system():
    assert "system" not in sent(user("Hello"))
    assert "system" not in sent({"role": "system", "content": ""}, user("Hello"))


def test_instructions_alone_are_the_users_turn():
    """The service refuses an empty list of messages."""
    body = sent({"role": "system", "content": "Be brief."})
    assert body["messages"] == [{"role": "user", "content": [text("Be brief.")]}]
    assert "system" not in body


def test_messages_of_one_role_are_one_turn():
    assert turns(user("a"), user("b"), assistant("c"), assistant("d"), user("e")) == [
        {"role": "user", "content": [text("a"), text("b")]},
        {"role": "assistant", "content": [text("c"), text("d")]},
        {"role": "user", "content": [text("e")]},
    ]


@pytest.mark.parametrize("empty", ["", " \n", [{"type": "text", "text": ""}], []])
def test_text_without_a_word_is_left_out(empty):
    """The service refuses it, and an answer that was empty may be a part of any history."""
    assert turns(user("a"), assistant(empty), user("b")) == [
        {"role": "user", "content": [text("a"), text("b")]}
    ]


def test_refusal_goes_back_as_the_text_that_it_is():
    refused = assistant(None, refusal="I cannot.")
    assert turns(user("a"), refused, user("b"))[1]["content"] == [text("I cannot.")]


def picture(url, **fields):
    return {"type": "image_url", "image_url": {"url": url}, **fields}


@emulated("anthropic", "images")
def test_picture_goes_out_as_url_or_bytes():
    place = "https://example.org/a.png"
    (turn,) = turns(user([picture(place), picture(data_url(PNG, "image/png"), **MARK)]))
    encoded = base64.b64encode(PNG).decode()
    assert turn["content"] == [
        {"type": "image", "source": {"type": "url", "url": place}},
        {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/png", "data": encoded},
            **MARK,
        },
    ]


def file(data=None, media_type=None, **fields):
    held = {"file_data": data_url(data, media_type)} if data is not None else {}
    beside = {name: fields.pop(name) for name in ("file_id", "filename") if name in fields}
    return {"type": "file", "file": {**held, **beside}, **fields}


@emulated("anthropic", "files")
@pytest.mark.parametrize(
    ("part", "block"),
    [
        (
            file(PDF, "application/pdf", filename="a.pdf", citations={"enabled": True}, **MARK),
            {
                "type": "document",
                "source": {
                    "type": "base64",
                    "media_type": "application/pdf",
                    "data": base64.b64encode(PDF).decode(),
                },
                "title": "a.pdf",
                "citations": {"enabled": True},
                **MARK,
            },
        ),
        (
            file("海".encode(), "text/markdown", context="notes", title="The sea", unknown=1),
            {
                "type": "document",
                "source": {"type": "text", "media_type": "text/plain", "data": "海"},
                "context": "notes",
                "title": "The sea",
            },
        ),
        (
            file(PNG, "image/png", filename="a.png"),
            {
                "type": "image",
                "source": {
                    "type": "base64",
                    "media_type": "image/png",
                    "data": base64.b64encode(PNG).decode(),
                },
            },
        ),
        (
            file(file_id="file_1"),
            {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
        ),
        (
            file(file_id="https://example.org/a.pdf"),
            {"type": "document", "source": {"type": "url", "url": "https://example.org/a.pdf"}},
        ),
        (
            {"type": "file", "file": {"file_data": "http://example.org/a.pdf"}},
            {"type": "document", "source": {"type": "url", "url": "http://example.org/a.pdf"}},
        ),
    ],
)
def test_file_goes_out_as_what_it_is(part, block):
    assert turns(user([part]))[0]["content"] == [block]


def test_file_that_the_service_holds_asks_for_the_beta_that_knows_it():
    def headers(part):
        return play(ANSWER, messages=check_messages([user([part])]), stream=False).request.headers

    assert headers(file(file_id="file_1"))["anthropic-beta"] == "files-api-2025-04-14"
    assert "anthropic-beta" not in headers(file(file_id="https://example.org/a.pdf"))
    assert not has_file_ids(check_messages([user("file_1"), user([file(PDF, "text/plain")])]))


@pytest.mark.parametrize(
    ("part", "match"),
    [
        ({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}, "no audio"),
        ({"type": "video_url", "video_url": {"url": "https://example.org/a.mp4"}}, "no video"),
        (file(b"PK", "application/zip"), "application/zip"),
    ],
)
def test_part_that_the_wire_does_not_have_lets_another_target_try(part, match):
    with pytest.raises(UnsupportedParameter, match=match):
        sent(user([part]))


def test_text_file_that_is_none_is_refused():
    with pytest.raises(BadRequest, match="not UTF-8"):
        sent(user([file(b"\xff", "text/plain")]))


@emulated("anthropic", "cache markers")
def test_cache_marker_of_a_message_is_that_of_its_last_block():
    (turn,) = turns(user([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], **MARK))
    assert turn["content"] == [text("a"), {**text("b"), **MARK}]


def test_keys_that_the_wire_does_not_have_are_left_out():
    assert turns(user([{"type": "text", "text": "a", "x": 1}], name="ada", y=2)) == turns(user("a"))


# -- tools


def test_results_of_tools_called_at_once_are_one_turn():
    said = turns(
        user("What time and weather?"),
        calling(("t1", "clock", "{}"), ("t2", "weather", '{"city": "Ghent"}'), content="I look."),
        tool("t1", "noon"),
        tool("t2", [{"type": "text", "text": "wet"}, picture("https://example.org/a.png")]),
        user("Well?"),
    )
    assert said[1]["content"] == [
        text("I look."),
        tool_use("t1", "clock", {}),
        tool_use("t2", "weather", {"city": "Ghent"}),
    ]
    shown = {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}
    assert said[2] == {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "t1", "content": "noon"},
            {"type": "tool_result", "tool_use_id": "t2", "content": [text("wet"), shown]},
            text("Well?"),
        ],
    }


def test_ids_of_another_services_calls_are_ones_that_the_service_takes():
    """A conversation that Moonshot had begun was refused, for the dots and colons in its ids."""
    ids = ["functions.clock:0", "functions.clock:1", "toolu_1"]
    called = calling(*((each, "clock", "{}") for each in ids))
    _, turn, answer = turns(user("a"), called, *(tool(each, "noon") for each in ids))
    sent = [use["id"] for use in turn["content"]]
    assert sent == [result["tool_use_id"] for result in answer["content"]]
    assert all(re.fullmatch("[a-zA-Z0-9_-]+", each) for each in sent)
    assert len(set(sent)) == 3
    assert sent[2] == "toolu_1"


def test_result_says_that_its_tool_failed():
    said = turns(user("a"), calling(("t1", "f", "{}")), tool("t1", "no", is_error=True, **MARK))
    (result,) = said[2]["content"]
    assert (result["is_error"], result["cache_control"]) == (True, MARK["cache_control"])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ('{"a": [1, "海"]}', {"a": [1, "海"]}),
        ("", {}),
        (" ", {}),
        ('{"a": ', {"INVALID_JSON": '{"a": '}),
        ("[1]", {"INVALID_JSON": "[1]"}),
        ('{"a": NaN}', {"INVALID_JSON": '{"a": NaN}'}),
    ],
)
def test_arguments_go_back_as_an_object(arguments, expected):
    assert tool_input(arguments) == expected
    said = turns(user("a"), calling(("t1", "f", arguments)), tool("t1", "x"))
    assert said[1]["content"][0]["input"] == expected


@given(st.text())
def test_arguments_that_are_no_object_lose_nothing(arguments):
    made = tool_input(arguments)
    assert isinstance(made, dict)
    if made.keys() == {"INVALID_JSON"}:
        assert made["INVALID_JSON"] == arguments


FUNCTION = {"name": "clock", "description": "The time.", "parameters": {"type": "object"}}
CLOCK = {"type": "function", "function": FUNCTION}
SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}


def tools(*given, **parameters):
    return sent(user("a"), tools=list(given), **parameters)


def test_function_goes_out_as_a_tool_of_the_wire():
    strict = {"type": "function", "function": {"name": "f", "strict": True}, **MARK}
    assert tools(CLOCK, strict)["tools"] == [
        {"name": "clock", "description": "The time.", "input_schema": {"type": "object"}},
        {
            "name": "f",
            "strict": True,
            "input_schema": {"type": "object", "properties": {}, "additionalProperties": False},
            **MARK,
        },
    ]


def test_tool_of_the_wires_own_goes_out_as_it_is():
    own = {"name": "f", "input_schema": {"type": "object"}}
    assert tools(SEARCH, own)["tools"] == [SEARCH, own]


@pytest.mark.parametrize(
    ("given", "choice"),
    [
        ({}, None),
        ({"parallel_tool_calls": True}, None),
        ({"tool_choice": "auto"}, {"type": "auto"}),
        ({"tool_choice": "required"}, {"type": "any"}),
        ({"tool_choice": "none", "parallel_tool_calls": False}, {"type": "none"}),
        (
            {"tool_choice": {"type": "function", "function": {"name": "clock"}}},
            {"type": "tool", "name": "clock"},
        ),
        ({"tool_choice": {"type": "any", "x": 1}}, {"type": "any", "x": 1}),
        (
            {"parallel_tool_calls": False},
            {"type": "auto", "disable_parallel_tool_use": True},
        ),
        (
            {"tool_choice": "required", "parallel_tool_calls": False},
            {"type": "any", "disable_parallel_tool_use": True},
        ),
    ],
)
def test_choice_of_a_tool_is_the_wires(given, choice):
    said = tools(CLOCK, **given)
    assert {k: v for k, v in said.items() if k == "tool_choice"} == (
        {} if choice is None else {"tool_choice": choice}
    )


# -- reasoning and what else is sent back


def test_reasoning_goes_back_before_what_was_said():
    sealed = [{"text": "Well.", "signature": "EqEE"}, {"data": "EmwK"}]
    asked = calling(("t1", "clock", "{}"), content="I look.", reasoning_blocks=sealed)
    assert turns(user("a"), asked, tool("t1", "noon"))[1]["content"] == [
        thinking("Well.", "EqEE"),
        {"type": "redacted_thinking", "data": "EmwK"},
        text("I look."),
        tool_use("t1", "clock", {}),
    ]


def test_reasoning_goes_back_before_parts():
    parts = [{"type": "text", "text": "b", **MARK}]
    said = assistant(parts, reasoning_blocks=[{"signature": "s", "extra": {"at": 1}}])
    assert turns(user("a"), said, user("c"))[1]["content"] == [
        thinking("", "s"),
        {**text("b"), **MARK},
    ]


@pytest.mark.parametrize("block", [{"text": "Well."}, {"id": "rs_1"}, {"extra": {"block": "x"}}])
def test_reasoning_without_a_seal_is_left_out(block):
    """The service refuses thinking that it did not sign."""
    said = assistant("b", reasoning_blocks=[block])
    assert turns(user("a"), said, user("c"))[1]["content"] == [text("b")]


@pytest.mark.parametrize("at", [-2, 0, 2, 99, "two", None])
def test_place_of_a_block_that_does_not_fit_loses_no_text(at):
    block = {"type": "server_tool_use"}
    said = assistant("Hello", reasoning_blocks=[{"extra": {"block": block, "at": at}}])
    content = turns(user("a"), said, user("c"))[1]["content"]
    assert [each for each in content if each["type"] != "text"] == [block]
    assert "".join(each.get("text", "") for each in content) == "Hello"


SERVER = [
    text("Let me see. "),
    {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"q": "sea"}},
    {"type": "web_search_tool_result", "tool_use_id": "s1", "content": []},
    thinking("It is wet.", "EqEE"),
    text("Wet."),
    {"type": "redacted_thinking", "data": "EmwK"},
    tool_use("t1", "clock", {"a": 1}),
]
CONTENTS = {
    "text": [text("Hello.")],
    "thinking and tools": [
        thinking("Well.", "EqEE"),
        text("I look."),
        tool_use("t1", "clock", {}),
        tool_use("t2", "weather", {"city": "海"}),
    ],
    "a tool of the service's": SERVER,
    "a call made by one": [SERVER[1], tool_use("t1", "f", {}, caller={"type": "c", "id": "s1"})],
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS.keys())
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("as_dict", [False, True])
def test_answer_goes_back_as_it_came(content, streamed, as_dict):
    body = (stream if streamed else whole)(*content, stop="tool_use")
    answer = play(body, stream=streamed).completion.to_message()
    said = turns(
        user("a"),
        answer.to_dict() if as_dict else answer,
        *(tool(c.id, "x") for c in answer.tool_calls),
    )
    assert said[1]["content"] == content


def test_answer_that_a_tool_paused_goes_back_to_be_gone_on_with():
    """It is no prefill, so that it goes on thinking, too."""
    paused = play(stream(*SERVER[:2], stop="pause_turn")).completion.to_message()
    body = sent(user("a"), paused, reasoning_effort="low")
    assert body["messages"][-1]["content"] == SERVER[:2]
    assert body["thinking"] == {"type": "adaptive"}


def test_seal_of_another_wires_call_is_no_caller():
    call = ToolCall(id="t1", name="f", arguments="{}", signature="CpIB")
    said = turns(user("a"), Message(role="assistant", tool_calls=(call,)), tool("t1", "x"))
    assert said[1]["content"] == [tool_use("t1", "f", {})]


# -- thinking


def thought(model="claude-to-come", **given):
    body = sent(user("a"), model=model, **given)
    return body.get("thinking"), body.get("output_config")


def refused(model, **given):
    """What it could not be given, as the host asks."""
    return Anthropic(key="k").unfit(model, check_messages([user("a")]), given)


@emulated("anthropic", "reasoning effort")
@pytest.mark.parametrize(
    ("effort", "level"),
    [("minimal", "low"), ("low", "low"), ("medium", "medium"), ("high", "high"), ("max", "max")],
)
def test_effort_is_the_models_to_spend(effort, level):
    assert thought(reasoning_effort=effort) == ({"type": "adaptive"}, {"effort": level})


def test_effort_of_none_is_no_thinking():
    assert thought(reasoning_effort="none") == ({"type": "disabled"}, None)
    assert thought() == (None, None)


@pytest.mark.parametrize(
    ("model", "max_tokens", "effort", "budget"),
    [
        ("claude-haiku-4-5", 10_000, "low", 2000),
        ("claude-haiku-4-5", 10_000, "medium", 5000),
        ("claude-haiku-4-5", 10_000, "high", 8000),
        ("claude-haiku-4-5", 10_000, "xhigh", 9500),
        ("claude-sonnet-4-5-20250929", 3000, "minimal", 1024),
        ("claude-opus-4-5", 64_000, "high", 32_000),
        ("claude-haiku-4-5", 1025, "high", 1024),
    ],
)
def test_effort_is_a_share_of_the_tokens_for_models_that_think_up_to_a_number(
    model, max_tokens, effort, budget
):
    asked = thought(model, max_tokens=max_tokens, reasoning_effort=effort)
    assert asked == ({"type": "enabled", "budget_tokens": budget}, None)


@pytest.mark.parametrize(
    "model",
    [
        "claude-3-7-sonnet-20250219",
        "claude-opus-4-0",
        "claude-opus-4-20250514",
        "claude-opus-4-1-20250805",
        "claude-opus-4-5-20251101",
        "claude-sonnet-4-0",
        "claude-sonnet-4-20250514",
        "claude-sonnet-4-5-20250929",
        "claude-haiku-4-5-20251001",
    ],
)
def test_older_models_think_up_to_a_number(model):
    assert thought(model, reasoning_effort="low")[0]["type"] == "enabled"


@pytest.mark.parametrize("model", ["claude-opus-4-6", "claude-sonnet-4-6", "claude-opus-5"])
def test_newer_models_think_by_effort(model):
    assert thought(model, reasoning_effort="low")[0]["type"] == "adaptive"


@pytest.mark.parametrize(
    ("model", "effort", "thinking", "output"),
    [
        # Each was asked for in words that the model refuses with a 400.
        ("claude-opus-4-6-20260205", "xhigh", {"type": "adaptive"}, {"effort": "max"}),
        ("claude-fable-5", "none", {"type": "adaptive"}, {"effort": "low"}),
        ("claude-mythos-preview", "none", {"type": "adaptive"}, {"effort": "low"}),
        ("claude-opus-5-5", "none", {"type": "adaptive"}, {"effort": "low"}),
        ("claude-sonnet-5-5", "none", {"type": "between_tools"}, None),
        ("claude-3-5-haiku-latest", "low", None, None),
        ("claude-3-5-haiku-latest", "none", None, None),
        # And these it takes.
        ("claude-opus-5", "none", {"type": "disabled"}, None),
        ("claude-haiku-5-5", "none", {"type": "disabled"}, None),
        ("claude-haiku-4-5", "none", {"type": "disabled"}, None),
        ("claude-opus-4-7-20260416", "xhigh", {"type": "adaptive"}, {"effort": "xhigh"}),
    ],
)
def test_effort_is_said_in_words_that_the_family_takes(model, effort, thinking, output):
    assert thought(model, reasoning_effort=effort) == (thinking, output)


TOOLS = [{"type": "function", "function": {"name": "clock"}}]
FORCED = {"tools": TOOLS, "tool_choice": "required"}
NAMED = {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "clock"}}}

HINDRANCES = {
    "beside temperature": {"temperature": 0.5},
    "beside top_p": {"top_p": 0.5},
    "beside top_k": {"top_k": 5},
    "beside a forced call": FORCED,
}
"""What the service refuses beside thinking."""


@pytest.mark.parametrize(("why", "beside"), HINDRANCES.items())
def test_effort_gives_way_to_what_thinking_does_not_go_with(why, beside):
    """The service answered with a 400, which ended the call."""
    given = {"reasoning_effort": "high", **beside}
    assert thought("claude-haiku-4-5", **given) == (None, None)
    assert refused("claude-haiku-4-5", **given) == {"reasoning_effort": why}
    # Others heed an effort without thinking.
    assert thought("claude-opus-4-6", **given) == (None, {"effort": "high"})
    assert refused("claude-opus-4-6", **given) == {}


@pytest.mark.parametrize(
    "beside",
    [
        {"temperature": 1},
        {"top_p": 0.95},
        {"tools": TOOLS, "tool_choice": "auto"},
        {"tool_choice": "required"},  # of no tools: it is not sent
        {"max_tokens": 1025},
    ],
)
def test_effort_goes_with_what_thinking_goes_with(beside):
    given = {"reasoning_effort": "high", **beside}
    assert thought("claude-haiku-4-5", **given)[0]["type"] == "enabled"
    assert refused("claude-haiku-4-5", **given) == {}


def test_effort_of_none_hinders_nothing():
    given = {"reasoning_effort": "none", "temperature": 0.5}
    assert thought("claude-haiku-4-5", **given) == ({"type": "disabled"}, None)
    assert refused("claude-haiku-4-5", **given) == {}


@pytest.mark.parametrize("name", ["claude-opus-4-7", "claude-opus-4-7-20260416", "claude-opus-5"])
def test_names_of_one_family_lack_the_same(name):
    """A dated name that only the catalogue knew, or nobody, kept what the other had lost."""
    given = {"temperature": 0.5, "top_k": 5, "reasoning_effort": "low"}
    assert refused(name, **given).keys() == {"temperature", "top_k"}


def test_one_of_two_samplers_is_enough_for_the_models_that_take_one():
    both = {"temperature": 0.5, "top_p": 0.5}
    assert refused("claude-sonnet-4-5-20250929", **both) == {"top_p": "beside temperature"}
    assert refused("claude-sonnet-4-20250514", **both) == {}


@pytest.mark.parametrize("stop", ["\n", ["END", " "], ""])
def test_text_to_stop_at_has_a_character_that_is_not_blank(stop):
    """The service refuses others, and that was the call's own fault."""
    assert refused("claude-opus-4-6", stop=stop) == {"stop": "of white space alone"}
    assert refused("claude-opus-4-6", stop=["END", "a "]) == {}


@pytest.mark.parametrize("forced", [FORCED, NAMED])
def test_forced_call_is_for_models_that_can_be_forced(forced):
    refusal = {"tool_choice": "that forces a call"}
    assert refused("claude-opus-5-5", **forced) == refusal
    assert refused("claude-fable-5-1", **forced) == refusal
    assert refused("claude-fable-5", **forced) == {}
    assert refused("claude-opus-5-5", tools=TOOLS, tool_choice="auto") == {}


@given(st.integers(1, 200_000), st.sampled_from(["minimal", "low", "medium", "high", "max"]))
def test_budget_is_one_that_the_service_takes(max_tokens, effort):
    given = {"max_tokens": max_tokens, "reasoning_effort": effort}
    asked, _ = thought("claude-haiku-4-5", **given)
    assert asked is None or 1024 <= asked["budget_tokens"] < max_tokens
    told = {} if asked else {"reasoning_effort": "with so few max_tokens"}
    assert refused("claude-haiku-4-5", **given) == told


def test_thinking_does_not_go_with_a_prefill():
    asked, effort = check_messages([user("a"), assistant("b")]), {"reasoning_effort": "high"}
    assert "thinking" not in sent(*asked, model="claude-haiku-4-5", **effort)
    told = Anthropic(key="k").unfit("claude-haiku-4-5", asked, effort)
    assert told == {"reasoning_effort": "where an answer is continued"}


def test_setting_of_the_wires_own_counts_before_the_effort():
    own = {"type": "adaptive", "display": "summarized"}
    assert thought(thinking=own, reasoning_effort="low") == (own, {"effort": "low"})
    assert thought(thinking=own) == (own, None)


# -- the form of the answer

SCHEMA = {"type": "object", "properties": {}, "additionalProperties": False}
FORMAT = {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA, "strict": True}}


@emulated("anthropic", "structured output")
def test_schema_of_the_answer_stands_beside_the_effort():
    form = {"format": {"type": "json_schema", "schema": SCHEMA}}
    assert thought(response_format=FORMAT) == (None, form)
    both = thought(response_format=FORMAT, reasoning_effort="low")
    assert both == ({"type": "adaptive"}, {"effort": "low", **form})
    assert thought("claude-haiku-4-5", response_format=FORMAT, reasoning_effort="low")[1] == form


def test_schema_that_the_service_would_refuse_is_fitted_or_lets_another_target_try():
    """A limit in a schema was a 400, which ends a call."""
    limited = {"type": "object", "properties": {"age": {"type": "integer", "minimum": 0}}}
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": limited}}
    schema = thought(response_format=form)[1]["format"]["schema"]
    assert "minimum" not in schema["properties"]["age"]
    form["json_schema"]["schema"] = {"type": "object"}
    with pytest.raises(UnsupportedParameter, match="open"):
        sent(user("a"), response_format=form)


def test_answer_in_plain_text_needs_no_form():
    assert thought(response_format={"type": "text"}) == (None, None)


@pytest.mark.parametrize("form", [{"type": "json_object"}, {"type": "json_schema"}, {}])
def test_json_without_a_schema_lets_another_target_try(form):
    with pytest.raises(UnsupportedParameter, match="json_schema"):
        sent(user("a"), response_format=form)


def test_message_is_left_as_it_was():
    """The same objects may go to another target afterwards."""
    asked = check_messages([user([{"type": "text", "text": "a "}], **MARK), assistant("b ")])
    before = [each.to_dict() for each in asked]
    play(ANSWER, messages=asked, stream=False)
    assert [each.to_dict() for each in asked] == before
