"""Every wire's codec under events in any order, with anything missing or of another kind."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from emulators import chat, gemini, messages, ollama
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from providers.anthropic import Anthropic
from providers.cohere import Cohere
from providers.gemini import Gemini
from providers.ollama import Ollama
from providers.openai import openai
from router import (
    Choice,
    HttpRequest,
    HttpResponse,
    Message,
    PluginError,
    Provider,
    RouterError,
    Trace,
    Usage,
)
from router.answer import Answer
from router.exchange import Extras, Notes, run

JSON = dict[str, Any]
TYPED = [Message(role="user", content="Hi")]
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"a": 1}'}}


class Wire(Struct, frozen=True):
    """A codec, and what may come to it.

    Attributes:
        provider: It.
        question: Messages, as it takes them.
        events: Good ones, of several answers.
        body: A stream of events.
        is_end: Whether an event can be the terminal marker.
    """

    provider: Provider
    question: list[Any]
    events: list[JSON]
    body: Callable[..., bytes]
    is_end: Callable[[JSON], bool]


def _said(event: JSON, list_: str, field: str) -> bool:
    """Whether one of a list's items says something under a name."""
    items = event.get(list_)
    items = items if isinstance(items, list) else []
    return any(isinstance(item, dict) and bool(item.get(field)) for item in items)


OPENAI = Wire(
    openai(key="k"),
    chat.QUESTION,
    [
        chat.chunk(chat.delta(role="assistant", content="")),
        chat.chunk(chat.delta(content="Hello")),
        chat.chunk(chat.delta(index=1, content="there")),
        chat.chunk(chat.delta(reasoning_content="Hm.")),
        chat.chunk(chat.delta(tool_calls=[chat.call(0, "c1", name="look", arguments="{")])),
        chat.chunk(chat.delta(tool_calls=[chat.call(0, arguments="}")])),
        chat.chunk(chat.delta(refusal="No.")),
        chat.chunk(chat.delta("stop")),
        chat.chunk(chat.delta("length", index=1)),
        chat.chunk(usage={"prompt_tokens": 9, "completion_tokens": 3}),
        {"error": {"message": "broken", "code": "server_error"}},
    ],
    lambda *events: chat.sse(*events, done=False),
    lambda event: _said(event, "choices", "finish_reason"),
)

ANTHROPIC = Wire(
    Anthropic(key="k"),
    TYPED,
    [
        *messages.events(
            messages.thinking("Hm."),
            messages.text("Hello", {"type": "char_location", "cited_text": "x"}),
            messages.tool_use("t1", "look", {"a": 1}),
            {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"q": "a"}},
        ),
        {"type": "ping"},
        {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}},
    ],
    lambda *events: chat.sse(*events, done=False),
    lambda event: event.get("type") == "message_stop",
)

GEMINI = Wire(
    Gemini(key="k"),
    TYPED,
    [
        gemini.reply(gemini.text("Hello")),
        gemini.reply(gemini.text("there"), index=1),
        gemini.reply(gemini.text("Hm.", thought=True, thoughtSignature="s")),
        gemini.reply(gemini.called("look", {"a": 1}, seal="s")),
        gemini.reply(gemini.called("look", partialArgs=[{"jsonPath": "$.a"}], willContinue=True)),
        gemini.reply({"executableCode": {"code": "1"}}),
        gemini.reply(groundingMetadata={"groundingChunks": [{"web": {"uri": "http://a.test"}}]}),
        gemini.reply(gemini.text("!"), finish="STOP", usage=gemini.USAGE),
        gemini.reply(finish="MAX_TOKENS", index=1),
        gemini.reply(finish="MALFORMED_FUNCTION_CALL"),
        {"usageMetadata": gemini.USAGE},
        {"promptFeedback": {"blockReason": "SAFETY"}},
        {"error": {"code": 503, "status": "UNAVAILABLE", "message": "busy"}},
    ],
    gemini.events,
    lambda event: _said(event, "candidates", "finishReason"),
)

COHERE = Wire(
    Cohere(key="k"),
    TYPED,
    [
        {"type": "message-start", "id": "m"},
        {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "Look."}}},
        {
            "type": "content-start",
            "index": 0,
            "delta": {"message": {"content": {"type": "text", "text": ""}}},
        },
        {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "Hi"}}}},
        {
            "type": "content-delta",
            "index": 0,
            "delta": {"message": {"content": {"thinking": "Hm."}}},
        },
        {"type": "content-end", "index": 0},
        {"type": "tool-call-start", "index": 0, "delta": {"message": {"tool_calls": CALL}}},
        {"type": "tool-call-end", "index": 0},
        {
            "type": "citation-start",
            "delta": {"message": {"citations": {"start": 0, "end": 1, "sources": [{"id": "d"}]}}},
        },
        {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": {"tokens": {}}}},
        {"type": "message-end", "delta": {"finish_reason": "ERROR", "error": "broken"}},
        {"message": "broken"},
    ],
    lambda *events: chat.sse(*events, done=False),
    lambda event: event.get("type") == "message-end",
)

OLLAMA = Wire(
    Ollama(key="k"),
    TYPED,
    [
        ollama.added(content="Hello"),
        ollama.added(content="", thinking="Hm."),
        ollama.added(tool_calls=[{"function": {"name": "look", "arguments": {"a": 1}}}]),
        ollama.last(),
        ollama.last(None),
        {"error": "broken"},
    ],
    ollama.lines,
    lambda event: event.get("done") is True,
)

WIRES = {
    "openai": OPENAI,
    "anthropic": ANTHROPIC,
    "gemini": GEMINI,
    "cohere": COHERE,
    "ollama": OLLAMA,
}

ODD = st.sampled_from([None, True, 0, -1, 7.5, "", "x", [], [None], {}, {"a": None}])


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a value, as what holds it and its key."""
    keys = value if isinstance(value, dict) else range(len(value))
    for key in list(keys):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])


@st.composite
def disorder(draw: st.DrawFn, events: list[JSON]) -> list[JSON]:
    """Some of the events in any order, some of them with a field less, or another one."""
    drawn = draw(st.lists(st.sampled_from(events), max_size=8))
    told = [copy.deepcopy(event) for event in drawn]
    for event in told:
        if draw(st.integers(0, 3)) == 0:
            holder, key = draw(st.sampled_from(list(_places(event))))
            if isinstance(holder, dict) and draw(st.booleans()):
                del holder[key]
            else:
                holder[key] = draw(ODD)
    return told


def hosted(wire: Wire, body: bytes) -> tuple[Answer, RouterError | None]:
    """What the host makes of an exchange that is given this body, and how it ended."""
    provider, answer = wire.provider, Answer()
    start = lambda: provider.create_completion("m", wire.question, True)  # noqa: E731
    steps = run(provider, start, answer, Notes(), Extras())
    response, coming = HttpResponse(200, {}, streamed=True), [body]
    result: Any = None
    try:
        while True:
            step = steps.send(result)
            result = response if isinstance(step, HttpRequest) else None
            if step is response:
                result = coming.pop() if coming else b""
    except StopIteration:
        return answer, None
    except RouterError as error:
        return answer, error


def check(wire: Wire, events: list[JSON]) -> None:
    """Never another exception, never an answer without the terminal marker, nor one ill-typed."""
    answer, error = hosted(wire, wire.body(*events))
    assert not isinstance(error, PluginError), error
    assert error is not None or any(map(wire.is_end, events))
    completion = answer.completion("a/b", "b", Trace(request_id="r"))
    told = msgspec.json.encode([completion.choices, completion.usage])
    assert msgspec.json.decode(told, type=tuple[tuple[Choice, ...], Usage | None])


@pytest.mark.parametrize("name", WIRES)
@given(data=st.data())
def test_events_in_disorder_are_a_whole_answer_or_an_error(name, data):
    check(WIRES[name], data.draw(disorder(WIRES[name].events)))


def test_true_is_no_number():
    """It was one of a choice, and of tokens."""
    check(OPENAI, [chat.chunk(chat.delta(index=True, content="Hello"))])
    usage = {"usage": {"output_tokens": True}}
    check(ANTHROPIC, [{"type": "message_delta", "delta": {"stop_reason": "end_turn"}, **usage}])


@pytest.mark.parametrize("name", WIRES)
def test_good_events_are_an_answer_and_without_their_end_none(name):
    """So the test above cannot pass for want of answers."""
    wire = WIRES[name]
    first, *_ = wire.events
    end = wire.events.index(next(filter(wire.is_end, wire.events)))
    before = wire.events[end - 1 : end] if name == "anthropic" else []
    answer, error = hosted(wire, wire.body(first, *before, wire.events[end]))
    assert error is None
    assert answer.finished
    assert hosted(wire, wire.body(first, *before))[1] is not None
