"""What goes out on Ollama's own wire."""

import pytest
from emulators.chat import Played
from emulators.ollama import last, lines
from features import emulated

from providers.ollama import Ollama
from router import Audio, File, Image, Message, Reasoning, Text, ToolCall, UnsupportedParameter

QUESTION = [Message(role="user", content="Hi")]
TOOLS = [{"type": "function", "function": {"name": "look"}}]


def played(messages=QUESTION, **parameters):
    return Played(Ollama(), lines(last()), stream=False, model="m", messages=messages, **parameters)


def body(messages=QUESTION, **parameters):
    call = played(messages, **parameters)
    assert call.error is None
    return call.request.json


def turn(**fields):
    return body([Message(**fields)])["messages"][0]


# -- parameters


def test_request_is_the_call_and_nothing_more():
    assert body() == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": False,
    }


def test_tools_may_be_left_to_the_model_or_kept_from_it():
    assert body(tools=TOOLS, tool_choice="auto")["tools"] == TOOLS
    assert "tools" not in body(tools=TOOLS, tool_choice="none")


def test_calls_come_at_once_and_not_otherwise():
    assert body(parallel_tool_calls=True) == body()
    gone = Ollama().unfit("m", (), {"parallel_tool_calls": False})
    assert gone == {"parallel_tool_calls": "but True"}


@emulated("ollama", "stop", "seed")
def test_options_have_the_names_of_the_wire():
    same = {
        "temperature": 0,
        "top_p": 0.5,
        "top_k": 0,
        "min_p": 0.1,
        "seed": 1,
        "presence_penalty": 0.1,
        "frequency_penalty": 0.2,
        "num_ctx": 8192,
    }
    sent = body(**same, max_tokens=7, repetition_penalty=1.1, stop="\n")
    assert sent["options"] == {
        **same,
        "num_predict": 7,
        "repeat_penalty": 1.1,
        "stop": ["\n"],
    }
    assert body(stop=["a", "b"])["options"] == {"stop": ["a", "b"]}


def test_what_is_no_option_stands_beside_them():
    beside = {"tools": TOOLS, "keep_alive": 0, "logprobs": True, "top_logprobs": 2}
    marked = [{**TOOLS[0], "cache_control": {"type": "ephemeral"}}]
    sent = body(**{**beside, "tools": marked})
    assert {name: sent[name] for name in beside} == beside
    assert "options" not in sent


@emulated("ollama", "reasoning effort")
@pytest.mark.parametrize(
    ("effort", "think"),
    [("none", False), ("minimal", "low"), ("low", "low"), ("medium", "medium"), ("high", "high")],
)
def test_effort_is_whether_and_how_long_to_think(effort, think):
    assert body(reasoning_effort=effort)["think"] == think


@emulated("ollama", "structured output")
@pytest.mark.parametrize(
    ("wanted", "form"),
    [
        (
            {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}},
            {"type": "object"},
        ),
        ({"type": "json_object"}, "json"),
        ({"type": "text"}, None),
    ],
)
def test_response_format_is_a_schema_or_a_word(wanted, form):
    assert body(response_format=wanted).get("format") == form


# -- messages


@emulated("ollama", "system prompts")
@pytest.mark.parametrize("role", ["system", "developer"])
def test_system_prompts_have_one_role(role):
    assert turn(role=role, content="Be brief.") == {"role": "system", "content": "Be brief."}


@emulated("ollama", "images")
def test_pictures_stand_beside_the_text():
    parts = (
        Text(text="What is "),
        Image(data=b"\x89PNG", media_type="image/png"),
        Text(text="this?", extra={"cache_control": {"type": "ephemeral"}}),
    )
    assert turn(role="user", content=parts) == {
        "role": "user",
        "content": "What is this?",
        "images": ["iVBORw=="],
    }


@pytest.mark.parametrize(
    ("part", "word"),
    [
        (Image(url="https://example.org/a.png"), "URL"),
        (Audio(data=b"x", format="wav"), "audio"),
        (File(data=b"x", media_type="text/plain"), "file"),
    ],
)
def test_part_that_the_wire_has_not_is_refused_before_anything_is_sent(part, word):
    error = played([Message(role="user", content=(part,))]).error
    assert type(error) is UnsupportedParameter
    assert word in error.message


def test_calls_and_their_results_go_out_side_by_side():
    calls = (
        ToolCall(id="c1", name="clock", arguments='{"zone": "UTC"}'),
        ToolCall(id="c2", name="look", arguments=" "),
        ToolCall(id="", name="look", arguments="not JSON"),
    )
    sent = body(
        [
            Message(role="assistant", tool_calls=calls),
            Message(role="tool", tool_call_id="c2", content=(Text(text="a cat"),)),
            Message(role="tool", tool_call_id="c1", name="watch", content="12:00"),
            Message(role="tool", content="of a call that nobody made"),
        ]
    )["messages"]
    assert sent[0] == {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {"id": "c1", "function": {"name": "clock", "arguments": {"zone": "UTC"}}},
            {"id": "c2", "function": {"name": "look", "arguments": {}}},
            {"function": {"name": "look", "arguments": {"INVALID_JSON": "not JSON"}}},
        ],
    }
    assert sent[1:] == [
        {"role": "tool", "content": "a cat", "tool_call_id": "c2", "tool_name": "look"},
        {"role": "tool", "content": "12:00", "tool_call_id": "c1", "tool_name": "watch"},
        {"role": "tool", "content": "of a call that nobody made"},
    ]


def test_thinking_goes_back_beside_what_was_said():
    blocks = (Reasoning(text="Hm. "), Reasoning(text="Yes."))
    assert turn(role="assistant", content="A cat.", reasoning=blocks) == {
        "role": "assistant",
        "content": "A cat.",
        "thinking": "Hm. Yes.",
    }


def test_refusal_goes_back_as_what_was_said():
    assert turn(role="assistant", extra={"refusal": "No."})["content"] == "No."
