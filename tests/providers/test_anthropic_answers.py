"""What comes back on Anthropic's wire, whole and in events, without any I/O."""

import json

import pytest
from emulators.chat import split
from emulators.messages import (
    USAGE,
    events,
    message,
    play,
    sse,
    stream,
    text,
    thinking,
    tool_use,
    whole,
)
from features import emulated
from hypothesis import given
from hypothesis import strategies as st

from router import (
    Chunk,
    Message,
    Overloaded,
    ProtocolError,
    RateLimited,
    Reasoning,
    Timeout,
    ToolCall,
    UpstreamError,
    Usage,
)

HELLO = events(text("Hello there"))
PING = {"type": "ping"}

STREAMS = {
    "plain": sse(*HELLO),
    "pings": sse(PING, HELLO[0], PING, *HELLO[1:4], PING, *HELLO[4:]),
    "comments": sse(": keep-alive", *HELLO[:3], ": keep-alive", *HELLO[3:]),
    "unknown events": sse(*HELLO[:2], {"type": "weather", "delta": "sunny"}, *HELLO[2:]),
    "unknown fields": sse({**HELLO[0], "diagnostics": None}, *HELLO[1:]),
    "events without a name": sse(*HELLO).replace(b"event: ", b"x-event: "),
    "CRLF": sse(*HELLO).replace(b"\n", b"\r\n"),
    "blanks behind the data": sse(*HELLO).replace(b"}\n\n", b"}      \n\n"),
    "blank lines before": b"\r\n\r\n" + sse(*HELLO),
    "an empty event": b"data:\n\n" + sse(*HELLO),
    "a message that began twice": sse(HELLO[0], *HELLO),
    "text behind the end": sse(*HELLO) + sse(*HELLO),
    "broken bytes behind the end": sse(*HELLO) + b"data: \xff\n\n",
    "the last line unended": sse(*HELLO)[:-1],
    "a block without its end": sse(*(e for e in HELLO if e["type"] != "content_block_stop")),
    "an end of no block": sse(*HELLO[:-2], {"type": "content_block_stop", "index": 9}, *HELLO[-2:]),
    "content in the beginning": sse(
        {"type": "message_start", "message": message(text("Hello there"))},
        {"type": "message_stop"},
    ),
    "two blocks of text": stream(text("Hello "), text("there")),
    "a whole message": whole(text("Hello there")),
    "a whole message behind blanks": b" \n\n \n" + whole(text("Hello there")),
}
"""The same answer in many forms."""


@pytest.mark.parametrize("body", STREAMS.values(), ids=STREAMS.keys())
def test_stream_is_the_same_answer_in_every_form(body):
    completion = play(body).completion
    assert completion.text == "Hello there"
    assert (completion.finish_reason, completion.usage) == (
        "stop",
        Usage(input_tokens=9, output_tokens=3),
    )
    assert (completion.id, completion.model) == ("msg_1", "claude-haiku-4-5-20251001")


CITED = {"type": "char_location", "cited_text": "Cats sleep.", "document_index": 0}
SEARCH = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"q": "🌊"}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [{"url": "u"}]}

ANSWERS = {
    "text": [text("Hello 🌊 there")],
    "thinking": [thinking("Well, 海."), text("Hello")],
    "thinking kept by the service": [thinking("", "sealed"), text("Hello")],
    "redacted thinking": [{"type": "redacted_thinking", "data": "EmwK"}, text("Hello")],
    "tools at once": [tool_use("t1", "clock", {}), tool_use("t2", "weather", {"city": "Ghent"})],
    "a tool called by a tool": [tool_use("t1", "clock", {}, caller={"type": "code", "id": "s1"})],
    "citations": [text("They "), text("sleep", CITED, {**CITED, "document_index": 1}), text(".")],
    "a tool of the service's": [text("Let me see."), SEARCH, FOUND, thinking("So"), text("Wet.")],
}
"""Contents that have to be the same answer whole and in pieces."""

BODIES = [stream(*blocks) for blocks in ANSWERS.values()]


@emulated("anthropic", "whole answers", "streaming")
@pytest.mark.parametrize("blocks", ANSWERS.values(), ids=ANSWERS.keys())
@pytest.mark.parametrize("size", [1, 4, 1000])
def test_answer_is_the_same_whole_and_in_pieces(blocks, size):
    (at_once,) = play(whole(*blocks), stream=False).completion.choices
    (in_pieces,) = play(stream(*blocks, size=size)).completion.choices
    for call in (*at_once.tool_calls, *in_pieces.tool_calls):
        assert call.parse_error is None
    assert in_pieces == at_once


@given(
    body=st.sampled_from([*sorted(STREAMS.values()), *BODIES]),
    cuts=st.lists(st.integers(0), max_size=20),
)
def test_stream_does_not_depend_on_how_its_bytes_are_split(body, cuts):
    assert play(split(body, cuts)).pieces == play(body).pieces


@pytest.mark.parametrize("body", BODIES, ids=ANSWERS.keys())
def test_stream_may_come_byte_by_byte(body):
    assert play([body[i : i + 1] for i in range(len(body))]).pieces == play(body).pieces


@given(st.binary(max_size=400))
def test_bytes_that_are_no_answer_finish_none(body):
    """The host raises for a stream that ends without a finish reason."""
    played = play(body)
    assert isinstance(played.error, ProtocolError | None)
    assert not any(piece.finish_reason for piece in played.pieces)


@given(st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=5), st.data())
def test_event_of_any_shape_is_read_or_refused(value, data):
    """Nothing but an error of the protocol comes of a field that is of another kind."""
    place = data.draw(st.integers(0, len(HELLO) - 1))
    key = data.draw(st.sampled_from(sorted({*HELLO[place], "message", "delta"} - {"type"})))
    told = [*HELLO[:place], {**HELLO[place], key: value}, *HELLO[place + 1 :]]
    error = play(sse(*told)).error
    assert error is None or isinstance(error, ProtocolError)


# -- pieces


def test_text_comes_as_str_and_a_ping_as_a_sign_of_life():
    pieces = play(STREAMS["pings"]).pieces
    assert [piece for piece in pieces if isinstance(piece, str)] == ["Hel", "lo ", "the", "re"]
    assert pieces[0] == Chunk()


def test_thinking_comes_readable_and_then_as_a_block_to_send_back():
    pieces = play(stream(thinking("Well, well.", "EqEE"), text("Hello"), size=6)).pieces
    reasoning = [piece for piece in pieces if isinstance(piece, Chunk) and piece.reasoning]
    assert [piece.reasoning for piece in reasoning] == ["Well, ", "well."]
    (block,) = [p.reasoning_block for p in pieces if isinstance(p, Chunk) and p.reasoning_block]
    assert block == Reasoning(text="Well, well.", signature="EqEE")
    places = [getattr(piece, "reasoning_block", None) == block for piece in pieces]
    assert places.index(True) < pieces.index("Hello")


def test_thinking_that_is_kept_by_the_service_is_a_seal_alone():
    completion = play(stream(*ANSWERS["thinking kept by the service"])).completion
    assert completion.choices[0].reasoning_blocks == (Reasoning(signature="sealed"),)
    assert not completion.reasoning


def test_redacted_thinking_is_data_to_send_back():
    completion = play(stream(*ANSWERS["redacted thinking"])).completion
    assert completion.choices[0].reasoning_blocks == (Reasoning(data="EmwK"),)


def test_tool_calls_are_numbered_among_themselves():
    blocks = [text("I look."), tool_use("t1", "clock", {}), tool_use("t2", "weather", {"a": 1})]
    pieces = play(stream(*blocks, stop="tool_use")).pieces
    calls = [p.tool_call for p in pieces if isinstance(p, Chunk) and p.tool_call]
    assert [(call.index, call.id, call.name) for call in calls if call.id] == [
        (0, "t1", "clock"),
        (1, "t2", "weather"),
    ]
    completion = play(stream(*blocks, stop="tool_use")).completion
    assert completion.finish_reason == "tool_calls"
    assert completion.tool_calls == (
        ToolCall(id="t1", name="clock", arguments="{}"),
        ToolCall(id="t2", name="weather", arguments='{"a": 1}'),
    )


def test_input_of_a_whole_tool_call_is_the_text_as_it_came():
    body = whole(tool_use("t1", "clock", {})).replace(b'"input": {}', b'"input": { "b":1.0,"a" :2}')
    (call,) = play(body, stream=False).completion.tool_calls
    assert call.arguments == '{ "b":1.0,"a" :2}'


def test_input_that_was_cut_is_told_as_it_came():
    """At max_tokens, and with fine-grained streaming, it may be no JSON."""
    told = events(tool_use("t1", "write", {"text": "Hello"}), stop="max_tokens", size=100)
    told[3]["delta"]["partial_json"] = '{"text": "Hel'
    (call,) = play(sse(*told)).completion.tool_calls
    assert call.arguments == '{"text": "Hel'
    assert call.parse_error


@pytest.mark.parametrize("missing", ["id", "name"])
def test_tool_call_without_a_name_or_an_id_is_refused(missing):
    block = {**tool_use("t1", "clock", {}), missing: None}
    assert "without an id or a name" in str(play(stream(block)).error)


def test_caller_of_a_tool_is_its_seal_where_it_is_no_direct_call():
    (called,) = play(stream(*ANSWERS["a tool called by a tool"])).completion.tool_calls
    assert called.signature == '{"type":"code","id":"s1"}'
    direct = tool_use("t1", "clock", {}, caller={"type": "direct"})
    assert play(stream(direct)).completion.tool_calls[0].signature is None


def test_block_without_a_name_here_is_kept_with_its_place():
    completion = play(stream(*ANSWERS["a tool of the service's"])).completion
    searched, found, thought = completion.choices[0].reasoning_blocks
    assert completion.text == "Let me see.Wet."
    assert searched.extra == {"block": SEARCH, "at": 11}
    assert found.extra == {"block": FOUND, "at": 11}
    assert thought == Reasoning(text="So", signature="sealed", extra={"at": 11})


def test_block_without_a_name_here_is_raw_as_well():
    pieces = play(stream(SEARCH, FOUND)).pieces
    raw = [piece.raw for piece in pieces if isinstance(piece, Chunk) and piece.raw]
    assert raw[1:-1] == [SEARCH, FOUND]


def test_what_a_stream_says_of_itself_and_of_its_usage_is_raw():
    """The tier, the container and the parts of the usage were nowhere in what a stream gave."""
    body = stream(text("Hi"))
    start, end = play(body).completion.raws
    assert start["message"]["usage"] == {"input_tokens": 9, "output_tokens": 1}
    assert (end["type"], end["delta"]["stop_reason"]) == ("message_delta", "end_turn")


def test_block_of_a_kind_to_come_is_put_together_from_its_pieces():
    start = {"type": "compaction", "content": None}
    deltas = [{"type": "compaction_delta", "content": piece} for piece in ("What ", "was said.")]
    told = [
        HELLO[0],
        {"type": "content_block_start", "index": 0, "content_block": start},
        *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": 0},
        *HELLO[-2:],
    ]
    (block,) = play(sse(*told)).completion.choices[0].reasoning_blocks
    assert block.extra["block"] == {"type": "compaction", "content": "What was said."}


def test_unknown_event_is_raw():
    assert (
        Chunk(raw={"type": "weather", "delta": "sunny"}) in play(STREAMS["unknown events"]).pieces
    )


def test_whole_message_is_raw():
    assert play(whole(text("Hi")), stream=False).completion.raw == message(text("Hi"))


# -- citations

WEB = {
    "type": "web_search_result_location",
    "url": "https://example.org/sea",
    "title": "The sea",
    "encrypted_index": "Eo8B",
    "cited_text": "It is wide.",
}
RESULT = {
    "type": "search_result_location",
    "source": "https://example.org/kb/7",
    "title": "Opening hours",
    "search_result_index": 2,
    "cited_text": "From nine.",
}


@emulated("anthropic", "citations")
@pytest.mark.parametrize(
    ("citation", "expected"),
    [
        (
            {**CITED, "document_title": "facts.txt"},
            (None, "facts.txt", "0", "Cats sleep."),
        ),
        (WEB, ("https://example.org/sea", "The sea", None, "It is wide.")),
        (RESULT, ("https://example.org/kb/7", "Opening hours", "2", "From nine.")),
    ],
)
def test_citation_tells_its_source_and_the_text_that_it_supports(citation, expected):
    body = stream(text("They say: "), text("it is so", citation))
    (cited,) = play(body).completion.choices[0].citations
    assert (cited.url, cited.title, cited.document, cited.quote) == expected
    assert (cited.start, cited.end) == (len("They say: "), len("They say: it is so"))
    assert cited.raw == citation


# -- usage


@emulated("anthropic", "cached tokens")
@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (USAGE, Usage(input_tokens=9, output_tokens=3)),
        (
            {**USAGE, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 20},
            Usage(input_tokens=129, output_tokens=3, cached_tokens=100, cache_write_tokens=20),
        ),
        (
            {**USAGE, "output_tokens_details": {"thinking_tokens": 2}},
            Usage(input_tokens=9, output_tokens=3, reasoning_tokens=2),
        ),
        ({"output_tokens": 3, "input_tokens": "nine"}, Usage(output_tokens=3)),
    ],
)
def test_usage_counts_cached_tokens_into_the_input(usage, expected):
    assert play(whole(text("Hi"), usage=usage), stream=False).completion.usage == expected


@pytest.mark.parametrize(
    ("usage", "otherwise"),
    [
        ({"service_tier": "standard", "inference_geo": "not_available"}, False),
        ({"server_tool_use": {"web_search_requests": 0}}, False),
        (
            {"cache_creation": {"ephemeral_5m_input_tokens": 9, "ephemeral_1h_input_tokens": 0}},
            False,
        ),
        (
            {"cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 9}},
            True,
        ),
        ({"server_tool_use": {"web_search_requests": 1}}, True),
        ({"service_tier": "priority"}, True),
        ({"inference_geo": "us"}, True),
        ({"cache_creation": None, "server_tool_use": None, "service_tier": None}, False),
    ],
)
def test_usage_says_what_is_not_priced_by_its_tokens(usage, otherwise):
    """An hour in the cache was charged as five minutes, and a search not at all."""
    used = play(whole(text("Hi"), usage={**USAGE, **usage}), stream=False).completion.usage
    assert used.priced_otherwise is otherwise


def test_usage_of_a_stream_is_that_of_its_last_event():
    told = events(text("Hi"), usage={**USAGE, "cache_read_input_tokens": 4})
    told[-2]["usage"] = {"input_tokens": 50, "cache_read_input_tokens": None, "output_tokens": 7}
    used = play(sse(*told)).completion.usage
    assert used == Usage(input_tokens=54, output_tokens=7, cached_tokens=4)


def test_usage_of_a_stream_that_is_cut_is_what_was_told_so_far():
    pieces = play(sse(*HELLO[:3])).pieces
    assert pieces[0].usage == Usage(input_tokens=9, output_tokens=1)


# -- the end


FINISHES = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "refusal",
    "pause_turn": "other",
    "a_reason_to_come": "other",
}


@pytest.mark.parametrize(("native", "finish"), FINISHES.items())
@pytest.mark.parametrize("streamed", [False, True])
def test_finish_reason_keeps_the_wires_word(native, finish, streamed):
    body = (stream if streamed else whole)(text("Hi"), stop=native)
    choice = play(body, stream=streamed).completion.choices[0]
    assert (choice.finish_reason, choice.native_finish_reason) == (finish, native)


def test_finish_reason_comes_with_the_end_alone():
    """`message_delta` names it; only `message_stop` says that all has come."""
    pieces = play(sse(*HELLO[:-1])).pieces
    assert all(isinstance(piece, str) or piece.finish_reason is None for piece in pieces)


def test_sequence_that_stopped_the_answer_is_raw():
    body = stream(text("one "), stop="stop_sequence", stop_sequence="two")
    assert play(body).pieces[-1].raw == {"stop_sequence": "two"}


def test_refusal_says_why_where_the_service_does():
    details = {"type": "refusal", "category": "cyber", "explanation": "This was blocked."}
    completion = play(stream(stop="refusal", stop_details=details)).completion
    assert (completion.finish_reason, completion.text) == ("refusal", "")
    assert completion.choices[0].refusal == "This was blocked."
    assert completion.raw == {"stop_details": details}
    bare = play(stream(stop="refusal", stop_details=None)).completion
    assert (bare.finish_reason, bare.choices[0].refusal) == ("refusal", "")


@pytest.mark.parametrize("body", [stream(text("Hi"), stop=None), whole(text("Hi"), stop=None)])
def test_end_without_a_reason_is_no_end(body):
    error = play(body).error
    assert (type(error), error.code) == (ProtocolError, "no_finish_reason")


def test_nothing_is_read_behind_the_end():
    played = play([*split(STREAMS["plain"], [100]), b"data: more"])
    assert played.read == 2


# -- white space that the caller has


@pytest.mark.parametrize(
    ("prefill", "answer", "expected"),
    [
        ("Dear", " Ada", " Ada"),
        ("Dear ", " Ada", "Ada"),
        ("Dear ", "Ada", "Ada"),
        ("Dear\n\n", "\n\nAda", "Ada"),
        ("Dear\n\n", "\n Ada", " Ada"),
        ("Dear\n", "\n\nAda", "\nAda"),
    ],
)
@pytest.mark.parametrize("size", [1, 100])
def test_white_space_that_ends_a_prefill_is_not_told_again(prefill, answer, expected, size):
    """The wire refuses it there, so that the model may say it, or not."""
    asked = [Message(role="user", content="Write"), Message(role="assistant", content=prefill)]
    played = play(stream(text(answer), size=size), messages=asked)
    sent = played.request.json["messages"][-1]["content"][-1]["text"]
    assert sent == prefill.rstrip()
    assert played.completion.text == expected


# -- what is no answer


def broken(kind, message="It failed."):
    return {"type": "error", "error": {"type": kind, "message": message}}


@pytest.mark.parametrize(
    ("kind", "error", "status"),
    [
        ("overloaded_error", Overloaded, 529),
        ("rate_limit_error", RateLimited, 429),
        ("api_error", UpstreamError, 500),
        ("timeout_error", Timeout, 504),
        ("an_error_to_come", UpstreamError, 500),
    ],
)
@pytest.mark.parametrize("said", [0, 4])
def test_error_in_a_stream_is_like_that_of_its_status(kind, error, status, said):
    failed = play(sse(*HELLO[:said], broken(kind))).error
    assert (type(failed), failed.status, failed.code) == (error, status, kind)


def test_error_in_a_stream_names_its_request():
    failed = play(sse({**broken("api_error"), "request_id": "req_9"})).error
    assert failed.request_id == "req_9"


@pytest.mark.parametrize("streamed", [False, True])
def test_error_in_place_of_a_message_is_that_error(streamed):
    for content in ({}, {"content": [text("Hi")], "stop_reason": "end_turn"}):
        body = json.dumps({**content, **broken("overloaded_error")}).encode()
        assert type(play(body, stream=streamed).error) is Overloaded


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" \n\n",
        b"<html>busy</html>",
        b"data: {oops}\n\n",
        b"data: []\n\n",
        b'data: {"type": "message_start"}\n\n',
        b'data: {"type": "content_block_delta", "index": 0, "delta": {"text": "Hi"}}\n\n',
        sse(*HELLO[:2], {**HELLO[2], "delta": {"type": "text_delta", "text": 7}}),
        sse(*HELLO[:2]) + b'data: {"type": "content_block_delta", "index": NaN}\n\n',
        sse(*HELLO[:3]) + b"data: \xff\n\n",
        b"no stream at all",
        b"{}",
        b'{"type": "message"}',
        b'{"type": "message", "stop_reason": "end_turn"}',
        whole(text("Hi"))[:-5],
        whole(text("Hi"), content="Hi"),
    ],
)
def test_what_is_malformed_is_an_error_of_the_protocol(body):
    assert isinstance(play(body).error, ProtocolError)
