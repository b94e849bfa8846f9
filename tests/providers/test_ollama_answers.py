"""Ollama's answers, whole and in lines, good and broken."""

import json

import pytest
from emulators.chat import Played, split
from emulators.ollama import added, last, lines
from features import emulated
from hypothesis import given
from hypothesis import strategies as st

from providers.ollama import Ollama
from router import (
    Chunk,
    ContextOverflow,
    Message,
    ModelNotFound,
    Overloaded,
    ProtocolError,
    Reasoning,
    ToolCall,
    UpstreamError,
    Usage,
)

MESSAGES = [Message(role="user", content="Hi")]
CALLS = [
    {"id": "c1", "function": {"index": 0, "name": "look", "arguments": {"at": "ö", "n": 1}}},
    {"function": {"name": "clock", "arguments": {}}},
]


def provider():
    made = Ollama()
    made.new_id = lambda: "made-up"
    return made


def play(body, **call):
    return Played(provider(), body, messages=MESSAGES, **call)


def stream(*values):
    return play(lines(*values))


def whole(*values, **message):
    return play(lines(*values or [{**last(), "message": message}]), stream=False)


THINKER = (
    added(content="", thinking="Hmm. "),
    added(content="", thinking="Who? 🌊"),
    added(content="By "),
    added(content="Matz."),
    last(),
)
CALLER = (
    added(content="", thinking="Look."),
    added(content="", tool_calls=CALLS[:1]),
    added(content="", tool_calls=CALLS[1:]),
    last(),
)


def test_whole_answer_that_is_not_done_is_none():
    """It passed for a success without a finish reason."""
    error = whole(added(content="By ")).error
    assert isinstance(error, ProtocolError)
    assert error.code == "no_finish_reason"


@emulated("ollama", "whole answers", "streaming")
@pytest.mark.parametrize(
    "played", [stream(*THINKER), whole(content="By Matz.", thinking="Hmm. Who? 🌊")]
)
def test_thinking_and_text_are_told_apart(played):
    completion = played.completion
    choice = completion.choices[0]
    assert (choice.reasoning, choice.text) == ("Hmm. Who? 🌊", "By Matz.")
    assert choice.reasoning_blocks == (Reasoning(text="Hmm. Who? 🌊"),)
    assert (choice.finish_reason, choice.native_finish_reason) == ("stop", "stop")
    assert completion.usage == Usage(input_tokens=9, output_tokens=3)
    assert completion.model == "llama3.2:latest"
    assert completion.raw["total_duration"] == 5_000_000


@pytest.mark.parametrize(
    "played", [stream(*CALLER), whole(content="", thinking="Look.", tool_calls=CALLS)]
)
def test_calls_come_whole_and_end_the_turn(played):
    choice = played.completion.choices[0]
    assert choice.tool_calls == (
        ToolCall(id="c1", name="look", arguments='{"at":"ö","n":1}'),
        ToolCall(id="made-up", name="clock", arguments="{}"),
    )
    assert choice.reasoning_blocks == (Reasoning(text="Look."),)
    assert (choice.finish_reason, choice.native_finish_reason) == ("tool_calls", "stop")


def test_arguments_that_are_a_text_are_taken_as_they_are():
    call = {"function": {"name": "look", "arguments": '{"at": 1}'}}
    assert whole(tool_calls=[call]).completion.tool_calls[0].arguments == '{"at": 1}'


@pytest.mark.parametrize(
    ("native", "reason"),
    [("stop", "stop"), ("length", "length"), ("load", "other"), (None, "stop")],
)
def test_finish_reason_is_of_the_one_vocabulary(native, reason):
    """Servers from before 2024 gave no reason at all."""
    choice = stream(added(content="x"), last(native)).completion.choices[0]
    assert (choice.finish_reason, choice.native_finish_reason) == (reason, native)


def test_calls_that_were_cut_are_not_said_to_be_whole():
    choice = stream(added(tool_calls=CALLS), last("length")).completion.choices[0]
    assert choice.finish_reason == "length"


def test_last_line_may_say_something_too():
    played = stream({**last(), "message": {"content": "all", "thinking": "Hm."}})
    choice = played.completion.choices[0]
    assert (choice.text, choice.reasoning_blocks) == ("all", (Reasoning(text="Hm."),))


def test_usage_that_is_not_told_is_unknown():
    done = {"model": "m", "done": True}
    assert stream(added(content="x"), done).completion.usage is None
    told = stream(added(content="x"), {**done, "eval_count": 2}).completion.usage
    assert told == Usage(output_tokens=2)


@emulated("ollama", "log probabilities")
def test_log_probabilities_keep_the_shape_of_the_wire():
    item = {"token": "Hi", "logprob": -0.5, "bytes": [72, 105]}
    completion = stream({**added(content="Hi"), "logprobs": [item]}, last()).completion
    assert (completion.text, completion.choices[0].logprobs) == ("Hi", (item,))


def test_line_that_brings_nothing_is_a_sign_of_life():
    assert Chunk() in stream(added(content="a"), added(content=""), last()).pieces


@pytest.mark.parametrize("values", [THINKER, CALLER])
def test_next_turn_sends_back_what_came(values):
    message = stream(*values).completion.to_message()
    result = Message(role="tool", tool_call_id="made-up", content="12:00")
    played = Played(provider(), lines(last()), messages=[*MESSAGES, message, result])
    sent = played.request.json["messages"]
    if values is THINKER:
        assert sent[1] == {
            "role": "assistant",
            "content": "By Matz.",
            "thinking": "Hmm. Who? 🌊",
        }
    else:
        assert [call["function"]["arguments"] for call in sent[1]["tool_calls"]] == [
            {"at": "ö", "n": 1},
            {},
        ]
        assert (sent[1]["thinking"], sent[2]["tool_name"]) == ("Look.", "clock")


@pytest.mark.parametrize("values", [THINKER, CALLER])
@given(cuts=st.lists(st.integers(0, 10_000), max_size=12))
def test_pieces_do_not_depend_on_how_the_bytes_are_cut(values, cuts):
    assert play(split(lines(*values), cuts)).pieces == stream(*values).pieces


def test_last_line_needs_no_end():
    assert play(lines(*THINKER).rstrip()).completion.finish_reason == "stop"


def test_answer_at_once_where_a_stream_was_asked_for_is_taken():
    assert stream({**last(), "message": {"content": "x"}}).completion.text == "x"


# -- what is no answer


def test_lines_without_the_last_are_no_whole_answer():
    played = stream(added(content="x"))
    assert (played.error, played.completion.finish_reason) == (None, None)


def test_nothing_is_read_behind_the_last_line():
    played = play([lines(*THINKER, "{"), b"{"])
    assert (played.error, played.read) == (None, 1)


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        ({"error": "an error was encountered\nwhile running the model"}, UpstreamError),
        ({"error": "busy", "status_code": 503}, Overloaded),
        ({"error": "prompt too long; exceeded max context length by 2 tokens"}, ContextOverflow),
        ({"error": 'model "some-model" not found, try pulling it first'}, ModelNotFound),
        ({"error": {"message": "odd"}}, UpstreamError),
        ({"error": 7}, UpstreamError),
    ],
)
def test_error_in_the_middle_of_an_answer_is_raised(failure, kind):
    error = stream(added(content="x"), failure).error
    assert type(error) is kind
    assert "\n" not in error.message
    assert type(whole(failure).error) is kind


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" \n",
        b"<html>",
        b"{",
        b"{}",
        b"[]",
        b'{"message": {"content": 7}}',
        b'{"message": {"content": "\xff"}}',
        b'{"message": {"content": ""}, "eval_count": NaN}',
        json.dumps({"response": "of another path"}).encode(),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_body_that_is_no_answer_is_a_protocol_error(body, streamed):
    assert type(play(body, stream=streamed).error) is ProtocolError


@pytest.mark.parametrize("line", ["{", "7", "[]", '{"message": 7}'])
def test_line_that_is_malformed_is_not_skipped(line):
    assert type(stream(added(content="x"), line, last()).error) is ProtocolError
