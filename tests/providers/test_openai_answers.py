"""What comes back on OpenAI's wire, in the dialects of its services, without any I/O."""

import json
from itertools import count

import pytest
from emulators.chat import DONE, Played, call, chunk, delta, message, split, sse
from hypothesis import given
from hypothesis import strategies as st

from providers.compatible import openrouter
from providers.openai import openai
from providers.openai_answers import FINISH_REASONS
from router import (
    BadRequest,
    Chunk,
    Citation,
    ContextOverflow,
    ModelNotFound,
    Overloaded,
    ProtocolError,
    RateLimited,
    ToolCall,
    UpstreamError,
    Usage,
)

PROVIDER = openai(key="a-key")


def counting():
    """A provider whose new ids are numbered, not drawn."""
    provider, numbers = openai(key="a-key"), count(1)
    provider.new_id = lambda: f"new-{next(numbers)}"
    return provider


USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
ROLE = chunk(delta(role="assistant", content=""))
HELLO = chunk(delta(content="Hello"))
THERE = chunk(delta(content=" there"))
STOP = chunk(delta("stop"))

WEATHER = ToolCall(id="call_1", name="weather", arguments='{"city": "Ghent"}')
CLOCK = ToolCall(id="call_2", name="clock", arguments="{}")

STREAMS = {
    "plain": sse(ROLE, HELLO, THERE, STOP, chunk(usage=USAGE)),
    "usage with the finish": sse(HELLO, THERE, chunk(delta("stop"), usage=USAGE)),
    "usage in every chunk": sse(
        chunk(delta(content="Hello"), usage={**USAGE, "completion_tokens": 1}),
        chunk(delta(content=" there"), usage={**USAGE, "completion_tokens": 2}),
        chunk(delta("stop"), usage=USAGE),
    ),
    "usage in Groq's place": sse(HELLO, THERE, chunk(delta("stop"), x_groq={"usage": USAGE})),
    "usage at the choice": sse(HELLO, THERE, chunk({**delta("stop"), "usage": USAGE})),
    "usage with a repeated finish": sse(HELLO, THERE, STOP, chunk(delta("stop"), usage=USAGE)),
    "text with the finish": sse(HELLO, chunk(delta("stop", content=" there"), usage=USAGE)),
    "no [DONE]": sse(HELLO, THERE, STOP, chunk(usage=USAGE), done=False),
    "a second [DONE]": sse(HELLO, THERE, STOP, chunk(usage=USAGE)) + DONE,
    "text behind [DONE]": sse(HELLO, THERE, STOP, chunk(usage=USAGE)) + sse(HELLO),
    "broken bytes behind [DONE]": sse(HELLO, THERE, STOP, chunk(usage=USAGE)) + b"data: \xff\n\n",
    "a finish without a delta": sse(
        HELLO, THERE, chunk({"finish_reason": "stop", "delta": None}, usage=USAGE)
    ),
    "a second finish": sse(HELLO, THERE, STOP, chunk(delta("length")), chunk(usage=USAGE)),
    "text behind the finish": sse(HELLO, THERE, STOP, HELLO, chunk(usage=USAGE)),
    "the last line unended": sse(HELLO, THERE, chunk(delta("stop"), usage=USAGE), done=False)[:-2],
    "CRLF": sse(HELLO, THERE, STOP, chunk(usage=USAGE)).replace(b"\n", b"\r\n"),
    "a byte order mark": b"\xef\xbb\xbf" + sse(HELLO, THERE, STOP, chunk(usage=USAGE)),
    "blank lines before": b"\r\n\r\n" + sse(HELLO, THERE, STOP, chunk(usage=USAGE)),
    "comments": sse(": PROCESSING", HELLO, ": ping", THERE, STOP, chunk(usage=USAGE)),
    "named events": sse("event: x\ndata: {}", HELLO, THERE, STOP, chunk(usage=USAGE)),
    "an empty event": sse("data:", HELLO, THERE, STOP, chunk(usage=USAGE)),
    "a preamble without ids": sse(
        chunk(id="", model="", prompt_filter_results=[{"prompt_index": 0}]),
        *(HELLO, THERE, STOP, chunk(usage=USAGE)),
    ),
    "nulls": sse(
        chunk(delta(content=None, refusal=None, tool_calls=None, reasoning_content=None)),
        *(HELLO, THERE, chunk(delta("stop", content=None), error=None), chunk(usage=USAGE)),
    ),
    "an empty finish": sse(chunk(delta("", content="Hello")), THERE, STOP, chunk(usage=USAGE)),
    "a finish that is a word for none": sse(
        *(chunk(delta("null", content=text)) for text in ("", "Hello", " there")),
        *(chunk(delta("stop", content="")), chunk(usage=USAGE)),
    ),
    "a finish in every chunk": sse(
        *(chunk(delta("stop", content=text)) for text in ("", "Hello", "", " there", "")),
        chunk(usage=USAGE),
    ),
    "a finish and the usage in every chunk": sse(
        *(chunk(delta("stop", content=text), usage=USAGE) for text in ("", "Hello", " there")),
    ),
    "a finish before the text": sse(
        chunk(delta("length", content="")), HELLO, THERE, STOP, chunk(usage=USAGE)
    ),
    "values of other types where they change nothing": sse(
        chunk({**delta(content="Hello"), "index": None}, usage=[], created="now", x_groq="no"),
        chunk({**delta(content=" there", reasoning={"effort": "low"}), "index": "0"}, id=7),
        chunk({**delta("stop"), "native_finish_reason": 0, "usage": "no"}, model=["gpt"]),
        chunk(usage={"prompt_tokens": 9.0, "completion_tokens": "3", "total_tokens": 12.0}),
    ),
    "the message so far beside": sse(
        chunk({**delta(content="Hello"), "message": {"content": "Hello"}}),
        chunk({**delta(content=" there"), "message": {"content": "Hello there"}}),
        *(STOP, chunk(usage=USAGE)),
    ),
    "parts": sse(
        chunk(delta(content=[{"type": "text", "text": "Hello"}])),
        chunk(delta(content=[{"type": "text", "text": " "}, {"type": "text", "text": "there"}])),
        *(STOP, chunk(usage=USAGE)),
    ),
    "a whole completion": json.dumps(chunk(message(content="Hello there"), usage=USAGE)).encode(),
    "a whole completion with values of other types": json.dumps(
        chunk(
            {**message(content="Hello there", reasoning={"text": 1}), "index": None},
            usage={"prompt_tokens": 9.0, "completion_tokens": 3.0},
            created=1.5,
        )
    ).encode(),
    "a whole completion behind blanks": b" \n\n \n"
    + json.dumps(chunk(message(content="Hello there"), usage=USAGE)).encode(),
}
"""The same answer in many forms."""


@pytest.mark.parametrize("body", STREAMS.values(), ids=STREAMS.keys())
def test_stream_is_the_same_answer_in_every_form(body):
    completion = Played(PROVIDER, body).completion
    assert completion.text == "Hello there"
    assert completion.finish_reason == "stop"
    assert completion.usage == Usage(input_tokens=9, output_tokens=3)
    assert completion.id == "chatcmpl-1"
    assert completion.model == "gpt-4o-mini-2024-07-18"


@given(body=st.sampled_from(sorted(STREAMS.values())), cuts=st.lists(st.integers(0), max_size=20))
def test_stream_does_not_depend_on_how_its_bytes_are_split(body, cuts):
    assert Played(PROVIDER, split(body, cuts)).pieces == Played(PROVIDER, body).pieces


@pytest.mark.parametrize("body", STREAMS.values(), ids=STREAMS.keys())
def test_stream_may_come_byte_by_byte(body):
    bytes_ = [body[i : i + 1] for i in range(len(body))]
    assert Played(PROVIDER, bytes_).pieces == Played(PROVIDER, body).pieces


def test_text_comes_as_str():
    pieces = Played(PROVIDER, STREAMS["plain"]).pieces
    assert [piece for piece in pieces if isinstance(piece, str)] == ["Hello", " there"]


def test_text_beyond_ascii_comes_whole_however_it_is_split():
    body = b'data: {"choices":[{"delta":{"content":"\xf0\x9f\x8c\x8a \xe6\xb5\xb7"}}]}\n\n' + sse(
        STOP
    )
    pieces = [body[i : i + 1] for i in range(len(body))]
    assert Played(PROVIDER, pieces).completion.text == "🌊 海"


def test_chunk_without_content_is_a_sign_of_life_and_commits_nothing():
    pieces = Played(PROVIDER, sse(": ping", ROLE, ROLE, "data:", HELLO, STOP)).pieces
    before = pieces[: pieces.index("Hello")]
    named = Chunk(id="chatcmpl-1", model=HELLO["model"], raw=ROLE)
    assert before == [Chunk(), named, Chunk(), Chunk()]


def test_nothing_is_read_behind_done():
    """A server that keeps the connection open behind it must not keep the caller waiting."""
    played = Played(PROVIDER, [sse(HELLO, STOP), b": still here\n\n"])
    assert played.completion.text == "Hello"
    assert played.read == 1


CITED = {
    "type": "url_citation",
    "url_citation": {
        "url": "https://example.org/sea",
        "title": "The sea",
        "start_index": 4,
        "end_index": 7,
        "content": "Wide.",
    },
}
NOTED = {"type": "file_citation", "file_citation": {"file_id": "file-1"}}
WRONG = {"type": "url_citation", "url_citation": {"url": 5}}
FOUND = {
    "type": "tool_reference",
    "tool": "web_search",
    "title": "The sea",
    "url": "https://example.org/sea",
    "description": "Wide.",
}

# -- what an answer may be made of: (its stream, its whole message, what both come to)

ANSWERS = {
    "reasoning_content": (
        [delta(reasoning_content="Let me"), delta(reasoning_content=" see."), delta(content="4")],
        message(reasoning_content="Let me see.", content="4"),
        {"reasoning": "Let me see.", "text": "4"},
    ),
    "reasoning": (
        [delta(reasoning="Let me"), delta(reasoning=" see.", content=""), delta(content="4")],
        message(reasoning="Let me see.", content="4"),
        {"reasoning": "Let me see.", "text": "4"},
    ),
    "reasoning under both names": (
        [delta(reasoning="Hm.", reasoning_content="Hm."), delta(content="4")],
        message(reasoning="Hm.", reasoning_content="Hm.", content="4"),
        {"reasoning": "Hm.", "text": "4"},
    ),
    "thinking in parts": (
        [
            delta(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "H"}]}]),
            delta(content=[{"type": "thinking", "thinking": "m."}]),
            delta(content="4"),
        ],
        message(
            content=[
                {"type": "thinking", "thinking": [{"text": "H"}, {"text": "m."}]},
                {"type": "text", "text": "4"},
            ]
        ),
        {"reasoning": "Hm.", "text": "4"},
    ),
    "refusal": (
        [delta(refusal="I will"), delta(refusal=" not.")],
        message(refusal="I will not.", content=None),
        {"refusal": "I will not.", "text": ""},
    ),
    "reasoning in details alone": (
        [
            delta(reasoning_details=[{"type": "reasoning.summary", "summary": "H", "index": 0}]),
            delta(reasoning_details=[{"type": "reasoning.summary", "summary": "m.", "index": 0}]),
            delta(content="4"),
        ],
        message(
            reasoning_details=[{"type": "reasoning.summary", "summary": "Hm.", "index": 0}],
            content="4",
        ),
        {"reasoning": "Hm.", "text": "4", "reasoning_blocks": ()},
    ),
    "citations": (
        [delta(content="The sea"), delta(content=" is wide.", annotations=[CITED, CITED, NOTED])],
        message(content="The sea is wide.", annotations=[CITED, NOTED]),
        {
            "text": "The sea is wide.",
            "citations": (
                Citation(
                    url="https://example.org/sea",
                    title="The sea",
                    start=4,
                    end=7,
                    quote="Wide.",
                    raw=CITED,
                ),
                Citation(document="file-1", raw=NOTED),
            ),
        },
    ),
    "notes of shapes that nobody knows": (
        [delta(content="4", annotations=[WRONG, 5], reasoning_details={"a": 1})],
        message(content="4", annotations={"a": 1}, reasoning_details=[5]),
        {"text": "4"},
    ),
    "function call of old": (
        [
            delta(function_call={"name": "clock", "arguments": "{"}),
            delta(function_call={"arguments": "}"}),
        ],
        message(function_call={"name": "clock", "arguments": "{}"}),
        {"tool_calls": (ToolCall(id="call_new1", name="clock", arguments="{}"),)},
    ),
    "function call of old that calls nothing": (  # it was a call without a name
        [delta(content="4", function_call={})],
        message(content="4", function_call={"name": "", "arguments": None}),
        {"text": "4", "tool_calls": ()},
    ),
    "tool call in pieces": (
        [
            delta(content=None, tool_calls=[call(0, "call_1", name="weather", arguments="")]),
            delta(tool_calls=[call(0, arguments='{"city":')]),
            delta(tool_calls=[call(0, arguments=' "Ghent"}')]),
        ],
        message(
            content=None,
            tool_calls=[call(None, "call_1", name="weather", arguments='{"city": "Ghent"}')],
        ),
        {"tool_calls": (WEATHER,)},
    ),
    "two tool calls interleaved": (
        [
            delta(tool_calls=[call(0, "call_1", name="weather", arguments="")]),
            delta(tool_calls=[call(1, "call_2", name="clock", arguments="")]),
            delta(tool_calls=[call(0, arguments='{"city":'), call(1, arguments="{")]),
            delta(tool_calls=[call(1, arguments="}"), call(0, arguments=' "Ghent"}')]),
        ],
        None,
        {"tool_calls": (WEATHER, CLOCK)},
    ),
    "tool calls out of order with a gap": (
        [
            delta(tool_calls=[call(5, "call_2", name="clock", arguments="{}")]),
            delta(tool_calls=[call(2, "call_1", name="weather", arguments='{"city": "Ghent"}')]),
        ],
        None,
        {"tool_calls": (WEATHER, CLOCK)},
    ),
    "tool calls without a number": (
        [
            delta(tool_calls=[call(None, "call_1", name="weather", arguments='{"city":')]),
            delta(tool_calls=[call(None, arguments=' "Ghent"}')]),
            delta(tool_calls=[call(None, "call_2", name="clock", arguments="{}")]),
        ],
        message(
            tool_calls=[
                call(None, "call_1", name="weather", arguments='{"city": "Ghent"}'),
                call(None, "call_2", name="clock", arguments="{}"),
            ]
        ),
        {"tool_calls": (WEATHER, CLOCK)},
    ),
    "tool calls known by their places alone": (
        [
            delta(
                tool_calls=[
                    call(None, "call_1", name="weather", arguments=""),
                    call(None, "call_2", name="clock", arguments=""),
                ]
            ),
            delta(
                tool_calls=[
                    call(None, arguments='{"city": "Ghent"}'),
                    call(None, arguments="{"),
                ]
            ),
            delta(tool_calls=[call(None, arguments="}")]),
        ],
        None,
        {"tool_calls": (WEATHER, CLOCK)},
    ),
    "tool calls known by their ids alone": (
        [
            delta(tool_calls=[call(None, "call_1", name="weather", arguments='{"city":')]),
            delta(tool_calls=[call(None, "call_2", name="clock", arguments="{")]),
            delta(tool_calls=[call(None, "call_1", arguments=' "Ghent"}')]),
            delta(tool_calls=[call(None, "call_2", arguments="}")]),
        ],
        None,
        {"tool_calls": (WEATHER, CLOCK)},
    ),
    "tool calls without numbers and ids": (
        [
            delta(tool_calls=[call(None, name="weather", arguments="{")]),
            delta(tool_calls=[call(None, arguments="}")]),
            delta(tool_calls=[call(None, name="clock", arguments="{}")]),
        ],
        message(
            tool_calls=[
                call(None, name="weather", arguments="{}"),
                call(None, name="clock", arguments="{}"),
            ]
        ),
        {
            "tool_calls": (
                ToolCall(id="call_new1", name="weather", arguments="{}"),
                ToolCall(id="call_new2", name="clock", arguments="{}"),
            )
        },
    ),
    "tool calls that share a number": (
        [
            delta(tool_calls=[call(3, "call_1", name="weather", arguments='{"city": "Ghent"}')]),
            delta(tool_calls=[call(3, "call_2", name="clock", arguments="{")]),
            delta(tool_calls=[call(3, arguments="}")]),
        ],
        message(
            tool_calls=[
                call(3, "call_1", name="weather", arguments='{"city": "Ghent"}'),
                call(3, "call_2", name="clock", arguments="{}"),
            ]
        ),
        {"tool_calls": (WEATHER, CLOCK)},
    ),
    "calls of one function that share a number and have no ids": (  # they were one call
        [
            delta(tool_calls=[call(0, name="weather", arguments='{"city": "Ghent"}')]),
            delta(tool_calls=[call(0, name="weather", arguments='{"city": "Pisa"}')]),
        ],
        message(
            tool_calls=[
                call(0, name="weather", arguments='{"city": "Ghent"}'),
                call(0, name="weather", arguments='{"city": "Pisa"}'),
            ]
        ),
        {
            "tool_calls": (
                ToolCall(id="call_new1", name="weather", arguments='{"city": "Ghent"}'),
                ToolCall(id="call_new2", name="weather", arguments='{"city": "Pisa"}'),
            )
        },
    ),
    "tool call whose name is repeated without an id": (
        [
            delta(tool_calls=[call(0, name="weather", arguments="")]),
            delta(tool_calls=[call(0, name="weather", arguments='{"city": "Ghent"}')]),
            delta(tool_calls=[call(0, name="weather", arguments="")]),
        ],
        None,
        {"tool_calls": (ToolCall(id="call_new1", name="weather", arguments='{"city": "Ghent"}'),)},
    ),
    "tool call whose id comes late": (  # a made-up one stood in its place
        [
            delta(tool_calls=[call(0, name="weather", arguments="")]),
            delta(tool_calls=[call(0, "call_1", arguments='{"city": "Ghent"}')]),
        ],
        None,
        {"tool_calls": (WEATHER,)},
    ),
    "tool call whose number is a text and whose id is a number": (
        [
            delta(tool_calls=[call("0", 7, name="clock", arguments="{")]),
            delta(tool_calls=[call("0", 7, arguments="}")]),
        ],
        message(tool_calls=[call("0", 7, name="clock", arguments="{}")]),
        {"tool_calls": (ToolCall(id="7", name="clock", arguments="{}"),)},
    ),
    "a page that a tool found": (  # Mistral's; it was left out
        [delta(content=[{"type": "text", "text": "Wide."}, FOUND])],
        message(content=[{"type": "text", "text": "Wide."}, FOUND]),
        {
            "text": "Wide.",
            "citations": (Citation(url="https://example.org/sea", title="The sea", raw=FOUND),),
        },
    ),
    "tool call whose id and name are repeated": (
        [
            delta(tool_calls=[call(0, "call_1", name="weather", arguments='{"city":')]),
            delta(tool_calls=[call(0, "call_1", name="weather", arguments=' "Ghent"}')]),
        ],
        None,
        {"tool_calls": (WEATHER,)},
    ),
    "tool call whose id is emptied": (
        [
            delta(tool_calls=[call(0, "call_1", name="weather", arguments="")]),
            delta(tool_calls=[call(0, "", arguments='{"city": "Ghent"}')]),
        ],
        None,
        {"tool_calls": (WEATHER,)},
    ),
    "tool call with an object": (
        [delta(tool_calls=[call(0, "call_2", name="clock", arguments={})])],
        message(tool_calls=[call(0, "call_2", name="clock", arguments={})]),
        {"tool_calls": (CLOCK,)},
    ),
    "tool call without arguments": (  # they were no JSON at all
        [
            delta(tool_calls=[call(0, "call_2", name="clock", arguments="")]),
            delta(tool_calls=[call(0, arguments="")]),
        ],
        message(tool_calls=[call(None, "call_2", name="clock", arguments="")]),
        {"tool_calls": (CLOCK,)},
    ),
    "custom tool without input": (
        [delta(tool_calls=[{"index": 0, "id": "c", "custom": {"name": "sum", "input": ""}}])],
        message(tool_calls=[{"id": "c", "custom": {"name": "sum", "input": ""}}]),
        {"tool_calls": (ToolCall(id="c", name="sum", arguments="", custom=True),)},
    ),
    "custom tool": (
        [
            delta(tool_calls=[{"index": 0, "id": "c", "custom": {"name": "sum", "input": "4 +"}}]),
            delta(tool_calls=[{"index": 0, "custom": {"input": " 4"}}]),
        ],
        message(tool_calls=[{"id": "c", "custom": {"name": "sum", "input": "4 + 4"}}]),
        {"tool_calls": (ToolCall(id="c", name="sum", arguments="4 + 4", custom=True),)},
    ),
}


@pytest.mark.parametrize(("deltas", "whole", "expected"), ANSWERS.values(), ids=ANSWERS.keys())
def test_answer_is_read_from_its_stream_and_from_its_whole(deltas, whole, expected):
    bodies = {True: sse(*map(chunk, deltas), STOP)}
    if whole is not None:
        bodies[False] = json.dumps(chunk(whole)).encode()
    for stream, body in bodies.items():
        choice = Played(counting(), body, stream=stream).completion.choices[0]
        assert {name: getattr(choice, name) for name in expected} == expected
        # Where a call was demanded, OpenAI's own word is "stop" too.
        assert choice.finish_reason == ("tool_calls" if choice.tool_calls else "stop")
        assert choice.native_finish_reason == "stop"


@given(name=st.sampled_from(sorted(ANSWERS)), cuts=st.lists(st.integers(0), max_size=20))
def test_answer_does_not_depend_on_how_its_bytes_are_split(name, cuts):
    body = sse(*map(chunk, ANSWERS[name][0]), STOP)
    assert Played(counting(), split(body, cuts)).pieces == Played(counting(), body).pieces


def test_name_of_a_tool_call_may_come_behind_its_id():
    """It was left out, and the call had no name."""
    pieces = [
        {"index": 0, "id": "call_1", "type": "function"},
        call(0, name="weather", arguments=""),
        call(0, name="weather", arguments='{"city": '),
        call(0, arguments='"Ghent"}'),
    ]
    body = sse(*(chunk(delta(tool_calls=[piece])) for piece in pieces), chunk(delta("tool_calls")))
    assert Played(PROVIDER, body).completion.tool_calls == (WEATHER,)


@pytest.mark.parametrize("together", [True, False])
def test_calls_of_one_number_and_no_id_are_kept_apart_by_their_names(together):
    """The second one's arguments were put behind the first one's."""
    calls = [call(0, name=each.name, arguments=each.arguments) for each in (WEATHER, CLOCK)]
    deltas = [delta(tool_calls=calls)] if together else [delta(tool_calls=[c]) for c in calls]
    completion = Played(PROVIDER, sse(*map(chunk, deltas), chunk(delta("tool_calls")))).completion
    told = [(each.name, each.arguments) for each in completion.tool_calls]
    assert told == [(each.name, each.arguments) for each in (WEATHER, CLOCK)]
    assert len({each.id for each in completion.tool_calls}) == 2


def test_id_that_was_made_for_a_tool_call_is_one_that_openai_takes():
    """Its ids have at most 40 characters, and the conversation may go on there."""
    body = sse(chunk(delta("tool_calls", tool_calls=[call(0, name="f", arguments="{}")])))
    ids = {Played(PROVIDER, body).completion.tool_calls[0].id for _ in range(2)}
    assert len(ids) == 2
    assert all(len(id_) <= 40 for id_ in ids)


def test_sources_beside_the_choices_may_be_of_any_shape():
    for wrong in (5, "text", {"a": 1}, [5], [{"title": 5}]):
        body = sse(chunk(delta(content="4"), citations=wrong, search_results=wrong), STOP)
        assert Played(PROVIDER, body).completion.text == "4"


def test_chunk_that_tells_the_usage_stays_reachable():
    told = chunk(usage={"prompt_tokens": 1, "completion_tokens": 2, "cost": 0.25})
    assert Played(PROVIDER, sse(HELLO, STOP, told)).completion.raw["usage"]["cost"] == 0.25


def test_tool_call_with_arguments_that_are_no_json_comes_as_it_is():
    body = sse(chunk(delta("tool_calls", tool_calls=[call(0, "c", name="f", arguments='{"a":')])))
    (made,) = Played(PROVIDER, body).completion.choices[0].tool_calls
    assert made.arguments == '{"a":'
    assert made.parse_error


@pytest.mark.parametrize("stream", [True, False])
def test_choices_are_kept_apart(stream):
    streamed = sse(
        chunk(delta(index=1, content="Good")),
        chunk(delta(index=0, content="Hel"), delta(index=1, content=" day")),
        chunk(delta("length", index=1)),
        chunk(delta("stop", index=0, content="lo")),
    )
    whole = chunk(
        message(content="Hello"), message("length", index=1, content="Good day"), usage=USAGE
    )
    body = streamed if stream else json.dumps(whole).encode()
    choices = Played(PROVIDER, body, stream=stream).completion.choices
    assert [(c.index, c.text, c.finish_reason) for c in choices] == [
        (0, "Hello", "stop"),
        (1, "Good day", "length"),
    ]


@pytest.mark.parametrize("native", [*FINISH_REASONS, "something_new"])
def test_finish_reason_keeps_the_services_word_beside_it(native):
    choice = Played(PROVIDER, sse(HELLO, chunk(delta(native)))).completion.choices[0]
    assert choice.finish_reason == FINISH_REASONS.get(native, "other")
    assert choice.native_finish_reason == native


def test_finish_reason_keeps_the_word_of_the_service_behind_a_gateway():
    end = {**delta("tool_calls"), "native_finish_reason": "tool_use"}
    choice = Played(PROVIDER, sse(HELLO, chunk(end))).completion.choices[0]
    assert (choice.finish_reason, choice.native_finish_reason) == ("tool_calls", "tool_use")


USAGES = {
    "details": (
        {
            **USAGE,
            "prompt_tokens_details": {
                "cached_tokens": 4,
                "cache_write_tokens": 5,
                "audio_tokens": 1,
            },
            "completion_tokens_details": {"reasoning_tokens": 2, "audio_tokens": 2},
        },
        Usage(
            input_tokens=9,
            output_tokens=3,
            cached_tokens=4,
            cache_write_tokens=5,
            reasoning_tokens=2,
            audio_tokens=3,
            priced_otherwise=True,
        ),
    ),
    "reasoning beside the completion": (
        {
            **USAGE,
            "total_tokens": 302,
            "completion_tokens_details": {"reasoning_tokens": 290},
        },
        Usage(input_tokens=9, output_tokens=293, reasoning_tokens=290),
    ),
    "audio beside the prompt": (
        {**USAGE, "total_tokens": 387, "prompt_tokens_details": {"audio_tokens": 375}},
        Usage(input_tokens=384, output_tokens=3, audio_tokens=375),
    ),
    "DeepSeek's cache": (
        {**USAGE, "prompt_cache_hit_tokens": 8, "prompt_cache_miss_tokens": 1},
        Usage(input_tokens=9, output_tokens=3, cached_tokens=8),
    ),
    "Vercel's cache": (
        {**USAGE, "cache_creation_input_tokens": 7},
        Usage(input_tokens=9, output_tokens=3, cache_write_tokens=7),
    ),
    "Together's cache": (
        {**USAGE, "cached_tokens": 0},
        Usage(input_tokens=9, output_tokens=3, cached_tokens=0),
    ),
    "null details": (
        {**USAGE, "prompt_tokens_details": None, "completion_tokens_details": None},
        Usage(input_tokens=9, output_tokens=3),
    ),
    "no numbers": (
        {"prompt_tokens": None, "completion_tokens": "many", "total_tokens": "9" * 5000},
        Usage(),
    ),
    "numbers of other types": (
        {"prompt_tokens": 9.0, "completion_tokens": "3", "total_tokens": 12.5},
        Usage(input_tokens=9, output_tokens=3),
    ),
}


@pytest.mark.parametrize(("wire", "usage"), USAGES.values(), ids=USAGES.keys())
def test_usage_counts_what_is_cached_and_what_is_reasoning(wire, usage):
    assert Played(PROVIDER, sse(HELLO, STOP, chunk(usage=wire))).completion.usage == usage


@pytest.mark.parametrize(
    ("usage", "beside", "otherwise"),
    [
        ({}, {}, False),
        ({}, {"service_tier": "default"}, False),
        ({}, {"service_tier": "flex"}, True),
        ({"num_sources_used": 0}, {}, False),
        ({"num_sources_used": 3}, {}, True),
        ({"prompt_tokens_details": {"audio_tokens": 3}}, {}, False),
        ({"completion_tokens_details": {"audio_tokens": 3}}, {}, True),
    ],
)
def test_usage_says_what_is_not_priced_by_its_tokens(usage, beside, otherwise):
    """Speech was charged as what is heard, a search not at all: what it cost was a guess."""
    told = chunk(usage={**USAGE, **usage}, **beside)
    completion = Played(PROVIDER, sse(HELLO, STOP, told)).completion
    assert completion.usage.priced_otherwise is otherwise


def test_usage_that_is_missing_is_unknown():
    assert Played(PROVIDER, sse(HELLO, STOP)).completion.usage is None


def test_whole_completion_keeps_what_has_no_name_here():
    body = chunk(message(content="Hi"), citations=["https://example.org"], system_fingerprint="fp")
    played = Played(PROVIDER, json.dumps(body).encode(), stream=False)
    assert played.completion.raw == body


def test_usage_beside_an_error_behind_the_finish_reason_counts():
    """The error is none of a whole answer's, but what the answer has cost was left out with it."""
    error = {"code": 400, "message": "No more tokens"}
    body = sse(HELLO, chunk(delta("length")), chunk(delta(content=""), error=error, usage=USAGE))
    completion = Played(PROVIDER, body).completion
    assert completion.usage == Usage(input_tokens=9, output_tokens=3)
    assert completion.choices[0].finish_reason == "length"


UNNAMED = {
    "of a delta": delta(audio={"data": "UklG"}),
    "of a delta with text": delta(content=" there", images=[{"type": "image_url"}]),
    "of a delta that nobody knows yet": delta(something={"new": 1}),
    "of a tool call": delta(tool_calls=[{**call(0, "c", name="f"), "extra_content": {"seal": 1}}]),
    "of a part": delta(content=[{"type": "text", "text": " there", "annotations": [1]}]),
    "of a part that nobody knows yet": delta(content=[{"type": "film", "film": 1}]),
    "of a choice": {**delta(content=" there"), "content_filter_results": {"hate": {}}},
    "of a choice that is mostly null": {**delta(content=" there"), "stop_reason": 128},
}


@pytest.mark.parametrize("choice", UNNAMED.values(), ids=UNNAMED.keys())
def test_stream_keeps_what_has_no_name_here(choice):
    """It was nowhere in what a stream gave."""
    told = chunk(choice)
    played = Played(PROVIDER, sse(ROLE, HELLO, told, THERE, STOP))
    assert Chunk(raw=told) in played.pieces
    assert told in played.completion.raws
    assert played.completion.text in ("Hello there", "Hello there there")


def test_stream_keeps_what_has_no_name_beside_the_choices():
    """Of a stream only the chunk that told the usage was kept."""
    pictures = chunk(delta(content=" there"), images=[{"image_url": "https://example.org/a.png"}])
    told = chunk(usage={**USAGE, "cost": 0.25})
    body = sse(ROLE, HELLO, pictures, pictures, STOP, told)
    assert Played(PROVIDER, body).completion.raws == (ROLE, pictures, told)


MEDIA = {
    "a sound": delta(audio={"id": "audio_1", "data": "UklG"}),
    "pictures": delta(content="", images=[{"type": "image_url", "image_url": {"url": "data:a"}}]),
}


@pytest.mark.parametrize("choice", MEDIA.values(), ids=MEDIA.keys())
def test_pictures_and_sounds_are_content(choice):
    """They committed to nothing: a stream of them had no first token, and was begun anew elsewhere
    when it broke. At its end, without [DONE], it was waited for."""
    played = Played(PROVIDER, sse(ROLE, chunk(choice), STOP))
    assert [piece.media for piece in played.pieces if piece.has_content] == [True]
    assert played.completion.choices[0].media
    assert not played.completion.empty


def test_whole_answer_of_a_sound_is_not_empty():
    body = chunk(message(audio={"id": "audio_1", "data": "UklG", "transcript": "Hi"}))
    played = Played(PROVIDER, json.dumps(body).encode(), stream=False)
    assert played.completion.choices[0].media
    assert not played.completion.empty


def test_finish_reason_beside_the_last_text_says_that_the_answer_may_be_over():
    """Whether more would come was waited for as in the middle of an answer."""
    played = Played(PROVIDER, sse(HELLO, chunk(delta("stop", content=" there"))))
    assert Chunk(native_finish_reason="stop") in played.pieces


def test_finish_reason_that_text_has_followed_says_nothing():
    body = sse(*(chunk(delta("stop", content=word)) for word in "abc"))
    assert Played(PROVIDER, body).pieces.count(Chunk(native_finish_reason="stop")) == 1


def test_pieces_that_have_no_name_here_are_all_kept_though_they_are_alike():
    silence = chunk(delta(audio={"data": "AAAA"}))
    completion = Played(PROVIDER, sse(silence, silence, silence, STOP)).completion
    assert completion.raws == (silence, silence, silence)


def test_usage_in_every_chunk_is_kept_once():
    """What a service repeats, with its sources, would be held as often as it has chunks."""
    texts = [chunk(delta(content="a"), usage={**USAGE, "cost": n}) for n in range(5)]
    last = chunk(delta("stop"), usage={**USAGE, "cost": 5})
    assert Played(PROVIDER, sse(*texts, last)).completion.raws == (texts[0], last)


@pytest.mark.parametrize("name", ["audio", "something"])
def test_chunk_that_says_that_something_is_not_there_is_plain(name):
    plain = chunk(delta(content="a", **{name: None}))
    assert Played(PROVIDER, sse(ROLE, plain, STOP)).completion.raws == (ROLE,)


def test_log_probabilities_come_with_their_text():
    probabilities = {"content": [{"token": "Hello", "logprob": -0.5}]}
    body = sse(chunk({**delta(content="Hello"), "logprobs": probabilities}), STOP)
    pieces = Played(PROVIDER, body, logprobs=True).pieces
    assert Chunk(text="Hello", logprobs=tuple(probabilities["content"])) in pieces


def test_seal_behind_the_finish_reason_is_kept():
    """It was never told, and the next turn went without it."""
    seal = {"type": "reasoning.encrypted", "data": "c2VhbA==", "index": 0}
    body = sse(HELLO, STOP, chunk(delta(reasoning_details=[seal])), chunk(usage=USAGE))
    completion = Played(openrouter(key="a-key"), body).completion
    assert [block.data for block in completion.choices[0].reasoning_blocks] == ["c2VhbA=="]


def test_log_probability_of_a_certain_token_is_kept():
    """A 0 came as an integer, and was taken for none."""
    pieces = Played(PROVIDER, sse(chunk({**delta(content="Hello"), "logprobs": 0}), STOP)).pieces
    assert Chunk(text="Hello", logprobs=({"token": "Hello", "logprob": 0},)) in pieces


# -- what is no answer

RATE = {"message": "Too many requests", "type": "requests", "code": "rate_limit_exceeded"}
OVERLOADED = {"error": {"message": "Busy", "code": "server_is_overloaded"}}

FAULTS = {
    "empty body": (b"", ProtocolError, "empty body"),
    "blank body": (b" \r\n\n", ProtocolError, "empty body"),
    "HTML": (b"<!DOCTYPE html><html><body>Sign in</body></html>", ProtocolError, "malformed"),
    "text": (b"upstream connect error\n", ProtocolError, "no stream of events"),
    "broken JSON": (sse(HELLO, 'data: {"choices": [', STOP), ProtocolError, "malformed"),
    "NaN": (sse(HELLO, 'data: {"choices": [], "usage": {"a": NaN}}'), ProtocolError, "malformed"),
    "an object in an array's place": (sse(chunk(choices={})), ProtocolError, "malformed"),
    "a number in a text's place": (sse(chunk(delta(content=7))), ProtocolError, "malformed"),
    "invalid UTF-8": (
        sse(HELLO, done=False) + b'data: {"a": "\xff"}\n\n',
        *(ProtocolError, "UTF-8"),
    ),
    "[DONE] alone": (DONE, ProtocolError, "without a finish reason"),
    "[DONE] without a finish": (sse(HELLO, chunk(usage=USAGE)), ProtocolError, "without a finish"),
    "a body cut": (b'{"choices": [{"message": {"content": "Hel', ProtocolError, "malformed"),
    "a whole error": (json.dumps({"error": RATE}).encode(), RateLimited, "Too many requests"),
    "no message": (json.dumps(chunk({"text": "Hi"})).encode(), ProtocolError, "without a message"),
    "no choices": (json.dumps(chunk()).encode(), ProtocolError, "without choices"),
    "an error first": (sse({"error": RATE}), RateLimited, "Too many requests"),
    "an error after text": (sse(HELLO, OVERLOADED), Overloaded, "Busy"),
    "an error event": (sse("event: error\ndata: " + json.dumps(RATE)), RateLimited, "Too many"),
    "an error as a string": (sse({"error": "out of memory"}), UpstreamError, "out of memory"),
    "an error beside choices": (
        sse(HELLO, chunk(delta("error", content=""), error={"code": 502, "message": "Gone"})),
        *(UpstreamError, "Gone"),
    ),
    "an error at the choice": (
        sse(HELLO, chunk({**delta("error"), "error": {"code": 429, "message": "Slower"}})),
        *(RateLimited, "Slower"),
    ),
    "vLLM's error": (
        sse({"object": "error", "message": "Bad", "type": "BadRequestError", "code": 400}),
        *(BadRequest, "Bad"),
    ),
    "FastAPI's error": (sse({"detail": "it broke"}), UpstreamError, "it broke"),
    "a bare message": (sse({"message": "it broke"}), UpstreamError, "it broke"),
    "a type for a status": (
        sse({"error": {"type": "not_found_error", "message": "no such model"}}),
        *(ModelNotFound, "no such model"),
    ),
    "vLLM's type for a status": (
        sse({"object": "error", "message": "no such model", "type": "NotFoundError"}),
        *(ModelNotFound, "no such model"),
    ),
    "a code that is no status": (
        sse({"error": {"code": 302, "message": "it broke"}}),
        *(UpstreamError, "it broke"),
    ),
    "an overflow": (
        sse({"error": {"code": 400, "message": "The maximum context length is 8 tokens."}}),
        *(ContextOverflow, "8 tokens"),
    ),
    "a finish that is an error": (sse(HELLO, chunk(delta("error"))), UpstreamError, "broke"),
    "a reason why Groq broke it off": (  # a finish reason beside it made it a whole answer
        sse(HELLO, chunk(delta("stop"), x_groq={"id": "req_1", "error": "out of time"})),
        *(UpstreamError, "out of time"),
    ),
    "a lack of resources": (
        sse(HELLO, chunk(delta("insufficient_system_resource"))),
        *(Overloaded, "broke"),
    ),
}


@pytest.mark.parametrize(("body", "kind", "words"), FAULTS.values(), ids=FAULTS.keys())
def test_stream_that_is_no_answer_is_an_error(body, kind, words):
    error = Played(PROVIDER, body).error
    assert type(error) is kind
    assert words in error.message


@given(name=st.sampled_from(sorted(FAULTS)), cuts=st.lists(st.integers(0), max_size=20))
def test_error_does_not_depend_on_how_the_bytes_are_split(name, cuts):
    body = FAULTS[name][0]
    whole, pieces = Played(PROVIDER, body), Played(PROVIDER, split(body, cuts))
    assert type(pieces.error) is type(whole.error)
    assert pieces.error.message == whole.error.message
    assert pieces.pieces == whole.pieces


@pytest.mark.parametrize(
    "name", ["empty body", "HTML", "a body cut", "a whole error", "no choices", "no message"]
)
def test_whole_body_that_is_no_answer_is_an_error(name):
    body, kind, words = FAULTS[name]
    error = Played(PROVIDER, body, stream=False).error
    assert type(error) is kind
    assert words in error.message


def test_choice_whose_text_was_filtered_out_is_empty():
    """Azure leaves its message out altogether: it was taken for a malformed answer."""
    body = chunk({"index": 0, "finish_reason": "content_filter"}, usage=USAGE)
    played = Played(PROVIDER, json.dumps(body).encode(), stream=False)
    assert played.error is None
    assert played.completion.finish_reason == "content_filter"
    assert played.completion.text == ""
    assert played.completion.usage.input_tokens == USAGE["prompt_tokens"]


@pytest.mark.parametrize("finish", [None, "", "null"])
@pytest.mark.parametrize("stream", [True, False])
def test_whole_completion_without_a_finish_reason_is_none(stream, finish):
    """A body that did not say how it ended passed for a success where no stream was asked for."""
    body = json.dumps(chunk(message(finish, content="The sea"), usage=USAGE)).encode()
    error = Played(PROVIDER, body, stream=stream).error
    assert isinstance(error, ProtocolError)
    assert error.code == "no_finish_reason"


def test_whole_completion_without_a_finish_reason_is_one_where_streams_may_lack_it_too():
    body = json.dumps(chunk(message(None, content="Hi"), usage=USAGE)).encode()
    completion = Played(openrouter(key="a-key"), body, stream=False).completion
    assert (completion.text, completion.finish_reason) == ("Hi", "other")


EVERY = [chunk(delta("stop", content=text)) for text in ("", "The", " sea", " is", " calm.")]


def test_last_of_the_finish_reasons_that_text_follows_counts():
    """The first one ended the answer, and the text behind it was lost."""
    last = chunk(delta("length", content=" Or"))
    completion = Played(PROVIDER, sse(*EVERY, last)).completion
    assert completion.text == "The sea is calm. Or"
    assert completion.finish_reason == "length"


@pytest.mark.parametrize("events", [3, 4, 5])
def test_finish_reason_that_text_has_followed_proves_nothing_without_done(events):
    """Of such an answer nobody could tell that it was cut."""
    played = Played(PROVIDER, sse(*EVERY[:events], done=False))
    assert played.completion.finish_reason is None
    assert Played(PROVIDER, sse(*EVERY[:events], "data: {", done=False)).error is not None


def test_answer_whose_finish_came_with_its_text_is_whole_whatever_becomes_of_the_connection():
    end = chunk(delta("stop", content=" there"))
    completion = Played(PROVIDER, sse(HELLO, end, "data: {", done=False)).completion
    assert (completion.text, completion.finish_reason) == ("Hello there", "stop")


@pytest.mark.parametrize("end", range(0, len(STREAMS["plain"]), 7))
def test_stream_that_is_cut_is_never_a_finished_answer(end):
    """Wherever it is cut: an error, or no finish reason, for which the host raises."""
    body = STREAMS["plain"][:end]
    played = Played(PROVIDER, body)
    if played.error is None and b'"stop"' not in body:
        assert played.completion.finish_reason is None


@given(st.binary(max_size=200))
def test_any_bytes_give_pieces_or_a_router_error(body):
    Played(PROVIDER, body)
    Played(PROVIDER, b"data: " + body + b"\n\n")
    Played(PROVIDER, body, stream=False)


KEYS = ["choices", "delta", "message", "content", "tool_calls", "function", "index", "id"]
KEYS += ["finish_reason", "usage", "error", "detail", "code", "type", "metadata"]

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 600) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_any_json_gives_pieces_or_a_router_error(value):
    body = json.dumps(value).encode()
    Played(PROVIDER, body)
    Played(PROVIDER, body, stream=False)
    Played(PROVIDER, sse(value))
    Played(PROVIDER, body, status=500, stream=False)
