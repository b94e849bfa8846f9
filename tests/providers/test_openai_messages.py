"""Messages as they go out: without what is the router's own."""

import json

import pytest
from emulators.chat import Played, chunk, delta, message, sse

from providers import compatible
from providers.openai import Row, openai
from router import Message, Reasoning, ToolCall, UnsupportedParameter

TURN = [
    {"role": "user", "content": "What time is it?"},
    Message(
        role="assistant",
        tool_calls=(ToolCall(id="call_1", name="clock", arguments="{}", signature="seal"),),
        reasoning=(Reasoning(text="Look at the clock.", signature="sig"),),
        origin="openrouter",
    ).to_dict(),
    {"role": "tool", "tool_call_id": "call_1", "content": "noon"},
]
CALL = {"id": "call_1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
MARKER = {"cache_control": {"type": "ephemeral"}}
ANSWER = sse(chunk(delta(content="Noon.")), chunk(delta("stop")))


def sent(row, messages, **parameters):
    provider = row(base_url="http://127.0.0.1:9", key="a-key")
    return Played(provider, ANSWER, messages=messages, **parameters).request.json


def test_no_key_of_the_routers_goes_out():
    messages = sent(openai, TURN)["messages"]
    assert messages[1] == {"role": "assistant", "content": None, "tool_calls": [CALL]}


def test_reasoning_goes_back_where_the_service_wants_it():
    deepseek = sent(compatible.deepseek, TURN)["messages"][1]
    assert deepseek["reasoning_content"] == "Look at the clock."
    openrouter = sent(compatible.openrouter, TURN)["messages"][1]
    detail = {"type": "reasoning.text", "text": "Look at the clock.", "signature": "sig"}
    assert openrouter["reasoning_details"] == [detail]


def test_given_messages_are_not_changed():
    given = [dict(message) for message in TURN]
    before = repr(given)
    sent(compatible.mistral, given, reasoning_effort="low")
    assert repr(given) == before


def test_cache_markers_go_to_those_who_take_them():
    part = {"type": "text", "text": "A long text.", **MARKER}
    messages = [{"role": "user", "content": [part], **MARKER}]
    tools = [{"type": "function", "function": {"name": "clock"}, **MARKER}]
    for row in (compatible.openrouter, compatible.alibaba):
        body = sent(row, messages, tools=tools)
        assert body["messages"][0]["content"][0] == part
        assert body["tools"] == tools
    body = sent(openai, messages, tools=tools)
    assert "cache_control" not in repr(body)
    assert body["messages"][0]["content"][0]["text"] == "A long text."


def test_what_has_no_name_here_goes_along():
    row = Row(name="here", base_url="", url_variable="HERE_BASE_URL", key_variables=())
    messages = [{"role": "assistant", "content": "Once", "prefix": True}]
    assert sent(row, messages)["messages"] == messages


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "reasoning_details"])
def test_reasoning_of_another_name_goes_where_the_service_wants_it(name):
    """An answer's own dict, given back, was refused: Groq, Cerebras and Mistral know no
    `reasoning_content`, and OpenAI none of them."""
    told = [{"type": "reasoning.text", "text": "Hm."}] if name == "reasoning_details" else "Hm."
    message = {"role": "assistant", "content": "Noon.", name: told}
    plain = {"role": "assistant", "content": "Noon."}
    for row, wanted in (
        (openai, plain),
        (compatible.groq, {**plain, "reasoning": "Hm."}),
        (compatible.deepseek, {**plain, "reasoning_content": "Hm."}),
        (compatible.openrouter, message),
    ):
        is_lost = name == "reasoning_details" and row is not compatible.openrouter
        assert sent(row, [message])["messages"] == [plain if is_lost else wanted]


def test_reasoning_of_another_name_is_a_part_for_mistral():
    message = {"role": "assistant", "content": "Noon.", "reasoning_content": "Hm."}
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
    assert sent(compatible.mistral, [message])["messages"] == [
        {"role": "assistant", "content": [thinking, {"type": "text", "text": "Noon."}]}
    ]


ANSWERED = {
    "annotations": [{"type": "file"}],
    "audio": {"id": "audio_1", "data": "UklG", "expires_at": 1, "transcript": "At noon."},
    "refusal": "I will not tell.",
    "images": [{"type": "image_url"}],
    "executed_tools": [{"type": "search"}],
}
TAKEN_BACK = {
    "openai": {"refusal": "I will not tell.", "audio": {"id": "audio_1"}},
    "azure": {"refusal": "I will not tell.", "audio": {"id": "audio_1"}},
    "openrouter": {
        "refusal": "I will not tell.",
        "audio": {"id": "audio_1"},
        "images": [{"type": "image_url"}],
        "annotations": [{"type": "file"}],
    },
}
PICTURES = [{"type": "image_url", "image_url": {"url": f"data:image/png;{n}"}} for n in range(2)]
SHOWN = {
    "a sound": (
        openai,
        message(audio={"id": "audio_1", "data": "UklG", "transcript": "At noon."}),
        [delta(audio={"id": "audio_1"}), delta(audio={"data": "UklG"}), delta("stop")],
        {"audio": {"id": "audio_1"}},
    ),
    "pictures": (
        compatible.openrouter,
        message(images=PICTURES),
        [delta(images=PICTURES[:1]), delta(images=PICTURES[1:]), delta("stop")],
        {"images": PICTURES},
    ),
}


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(("row", "whole", "deltas", "kept"), SHOWN.values(), ids=SHOWN.keys())
def test_sounds_and_pictures_are_in_the_message_of_a_next_turn(row, whole, deltas, kept, streamed):
    """An answer that was a sound or pictures went back empty."""
    body = sse(*map(chunk, deltas)) if streamed else json.dumps(chunk(whole)).encode()
    turn = Played(row(key="a-key"), body, stream=streamed).completion.to_message()
    assert sent(row, [turn.to_dict()])["messages"][0].items() >= kept.items()
    assert "audio" not in repr(sent(compatible.groq, [turn.without_seals().to_dict()]))


ROWS = {row.name: row for row in [openai, *vars(compatible).values()] if isinstance(row, Row)}


@pytest.mark.parametrize("name", ROWS)
def test_answer_is_given_back_with_what_the_service_takes(name):
    """Groq, Mistral, Cerebras and Fireworks refuse a message with a key that they do not know."""
    answer = {"role": "assistant", "content": "Noon."}
    empty = {**answer, "annotations": [], "audio": {}, "refusal": ""}
    assert sent(ROWS[name], [empty])["messages"] == [answer]
    taken = sent(ROWS[name], [{**answer, **ANSWERED}])["messages"]
    assert taken == [{**answer, **TAKEN_BACK.get(name, {})}]


@pytest.mark.parametrize("content", [None, ""])
@pytest.mark.parametrize(
    ("said", "text"), [("refusal", "I will not tell."), ("audio", "At noon."), ("images", "")]
)
def test_answer_without_a_text_has_what_it_said_as_text(content, said, text):
    """It went out without anything in it, which is refused."""
    answer = {"role": "assistant", "content": content, said: ANSWERED[said]}
    messages = sent(compatible.groq, [answer])["messages"]
    assert messages == [{"role": "assistant", "content": text}]
    if said != "images":
        kept = TAKEN_BACK["openai"][said]
        assert sent(openai, [answer])["messages"] == [{**answer, said: kept}]


@pytest.mark.parametrize("stream", [True, False])
def test_call_of_a_custom_tool_goes_back_as_it_came(stream):
    """It went back as a call of a function, whose arguments were no JSON."""
    custom = {"id": "call_1", "type": "custom", "custom": {"name": "sum", "input": "4 + 4"}}
    body = sse(chunk(delta(tool_calls=[{"index": 0, **custom}])), chunk(delta("tool_calls")))
    if not stream:
        body = json.dumps(chunk(message("tool_calls", tool_calls=[custom]))).encode()
    provider = openai(base_url="http://127.0.0.1:9", key="a-key")
    answer = Played(provider, body, stream=stream).completion.to_message().to_dict()
    result = {"role": "tool", "tool_call_id": "call_1", "content": "8"}
    assert sent(openai, [answer, result])["messages"][0]["tool_calls"] == [custom]


@pytest.mark.parametrize("row", [openai, compatible.azure])
def test_file_by_its_url_is_not_sent_to_those_who_fetch_none(row):
    """Another target may: OpenRouter has it as the file's data."""
    file = {"type": "file", "file": {"file_data": "https://example.org/a.pdf"}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "Sum it up."}, file]}]
    provider = row(base_url="http://127.0.0.1:9", key="a-key")
    with pytest.raises(UnsupportedParameter, match="not by their URL"):
        next(provider.create_completion("some-model", messages, False))
    assert sent(compatible.openrouter, messages)["messages"] == messages


def test_every_piece_of_a_custom_call_says_so():
    """The later ones, put into chunks of the openai client, were pieces of a function's call."""
    begun = {"index": 0, "id": "c", "type": "custom", "custom": {"name": "sum", "input": "4 +"}}
    later = {"index": 0, "custom": {"input": " 4"}}
    pieces = [delta(tool_calls=[begun]), delta(tool_calls=[later]), delta("tool_calls")]
    provider = openai(base_url="http://127.0.0.1:9", key="a-key")
    told = Played(provider, sse(*map(chunk, pieces))).pieces
    calls = [each.tool_call for each in told if getattr(each, "tool_call", None) is not None]
    assert [(call.arguments, call.custom) for call in calls] == [("4 +", True), (" 4", True)]
