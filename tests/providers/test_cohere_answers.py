"""Cohere's answers, whole and in pieces, good and broken."""

import json

import pytest
from emulators.chat import Played, split, sse
from features import emulated
from hypothesis import given
from hypothesis import strategies as st

from providers.cohere import Cohere
from router import (
    Chunk,
    ContextOverflow,
    Message,
    ProtocolError,
    Reasoning,
    Timeout,
    ToolCall,
    UpstreamError,
    Usage,
)

USAGE = {
    "billed_units": {"input_tokens": 5, "output_tokens": 3},
    "tokens": {"input_tokens": 90.0, "output_tokens": 12.0, "reasoning_tokens": 4},
    "cached_tokens": 64,
}
READ_USAGE = Usage(input_tokens=90, output_tokens=12, cached_tokens=64, reasoning_tokens=4)
START = {"type": "message-start", "id": "msg-1", "delta": {"message": {"content": []}}}
MESSAGES = [Message(role="user", content="Hi")]


def event(type_, index=None, **message):
    """An event that adds these fields to the message."""
    numbered = {} if index is None else {"index": index}
    return {"type": type_, **numbered, "delta": {"message": message}}


def said(text, index=0, **beside):
    return {**event("content-delta", index, content={"text": text}), **beside}


def thought(text, index=0):
    return event("content-delta", index, content={"thinking": text})


def called(index, id_, name, arguments=""):
    function = {"name": name, "arguments": arguments}
    call = {"id": id_, "type": "function", "function": function}
    return event("tool-call-start", index, tool_calls=call)


def argued(index, arguments):
    return event("tool-call-delta", index, tool_calls={"function": {"arguments": arguments}})


def end(reason="COMPLETE", **fields):
    return {"type": "message-end", "delta": {"finish_reason": reason, "usage": USAGE, **fields}}


def source(id_, **document):
    return {"type": "document", "id": id_, "document": document}


def citation(start, end, *sources, **fields):
    return {"start": start, "end": end, "text": "x", "sources": list(sources), **fields}


def stream(*events, done=True):
    return Played(Cohere(key="k"), sse(*events, done=done), messages=MESSAGES)


def whole(message, reason="COMPLETE", **fields):
    answer = {"id": "msg-1", "message": message, "finish_reason": reason, "usage": USAGE, **fields}
    body = json.dumps(answer).encode()
    return Played(Cohere(key="k"), body, stream=False, messages=MESSAGES)


RUBY = source("d1", url="https://example.org/ruby", title="Ruby", text="Made by Matz.")
CITED = citation(4, 8, RUBY, source("d2"), type="TEXT_CONTENT", content_index=1)
CONTENT = [{"type": "thinking", "thinking": "Hmm. Who?"}, {"type": "text", "text": "By Matz."}]
THINKER = (
    START,
    event("content-start", 0, content={"type": "thinking", "thinking": ""}),
    thought("Hmm. "),
    thought("Who?"),
    event("content-end", 0),
    event("content-start", 1, content={"type": "text", "text": ""}),
    said("By ", 1),
    said("Matz.", 1),
    event("citation-start", 0, citations=CITED),
    {"type": "citation-end", "index": 0},
    event("content-end", 1),
    end(),
)
CALLS = (
    START,
    event("tool-plan-delta", tool_plan="I will "),
    event("tool-plan-delta", tool_plan="look. 🌊"),
    called(0, "c1", "look"),
    argued(0, '{"at"'),
    argued(0, ': "ö"}'),
    {"type": "tool-call-end", "index": 0},
    called(1, "c2", "clock"),
    {"type": "tool-call-end", "index": 1},
    end("TOOL_CALL"),
)
PLAN = Reasoning(text="I will look. 🌊", extra={"type": "tool_plan"})
FUNCTIONS = [
    {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": "ö"}'}},
    {"id": "c2", "type": "function", "function": {"name": "clock", "arguments": ""}},
]

thinker = pytest.mark.parametrize(
    "played", [stream(*THINKER), whole({"content": CONTENT, "citations": [CITED]})]
)
caller = pytest.mark.parametrize(
    "played",
    [
        stream(*CALLS),
        whole({"tool_plan": PLAN.text, "tool_calls": FUNCTIONS}, "TOOL_CALL"),
    ],
)


# -- what comes of an answer, in pieces or at once


@emulated("cohere", "whole answers", "streaming")
@thinker
def test_thinking_and_text_are_told_apart(played):
    completion = played.completion
    choice = completion.choices[0]
    assert (choice.reasoning, choice.text) == ("Hmm. Who?", "By Matz.")
    assert choice.reasoning_blocks == (Reasoning(text="Hmm. Who?"),)
    assert (choice.finish_reason, choice.native_finish_reason) == ("stop", "COMPLETE")
    assert (completion.id, completion.model, completion.usage) == ("msg-1", "asked-for", READ_USAGE)


@emulated("cohere", "citations")
@thinker
def test_citation_names_each_source_and_its_place_in_the_text(played):
    first, second = played.completion.choices[0].citations
    assert (first.url, first.title, first.document) == ("https://example.org/ruby", "Ruby", "d1")
    assert first.quote == "Made by Matz."
    assert (first.start, first.end, first.raw) == (4, 8, CITED)
    assert (second.document, second.url, second.start) == ("d2", None, 4)


@caller
def test_plan_is_reasoning_that_goes_back(played):
    choice = played.completion.choices[0]
    assert (choice.text, choice.reasoning) == ("", "I will look. 🌊")
    assert choice.reasoning_blocks == (PLAN,)


@caller
def test_calls_come_with_all_their_arguments(played):
    """A call without any came with an empty text, which is no JSON and cannot be sent back."""
    choice = played.completion.choices[0]
    assert choice.tool_calls == (
        ToolCall(id="c1", name="look", arguments='{"at": "ö"}'),
        ToolCall(id="c2", name="clock", arguments="{}"),
    )
    assert (choice.finish_reason, choice.native_finish_reason) == ("tool_calls", "TOOL_CALL")


def test_arguments_that_are_null_are_none():
    """They were handed on as such, and are no JSON object."""
    function = {"name": "clock", "arguments": "null"}
    played = whole({"tool_calls": [{"id": "c", "function": function}]}, "TOOL_CALL")
    assert played.completion.tool_calls[0].parsed() == {}


def test_arguments_that_come_with_the_call_are_kept():
    played = stream(START, called(0, "c", "look", '{"a":'), argued(0, "1}"), end("TOOL_CALL"))
    assert played.completion.tool_calls[0].arguments == '{"a":1}'


def test_plan_ends_before_what_comes_next():
    kinds = [
        "plan" if piece.reasoning_block else "call"
        for piece in stream(*CALLS).pieces
        if isinstance(piece, Chunk) and (piece.reasoning_block or piece.tool_call)
    ]
    assert kinds == ["plan", "call", "call", "call", "call", "call"]


def test_plan_alone_goes_back_too():
    played = stream(START, event("tool-plan-delta", tool_plan="I will look. 🌊"), end("MAX_TOKENS"))
    choice = played.completion.choices[0]
    assert (choice.reasoning_blocks, choice.finish_reason) == ((PLAN,), "length")


def test_citation_is_counted_in_the_whole_text_and_not_in_its_part():
    cited = citation(0, 2, RUBY, content_index=2)
    parts = [{"text": "One. "}, {"thinking": "Hm."}, {"text": "Two."}]
    told = whole({"content": parts, "citations": [cited]}).completion.choices[0].citations[0]
    assert (told.start, told.end) == (5, 7)


def test_citation_in_the_reasoning_has_no_place_in_the_text():
    cited = citation(0, 2, type="THINKING_CONTENT")
    told = whole({"content": CONTENT, "citations": [cited]}).completion.choices[0].citations[0]
    assert (told.start, told.end, told.document) == (None, None, None)


@emulated("cohere", "log probabilities")
def test_log_probabilities_keep_the_shape_of_the_wire():
    item = {"text": "Hi", "token_ids": [1], "logprobs": [-0.5]}
    streamed = stream(START, said("Hi", logprobs=item), end()).completion
    complete = whole({"content": [{"text": "Hi"}]}, logprobs=[item]).completion
    for completion in (streamed, complete):
        assert (completion.text, completion.choices[0].logprobs) == ("Hi", (item,))


@pytest.mark.parametrize(
    ("native", "reason"),
    [
        ("COMPLETE", "stop"),
        ("STOP_SEQUENCE", "stop"),
        ("MAX_TOKENS", "length"),
        ("ERROR_TOXIC", "content_filter"),
        ("A_NEW_ONE", "other"),
    ],
)
def test_finish_reason_is_of_the_one_vocabulary(native, reason):
    for played in (stream(START, said("x"), end(native)), whole({"content": "x"}, native)):
        choice = played.completion.choices[0]
        assert (choice.finish_reason, choice.native_finish_reason) == (reason, native)


def test_usage_is_what_is_billed_where_nothing_else_is_told():
    usage = {"billed_units": {"input_tokens": 5, "output_tokens": 3}}
    assert stream(START, end(usage=usage)).completion.usage == Usage(
        input_tokens=5, output_tokens=3
    )
    assert stream(START, end(usage=None)).completion.usage is None


def test_what_has_no_name_is_kept():
    assert whole({"content": "x"}).completion.raw["usage"] == USAGE
    assert stream(*THINKER).completion.raw == {"usage": USAGE}
    assert (
        Chunk(raw={"type": "debug", "prompt": "p"})
        in stream(START, {"type": "debug", "prompt": "p"}, end()).pieces
    )


def test_signs_of_life_are_passed_on():
    assert stream(": ping", START, end()).pieces[0] == Chunk()


@pytest.mark.parametrize("events", [THINKER, CALLS])
def test_next_turn_sends_back_what_came(events):
    message = stream(*events).completion.to_message()
    played = Played(Cohere(key="k"), sse(end()), messages=[*MESSAGES, message])
    sent = played.request.json["messages"][1]
    if events is THINKER:
        assert sent == {"role": "assistant", "content": CONTENT}
    else:
        calls = [FUNCTIONS[0], {**FUNCTIONS[1], "function": {"name": "clock", "arguments": "{}"}}]
        assert sent == {"role": "assistant", "tool_plan": PLAN.text, "tool_calls": calls}


@pytest.mark.parametrize("events", [THINKER, CALLS])
@given(cuts=st.lists(st.integers(0, 10_000), max_size=12))
def test_pieces_do_not_depend_on_how_the_bytes_are_cut(events, cuts):
    body = sse(*events)
    played = Played(Cohere(key="k"), split(body, cuts), messages=MESSAGES)
    assert played.pieces == stream(*events).pieces


# -- what is no answer


def test_end_is_the_last_event_and_not_done():
    assert stream(START, said("x"), done=False).completion.finish_reason is None
    assert stream(START, said("x"), end(), done=False).completion.finish_reason == "stop"
    assert stream(START, said("x")).completion.finish_reason is None


def test_nothing_is_read_behind_the_end():
    body = [sse(*THINKER, done=False), b"data: {"]
    played = Played(Cohere(key="k"), body, messages=MESSAGES)
    assert (played.error, played.read) == (None, 1)


@pytest.mark.parametrize("reason", [None, "ERROR", "TIMEOUT"])
def test_end_without_a_reason_or_with_a_bad_one_is_an_error(reason):
    kind = {None: ProtocolError, "ERROR": UpstreamError, "TIMEOUT": Timeout}[reason]
    assert type(stream(START, said("x"), end(reason)).error) is kind
    assert type(whole({"content": "x"}, reason).error) is kind


def test_error_at_the_end_says_what_it_is():
    error = stream(START, end("ERROR", error="too many tokens:\n 9 > 8")).error
    assert (type(error), error.message) == (ContextOverflow, "too many tokens: 9 > 8")


def test_error_in_place_of_an_event_is_raised():
    assert type(stream(START, {"message": "internal server error"}).error) is UpstreamError


def test_answer_at_once_where_a_stream_was_asked_for_is_taken():
    body = json.dumps({"message": {"content": "x"}, "finish_reason": "COMPLETE"}).encode()
    assert Played(Cohere(key="k"), body, messages=MESSAGES).completion.text == "x"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"{",
        b"{}",
        b'{"message": {"content": NaN}}',
        b'{"message": {"content": 7}, "finish_reason": "COMPLETE"}',
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_body_that_is_no_answer_is_a_protocol_error(body, streamed):
    played = Played(Cohere(key="k"), body, stream=streamed, messages=MESSAGES)
    assert type(played.error) is ProtocolError


@pytest.mark.parametrize(
    "data", ["data: {", 'data: {"type": "content-delta", "delta": 7}', "data: []"]
)
def test_event_that_is_malformed_is_not_skipped(data):
    assert type(stream(START, said("x"), data, end()).error) is ProtocolError


def test_lines_that_are_no_events_are_a_protocol_error():
    played = Played(Cohere(key="k"), b"just text\n\nand more\n\n", messages=MESSAGES)
    assert type(played.error) is ProtocolError
