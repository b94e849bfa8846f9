"""The service: its settings and parameters, then the whole of it through the routers."""

import json
import re
import traceback
from functools import partial
from pathlib import Path

import pytest
from calling import Caller
from conftest import SHARED
from emulators.loopback import Cut, LoopbackServer, Reply
from emulators.messages import (
    QUESTION,
    events,
    play,
    sse,
    stream,
    text,
    thinking,
    tool_use,
    whole,
)
from features import emulated

from providers.anthropic import FILES_BETA, MAX_TOKENS, VERSION, Anthropic
from providers.openai import openai
from router import (
    AuthError,
    Clock,
    ConnectionLost,
    File,
    Kind,
    Message,
    Model,
    Overloaded,
    ProtocolError,
    Router,
    Secret,
    StreamInterrupted,
    Usage,
)
from router.parameters import read_signature

KEY = "a-key-that-nobody-may-see"
ANSWER = whole(text("Hello"))
PARAMETERS = read_signature(Anthropic().create_completion, "providers.anthropic")
VALUES = {
    "temperature": 0.5,
    "top_p": 0.9,
    "top_k": 40,
    "max_tokens": 7,
    "stop": ["\n"],
    "tools": [{"type": "function", "function": {"name": "clock"}}],
    "tool_choice": "auto",
    "parallel_tool_calls": False,
    "response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "string"}}},
    "reasoning_effort": "low",
    "thinking": {"type": "adaptive"},
    "user": "u-1",
}


def sent(provider=None, **given):
    return play(ANSWER, provider=provider, stream=False, **given).request


# -- the request


def test_request_is_the_call_and_nothing_more():
    request = sent(Anthropic(key=KEY), model="claude-to-come")
    assert (request.method, request.url) == ("POST", "https://api.anthropic.com/v1/messages")
    assert request.headers == {"x-api-key": Secret(KEY), "anthropic-version": "2023-06-01"}
    assert request.json == {
        "model": "claude-to-come",
        "max_tokens": 32_000,
        "messages": [{"role": "user", "content": [text("Say hello.")]}],
    }
    assert not request.stream


def test_request_of_a_stream_says_so():
    request = play(stream(text("Hello"))).request
    assert request.json["stream"] is True
    assert request.stream


@emulated("anthropic", "stop")
def test_every_parameter_of_the_signature_is_sent():
    assert VALUES.keys() == {parameter.name for parameter in PARAMETERS}
    body = sent(**VALUES).json
    del body["model"], body["messages"]
    assert body == {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 40,
        "max_tokens": 7,
        "stop_sequences": ["\n"],
        "tools": [{"name": "clock", "input_schema": {"type": "object", "properties": {}}}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        "output_config": {
            "format": {"type": "json_schema", "schema": {"type": "string"}},
            "effort": "low",
        },
        "thinking": {"type": "adaptive"},
        "metadata": {"user_id": "u-1"},
    }


def test_values_that_mean_off_are_sent():
    """None alone is not sent: zero says something."""
    body = sent(temperature=0, stop="").json
    assert (body["temperature"], body["stop_sequences"]) == (0, [""])


@pytest.mark.parametrize("parameter", PARAMETERS, ids=lambda parameter: parameter.name)
def test_parameter_says_what_it_is(parameter):
    assert parameter.description
    assert parameter.default is None
    assert parameter.check(VALUES[parameter.name]) is None
    assert parameter.check(object()) is not None


def test_what_changes_the_question_is_a_feature():
    tunings = {each.name for each in PARAMETERS if each.kind is Kind.TUNING}
    assert tunings == {"temperature", "top_p", "top_k", "reasoning_effort", "thinking", "user"}


@pytest.mark.parametrize(
    ("name", "value"), [("temperature", 1.5), ("top_p", 2), ("reasoning_effort", "very")]
)
def test_value_that_the_wire_refuses_is_refused_before(name, value):
    assert PARAMETERS[name].check(value) is not None


def test_tokens_are_the_models_most_unless_the_call_says_how_many():
    assert sent(model="claude-haiku-4-5").json["max_tokens"] == 64_000
    assert sent(model="claude-opus-5-5").json["max_tokens"] == 128_000
    assert sent(model="claude-opus-5-5", max_tokens=5).json["max_tokens"] == 5


def test_models_say_what_they_refuse():
    lacking = {model.id: set(model.without) for model in Anthropic.models}
    assert lacking["claude-opus-4-7"] == {"temperature", "top_p", "top_k"}
    assert lacking["claude-opus-4-6"] == lacking["claude-haiku-4-5"] == set()
    continuing = {model.id for model in Anthropic.models if model.accepts_prefill}
    assert continuing == {id_ for id_ in lacking if "-4-5" in id_}
    assert all(model.output_limit >= MAX_TOKENS for model in Anthropic.models)
    sizes = {(model.context_window, model.accepts_prefill) for model in Anthropic.models}
    assert sizes == {(1_000_000, False), (200_000, True)}
    assert all(model.tools for model in Anthropic.models)
    known = Anthropic().known_models()
    assert known["claude-opus-4-7-20260416"].without == known["claude-opus-4-7"].without
    assert known["claude-opus-4-7"].without == ("temperature", "top_p", "top_k")


# -- settings


@pytest.mark.parametrize(
    "place", ["http://127.0.0.1:9", "http://127.0.0.1:9/", "http://127.0.0.1:9/v1/"]
)
def test_base_url_may_have_its_version_or_not(place, monkeypatch):
    """Clients of the wire differ in what they expect of the variable."""
    monkeypatch.setenv("ANTHROPIC_BASE_URL", place)
    assert sent(Anthropic(key=KEY)).url == "http://127.0.0.1:9/v1/messages"
    given = Anthropic(place.replace("9", "10", 1), KEY)
    assert (
        sent(given).url == place.replace("9", "10", 1).split("/v1")[0].rstrip("/") + "/v1/messages"
    )


def test_betas_of_the_settings_stand_in_place_of_our_own():
    held = [Message(role="user", content=(File(id="file_1"),))]
    assert sent(messages=held).headers["anthropic-beta"] == FILES_BETA
    provider = Anthropic(key=KEY, headers={"anthropic-beta": f"{FILES_BETA},another"})
    request = sent(provider, messages=held)
    assert request.headers["anthropic-beta"] == f"{FILES_BETA},another"


# -- through both routers, over sockets


@pytest.fixture(params=["sync", "async"])
def call(request):
    """Calls through one of the routers, in real time, since there are sockets."""
    return partial(Caller(request.param), router={"clock": Clock()})


class Service(LoopbackServer):
    """Answers each request with the next of these, the last of them again and again."""

    def __init__(self, *replies):
        super().__init__()
        self.replies = [
            each if isinstance(each, Reply) else Reply(200, (), each) for each in replies
        ]

    def handle(self, request):
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


def ask(call, service, model="claude-haiku-4-5", messages=QUESTION, **given):
    provider = Anthropic(service.url, KEY)
    return call([provider], f"anthropic/{model}", messages, **given)


def test_call_reaches_the_service_whole(call):
    with Service(ANSWER) as service:
        result = ask(
            call,
            service,
            max_tokens=3,
            extra_body={"service_tier": "auto", "metadata": {"user_id": "u"}},
            extra_headers={"anthropic-beta": "one"},
        )
    (request,) = service.requests
    assert request.path == "/v1/messages"
    assert request.headers["x-api-key"] == KEY
    assert request.headers["anthropic-version"] == VERSION
    assert request.headers["anthropic-beta"] == "one"
    assert request.json() == {
        "model": "claude-haiku-4-5",
        "max_tokens": 3,
        "messages": [{"role": "user", "content": [text("Say hello.")]}],
        "service_tier": "auto",
        "metadata": {"user_id": "u"},
    }
    assert result.completion.text == "Hello"
    assert result.completion.usage == Usage(input_tokens=9, output_tokens=3)


def test_model_that_is_not_known_is_asked_for_all_the_same(call):
    with Service(ANSWER) as service:
        assert ask(call, service, "claude-to-come").completion.text == "Hello"
        assert service.requests[0].json()["model"] == "claude-to-come"


def test_call_tells_what_the_model_does_not_take(call):
    with Service(ANSWER) as service:
        result = ask(call, service, "claude-opus-5-5", temperature=0.5)
        assert "temperature" not in service.requests[0].json()
    assert result.trace.attempts[0].dropped == ("temperature",)


@pytest.mark.parametrize(
    ("model", "dropped", "left"),
    [
        ("claude-haiku-4-5", ("reasoning_effort",), {"temperature"}),
        ("claude-opus-4-7-20260416", ("temperature",), {"thinking", "output_config"}),
        ("claude-opus-4-7-20990101", ("temperature",), {"thinking", "output_config"}),
        ("claude-opus-4-6", (), {"temperature", "output_config"}),
    ],
)
def test_call_tells_what_does_not_go_with_the_rest(call, model, dropped, left):
    """Both went out, and the service's refusal ended the call; of dated names too."""
    with Service(ANSWER) as service:
        result = ask(call, service, model, temperature=0.5, reasoning_effort="low")
        assert service.requests[0].json().keys() - {"model", "messages", "max_tokens"} == left
    assert result.trace.attempts[0].dropped == dropped


def test_call_that_cannot_be_forced_goes_elsewhere(call):
    tools = [{"type": "function", "function": {"name": "clock"}}]
    with Service(ANSWER) as service:
        models = ["anthropic/claude-opus-5-5", "anthropic/claude-opus-4-6"]
        given = {"tools": tools, "tool_choice": "required"}
        call([Anthropic(service.url, KEY)], models, QUESTION, **given)
        assert [request.json()["model"] for request in service.requests] == ["claude-opus-4-6"]


CLOCK = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object"}}}
THOUGHT = [
    thinking("I have to look.", "EqEE"),
    {"type": "redacted_thinking", "data": "EmwK"},
    text("One moment."),
    tool_use("t1", "clock", {"zone": "Ghent"}),
    tool_use("t2", "clock", {"zone": "海"}),
]


@emulated("anthropic", "several turns", "tools", "tool results", "reasoning")
@pytest.mark.parametrize("streamed", [False, True])
def test_conversation_with_thinking_and_tools_comes_back_usable(call, streamed):
    make = stream if streamed else whole
    replies = make(*THOUGHT, stop="tool_use"), make(text("Noon and dusk."))
    asked = [{"role": "user", "content": "What time is it?"}]
    with Service(*replies) as service:
        first = ask(call, service, messages=asked, tools=[CLOCK], stream=streamed).completion
        assert [made.parsed()["zone"] for made in first.tool_calls] == ["Ghent", "海"]
        results = [
            {"role": "tool", "tool_call_id": made.id, "content": f"time {number}"}
            for number, made in enumerate(first.tool_calls)
        ]
        history = [*asked, first.to_message(), *results]
        last = ask(call, service, messages=history, tools=[CLOCK], stream=streamed).completion
    assert (first.finish_reason, last.text) == ("tool_calls", "Noon and dusk.")
    _, told, shown = service.requests[1].json()["messages"]
    assert told == {"role": "assistant", "content": THOUGHT}
    assert [block["tool_use_id"] for block in shown["content"]] == ["t1", "t2"]


def test_thinking_does_not_go_to_another_provider(call):
    history = [
        {"role": "user", "content": "What time is it?"},
        play(whole(*THOUGHT[:3]), stream=False).completion.to_message(),
        {"role": "user", "content": "And now?"},
    ]
    known = [history[0], {**history[1].to_dict(), "origin": "anthropic"}, history[2]]
    answer = {"choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}]}
    with Service(Reply.json(200, answer)) as other:
        result = call([openai(other.url, KEY)], "openai/gpt-4o", known)
        assert "EqEE" not in other.requests[0].body.decode()
    assert result.trace.attempts[0].left_out
    with Service(ANSWER) as service:
        ask(call, service, messages=known)
        assert service.requests[0].json()["messages"][1]["content"] == THOUGHT[:3]


def cut_after(*told):
    def body():
        yield sse(*told)
        raise Cut

    return Reply(200, (("content-type", "text/event-stream"),), body())


def test_stream_that_ends_without_its_last_event_is_no_answer(call):
    begun = events(text("Hello there"))
    with Service(Reply(200, (), sse(*begun[:2]))) as service:
        result = ask(call, service, stream=True, policy={"attempts": 1})
    assert type(result.error) is ConnectionLost
    with Service(Reply(200, (), sse(*begun[:-1]))) as service:
        result = ask(call, service, stream=True, policy={"attempts": 1})
    assert type(result.error) is StreamInterrupted
    assert result.error.partial.text == "Hello there"


def test_error_before_content_goes_to_the_next_target(call):
    busy = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    begun = events(text("Hi"))[:2]
    with Service(sse(*begun, busy)) as broken, Service(stream(text("Hello"))) as healthy:
        second = Anthropic(healthy.url, KEY)
        second.name = "second"
        models = ["anthropic/claude-haiku-4-5", "second/claude-haiku-4-5"]
        result = call([Anthropic(broken.url, KEY), second], models, QUESTION, stream=True)
    first, last = result.trace.attempts
    assert (type(first.error), first.error.status) == (Overloaded, 529)
    assert (last.outcome, result.text) == ("succeeded", "Hello")


@pytest.mark.parametrize("rest", [" Ada,", "Ada,"])
def test_stream_that_broke_is_gone_on_with_where_the_model_can(call, rest):
    broken = cut_after(*events(text("Dear "), size=100)[:3])
    with Service(broken) as first, Service(stream(text(rest))) as last:
        second = Anthropic(last.url, KEY)
        second.name = "second"
        result = call(
            [Anthropic(first.url, KEY), second],
            ["anthropic/claude-haiku-4-5", "second/claude-haiku-4-5"],
            QUESTION,
            stream=True,
            policy={"on_interrupt": "continue", "attempts": 2},
        )
    assert result.completion.text == result.text == "Dear Ada,"
    continued = last.requests[0].json()["messages"][-1]
    assert continued == {"role": "assistant", "content": [text("Dear")]}


def test_key_is_in_no_error_and_no_log_of_a_refused_call(call, caplog):
    caplog.set_level(0)
    error = {"type": "permission_error", "message": f"The key {KEY} may not do this."}
    with Service(Reply.json(403, {"type": "error", "error": error})) as service:
        result = ask(call, service)
    assert "may not do this" in str(result.error)
    lines = traceback.TracebackException.from_exception(result.error, capture_locals=True).format()
    assert KEY not in "".join([*lines, caplog.text])


def test_limits_of_the_service_are_read_from_its_headers(call):
    headers = (("retry-after", "7"), ("request-id", "req_1"), ("x-should-retry", "true"))
    error = {"type": "error", "error": {"type": "rate_limit_error", "message": "Too fast."}}
    limited = Reply(429, headers, json.dumps(error).encode())
    with Service(limited) as service:
        result = ask(call, service, policy={"attempts": 1})
    assert (result.error.retry_after, result.error.request_id) == (7, "req_1")


# -- the service's list of models


def able(effort_alone, image=True):
    thinking = {"supported": True, "types": {"enabled": {"supported": not effort_alone}}}
    return {
        "image_input": {"supported": image},
        "pdf_input": {"supported": False},
        "structured_outputs": {"supported": True},
        "thinking": thinking,
    }


def listed(id_, **fields):
    return {"type": "model", "id": id_, **fields}


def listing(service, **settings):
    """What comes of asking the service for its models, as the host asks."""
    with Router([Anthropic(service.url, KEY, **settings)], allow=[]) as r:
        (refreshed,) = r.refresh_models()
    return refreshed


def test_list_of_models_is_read_page_by_page():
    pages = [
        {"data": [listed("a"), listed("b/c")], "has_more": True, "last_id": "b/c"},
        {"data": [listed("d")], "has_more": False, "last_id": "d"},
    ]
    with Service(*(Reply.json(200, page) for page in pages)) as service:
        refreshed = listing(service, headers={"anthropic-beta": "x"})
    assert [model.id for model in refreshed.models] == ["a", "b/c", "d"]
    first, second = service.requests
    assert (first.method, first.path, first.query) == ("GET", "/v1/models", "limit=1000")
    assert second.query == "limit=1000&after_id=b%2Fc"
    for name, value in {"x-api-key": KEY, "anthropic-version": VERSION}.items():
        assert first.headers[name] == second.headers[name] == value
    assert first.headers["anthropic-beta"] == "x"


def test_list_of_models_says_what_they_can_do():
    sizes = {"max_input_tokens": 1_000_000, "max_tokens": 128_000}
    models = [
        listed("new", **sizes, capabilities=able(effort_alone=True)),
        listed("old", **sizes, capabilities=able(effort_alone=False, image=False)),
        listed("other", **sizes),
    ]
    with Service(Reply.json(200, {"data": models})) as service:
        new, old, other = listing(service).models
    known = {"context_window": 1_000_000, "output_limit": 128_000}
    able_ = {**known, "structured_output": True, "reasoning": True}
    refused = ("temperature", "top_p", "top_k")
    assert new == Model(id="new", inputs=("text", "image"), without=refused, **able_)
    assert old == Model(id="old", inputs=("text",), **able_)
    assert other == Model(id="other", **known)


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Reply.json(401, {"error": {"type": "authentication_error", "message": KEY}}), AuthError),
        (Reply.text(401, KEY), AuthError),
        (Reply.text(404, "no page"), ProtocolError),
        (Reply.json(200, {"data": [{"name": "a"}]}), ProtocolError),
        (Reply.text(200, "<html>"), ProtocolError),
    ],
)
def test_list_of_models_that_fails_is_its_error(reply, error):
    with Service(reply) as service:
        refreshed = listing(service)
    assert type(refreshed.error) is error
    assert KEY not in str(refreshed.error)


def test_recorded_list_of_models_agrees_with_what_is_known():
    recorded = SHARED / "cassettes" / "anthropic" / "ellmer--anthropic-list-models.0.json"
    if not recorded.is_file():
        pytest.skip(f"no recorded traffic at {recorded.parent}")
    body = json.loads(recorded.read_text())["response"]["body"].encode()
    with Service(body) as service:
        told = {model.id: model for model in listing(service).models}
    known = {model.id: model for model in Anthropic.models}
    assert len(told.keys() & known.keys()) >= 9
    for id_ in told.keys() & known.keys():
        assert told[id_].output_limit == known[id_].output_limit
        assert told[id_].inputs == known[id_].inputs
        assert told[id_].without == known[id_].without
        assert told[id_].reasoning is known[id_].reasoning is True
        assert told[id_].structured_output is known[id_].structured_output is True


# -- the page of docs

PAGE = Path(__file__).parents[2] / "docs" / "anthropic.md"


def test_page_has_every_parameter():
    rows = re.findall(r"^\| `(\w+)` \| .+ \| (tuning|feature) \|", PAGE.read_text(), re.MULTILINE)
    assert rows == [(each.name, each.kind.value) for each in PARAMETERS]


def test_page_has_every_model_that_is_advertised():
    page = PAGE.read_text()
    assert [model.id for model in Anthropic.models if f"`{model.id}`" not in page] == []
