"""What goes out on Cohere's wire."""

import pytest
from emulators.chat import Played
from features import emulated

from providers.cohere import Cohere
from router import (
    Audio,
    BadRequest,
    File,
    Image,
    Message,
    Reasoning,
    Text,
    ToolCall,
    UnsupportedParameter,
    Video,
)

ANSWER = b'{"id":"1","message":{"role":"assistant","content":[]},"finish_reason":"COMPLETE"}'
CLOCK = {"name": "clock", "description": "The time.", "parameters": {"type": "object"}}
LOOK = {"name": "look"}
TOOLS = [{"type": "function", "function": CLOCK}, {"type": "function", "function": LOOK}]
QUESTION = [Message(role="user", content="Hi")]


def body(messages=QUESTION, **parameters):
    played = Played(
        Cohere(key="k"), ANSWER, stream=False, model="m", messages=messages, **parameters
    )
    assert played.error is None
    return played.request.json


def turn(**fields):
    return body([Message(**fields)])["messages"][0]


def refusal(*messages):
    return Played(Cohere(key="k"), ANSWER, stream=False, messages=list(messages)).error


# -- parameters


def test_request_is_the_call_and_nothing_more():
    assert body() == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": False,
    }


@emulated("cohere", "stop", "seed")
def test_parameters_go_out_under_the_names_of_the_wire():
    same = {
        "temperature": 0,
        "max_tokens": 7,
        "seed": 1,
        "presence_penalty": 0.1,
        "frequency_penalty": 0.2,
        "logprobs": False,
    }
    sent = body(**same, top_k=0, top_p=0.5, stop="\n")
    del sent["model"], sent["messages"], sent["stream"]
    assert sent == {**same, "k": 0, "p": 0.5, "stop_sequences": ["\n"]}
    assert body(stop=["a", "b"])["stop_sequences"] == ["a", "b"]


@emulated("cohere", "reasoning effort")
@pytest.mark.parametrize(
    ("effort", "thinking"),
    [
        ("none", {"type": "disabled"}),
        ("minimal", {"type": "enabled", "token_budget": 512}),
        ("low", {"type": "enabled", "token_budget": 1024}),
        ("medium", {"type": "enabled", "token_budget": 4096}),
        ("high", {"type": "enabled"}),
    ],
)
def test_effort_is_a_budget_of_tokens(effort, thinking):
    assert body(reasoning_effort=effort)["thinking"] == thinking


def test_thinking_in_the_words_of_the_wire_counts_before_an_effort():
    own = {"type": "enabled", "token_budget": 99}
    assert body(reasoning_effort="none", thinking=own)["thinking"] == own


@emulated("cohere", "structured output")
def test_schema_goes_where_the_wire_has_it():
    schema = {"type": "object", "properties": {}}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
    assert body(response_format=wanted)["response_format"] == {
        "type": "json_object",
        "json_schema": schema,
    }
    plain = {"type": "json_object"}
    assert body(response_format=plain)["response_format"] == plain


def test_answer_in_plain_text_needs_no_form():
    assert "response_format" not in body(response_format={"type": "text"})


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (
            {"tools": TOOLS, "response_format": {"type": "json_object"}},
            {"response_format": "beside tools"},
        ),
        ({"tools": TOOLS, "response_format": {"type": "text"}}, {}),
        ({"tools": [], "response_format": {"type": "json_object"}}, {}),
        ({"parallel_tool_calls": False}, {"parallel_tool_calls": "but True"}),
        ({"parallel_tool_calls": True}, {}),
    ],
)
def test_what_does_not_go_together_goes_elsewhere(given, wanted):
    """JSON beside tools was the call's own fault, since the service refuses it."""
    assert Cohere(key="k").unfit("m", (), given) == wanted


def test_tools_go_out_as_they_are_and_nothing_is_said_of_a_free_choice():
    marked = [{**TOOLS[0], "cache_control": {"type": "ephemeral"}}, TOOLS[1]]
    assert body(tools=marked)["tools"] == TOOLS
    assert "tool_choice" not in body(tools=TOOLS, tool_choice="auto")


@pytest.mark.parametrize(("choice", "word"), [("required", "REQUIRED"), ("none", "NONE")])
def test_choice_of_tools_is_a_word_of_the_wire(choice, word):
    sent = body(tools=TOOLS, tool_choice=choice)
    assert (sent["tool_choice"], sent["tools"]) == (word, TOOLS)


def test_function_that_must_be_called_is_the_only_one_offered():
    """The wire can ask for a call, and not for which."""
    choice = {"type": "function", "function": {"name": "look"}}
    sent = body(tools=TOOLS, tool_choice=choice)
    assert (sent["tool_choice"], sent["tools"]) == ("REQUIRED", TOOLS[1:])


def test_strict_tools_are_so_all_together():
    strict = [{"type": "function", "function": {**CLOCK, "strict": True}}, TOOLS[1]]
    sent = body(tools=strict)
    assert (sent["strict_tools"], sent["tools"]) == (True, TOOLS)
    assert "strict_tools" not in body(tools=TOOLS)


# -- messages


@emulated("cohere", "system prompts")
@pytest.mark.parametrize("role", ["system", "developer"])
def test_system_prompts_have_one_role(role):
    assert turn(role=role, content="Be brief.") == {"role": "system", "content": "Be brief."}


@emulated("cohere", "images")
def test_pictures_go_out_by_address_or_as_data():
    parts = (
        Text(text="What is this?", extra={"cache_control": {"type": "ephemeral"}}),
        Image(url="https://example.org/a.png", detail="low"),
        Image(data=b"\x89PNG", media_type="image/png"),
    )
    assert turn(role="user", content=parts)["content"] == [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}},
    ]


def test_parts_that_the_wire_has_not_are_refused_before_anything_is_sent():
    sound = Message(role="user", content=(Audio(data=b"x", format="wav"),))
    paper = Message(role="user", content=(File(data=b"x", media_type="application/pdf"),))
    film = Message(role="user", content=(Video(url="https://example.org/a.mp4"),))
    for message, word in ((sound, "audio"), (paper, "documents"), (film, "video")):
        error = refusal(message)
        assert type(error) is UnsupportedParameter
        assert word in error.message


def test_calls_and_their_results_go_out_side_by_side():
    calls = (
        ToolCall(id="c1", name="clock", arguments='{"zone": "UTC"}'),
        ToolCall(id="c2", name="look", arguments=""),
    )
    sent = body(
        [
            *QUESTION,
            Message(role="assistant", tool_calls=calls),
            Message(role="tool", tool_call_id="c1", content="12:00"),
            Message(role="tool", tool_call_id="c2", content=(Text(text="a cat"),)),
        ]
    )["messages"]
    assert sent[1] == {
        "role": "assistant",
        "tool_calls": [
            {
                "id": "c1",
                "type": "function",
                "function": {"name": "clock", "arguments": '{"zone": "UTC"}'},
            },
            {"id": "c2", "type": "function", "function": {"name": "look", "arguments": "{}"}},
        ],
    }
    assert sent[2] == {"role": "tool", "tool_call_id": "c1", "content": "12:00"}
    assert sent[3]["content"] == [{"type": "text", "text": "a cat"}]


@emulated("cohere", "files")
def test_file_in_a_result_is_a_document():
    parts = (
        File(
            data=b'{"title": "Ruby", "text": "by Matz"}', media_type="application/json", name="d1"
        ),
        File(data="Grüße".encode(), media_type="text/plain"),
    )
    assert turn(role="tool", tool_call_id="c", content=parts)["content"] == [
        {
            "type": "document",
            "document": {"id": "d1", "data": {"title": "Ruby", "text": "by Matz"}},
        },
        {"type": "document", "document": {"data": {"text": "Grüße"}}},
    ]


@pytest.mark.parametrize(
    ("data", "media_type", "kind"),
    [
        (b"[1]", "application/json", BadRequest),
        (b"\xff", "text/plain", BadRequest),
        (b"%PDF", "application/pdf", UnsupportedParameter),
        (None, "text/plain", UnsupportedParameter),  # by its id or URL: it went out empty
    ],
)
def test_file_that_is_no_document_is_refused(data, media_type, kind):
    file = File(data=data, media_type=media_type)
    assert type(refusal(Message(role="tool", tool_call_id="c", content=(file,)))) is kind


def test_plan_and_thinking_go_back_where_they_came_from():
    plan = Reasoning(text="I will look.", extra={"type": "tool_plan"})
    call = ToolCall(id="c", name="look", arguments="{}")
    sent = turn(role="assistant", tool_calls=(call,), reasoning=(plan,))
    assert sent["tool_plan"] == "I will look."
    assert "content" not in sent
    thought = Reasoning(text="Hmm.")
    for content in ("Yes.", (Text(text="Yes."),)):
        assert turn(role="assistant", content=content, reasoning=(thought,)) == {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hmm."},
                {"type": "text", "text": "Yes."},
            ],
        }
    sent = turn(role="assistant", tool_calls=(call,), reasoning=(thought,))
    assert sent["content"] == [{"type": "thinking", "thinking": "Hmm."}]


def test_refusal_goes_back_as_what_was_said():
    assert turn(role="assistant", extra={"refusal": "No."})["content"] == "No."
