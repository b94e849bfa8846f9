"""Cohere as the host sees it; then the whole of it, through the routers, over sockets."""

import inspect
import re
import tomllib
import traceback
from pathlib import Path

import pytest
from emulators.chat import Played, sse
from emulators.loopback import LoopbackServer, Reply
from features import emulated
from routed import Routed

from providers.cohere import Cohere
from router import (
    AuthError,
    ConnectionLost,
    Kind,
    Message,
    Reasoning,
    Router,
    StreamInterrupted,
)
from router.parameters import read_signature

KEY = "a-key-that-nobody-may-see"
MESSAGES = [Message(role="user", content="Hi")]
QUESTION = [{"role": "user", "content": "Where is the cat?"}]
ENTRIES = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"][
    "entry-points"
]["router.plugins"]

VALUES = {
    "temperature": 0.5,
    "top_p": 0.9,
    "top_k": 40,
    "max_tokens": 7,
    "stop": ["\n"],
    "seed": 42,
    "presence_penalty": 0.1,
    "frequency_penalty": 0.1,
    "logprobs": True,
    "tools": [{"type": "function", "function": {"name": "look"}}],
    "tool_choice": "required",
    "parallel_tool_calls": True,
    "response_format": {"type": "json_object"},
    "reasoning_effort": "low",
    "thinking": {"type": "disabled"},
}

both = pytest.mark.parametrize("kind", ["sync", "async"])


def event(type_, **fields):
    return {"type": type_, "index": 0, **fields}


def added(type_, **message):
    return event(type_, delta={"message": message})


def ended(reason):
    usage = {"tokens": {"input_tokens": 9, "output_tokens": 3}}
    return event("message-end", delta={"finish_reason": reason, "usage": usage})


LOOK = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
CALLING = sse(
    event("message-start", id="msg-1"),
    added("tool-plan-delta", tool_plan="I will look."),
    added("tool-call-start", tool_calls=LOOK),
    event("tool-call-end"),
    ended("TOOL_CALL"),
)
HELLO = added("content-delta", content={"text": "On the mat 🐈"})
SAYING = sse(event("message-start", id="msg-2"), HELLO, ended("COMPLETE"))


# -- what the host reads


def test_provider_is_an_entry_point_of_its_name():
    assert ENTRIES["cohere"] == "providers.cohere:Cohere"


def test_every_parameter_says_what_it_is():
    parameters = read_signature(Cohere().create_completion, "providers.cohere")
    assert {each.name for each in parameters} == VALUES.keys()
    for each in parameters:
        assert each.description
        assert each.default is None
        assert each.kind in (Kind.FEATURE, Kind.TUNING)
        assert each.check(VALUES[each.name]) is None
        assert each.check(object()) is not None


def test_host_knows_the_names_of_the_wire_and_what_its_models_lack():
    with Router([Cohere(key=KEY)], allow=[]) as r:
        known = r.parameters("cohere/a-model-of-tomorrow")
        assert {"k", "p", "stop_sequences"} <= {each.name for each in known}
        assert known.find("top_k").name == "k"
        assert "thinking" not in r.parameters("cohere/command-a-03-2025")
        assert "tools" not in r.parameters("cohere/command-a-vision-07-2025")
        assert {each.id for each in Cohere.models} <= {each.id for each in r.models("cohere")}


# -- settings


def sent(provider):
    return Played(provider, SAYING, messages=MESSAGES).request


# -- through both routers, over sockets


class Service(LoopbackServer):
    """Answers the requests that come with these, one after the other."""

    def __init__(self, *replies):
        super().__init__()
        self.replies = list(replies)

    def handle(self, request):
        return self.replies.pop(0)


def ask(kind, provider, messages=QUESTION, **call):
    with Routed(kind, [provider]) as routed:
        return routed.call("cohere/m", messages=messages, **call)


def streamed(body):
    return Reply(200, (("content-type", "text/event-stream"),), body)


@emulated("cohere", "several turns", "tools", "tool results", "reasoning")
@both
def test_conversation_with_plan_and_tools_goes_on(kind):
    with Service(streamed(CALLING), streamed(SAYING)) as service:
        provider = Cohere(f"{service.url}/v2", KEY, {"X-Client-Name": "me"})
        first = ask(kind, provider, stream=True, tools=VALUES["tools"])
        result = {"role": "tool", "tool_call_id": "c1", "content": "a mat"}
        messages = [*QUESTION, first.completion.to_message(), result]
        documents = {"documents": ["Cats like mats."]}
        second = ask(kind, provider, messages, stream=True, top_k=3, extra_body=documents)
        requests = service.requests
    assert first.completion.choices[0].reasoning_blocks == (
        Reasoning(text="I will look.", extra={"type": "tool_plan"}),
    )
    assert [request.path for request in requests] == ["/v2/chat", "/v2/chat"]
    assert requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert requests[0].headers["x-client-name"] == "me"
    assert requests[1].json() == {
        "model": "m",
        "messages": [
            *QUESTION,
            {"role": "assistant", "tool_plan": "I will look.", "tool_calls": [LOOK]},
            result,
        ],
        "stream": True,
        "k": 3,
        "documents": ["Cats like mats."],
    }
    assert second.text == second.completion.text == "On the mat 🐈"
    assert second.trace.attempts[0].renamed == {"top_k": "k"}
    assert (second.completion.id, second.completion.usage.total_tokens) == ("msg-2", 12)


@both
def test_plan_of_another_provider_is_left_out(kind):
    plan = Reasoning(text="I will look.", extra={"type": "tool_plan"})
    theirs = Message(role="assistant", content="Hm", reasoning=(plan,), origin="elsewhere")
    with Service(streamed(SAYING)) as service:
        result = ask(kind, Cohere(service.url, KEY), [*QUESTION, theirs], stream=True)
        assert service.requests[0].json()["messages"][1] == {"role": "assistant", "content": "Hm"}
    assert result.trace.attempts[0].left_out


@both
@pytest.mark.parametrize(
    ("body", "error"),
    [
        (sse(event("message-start", id="m")), ConnectionLost),
        (sse(event("message-start", id="m"), HELLO), StreamInterrupted),
        (sse(HELLO, event("message-end", delta={"finish_reason": "ERROR"})), StreamInterrupted),
    ],
)
def test_stream_that_is_cut_is_no_answer(kind, body, error):
    with Service(streamed(body)) as service:
        provider = Cohere(service.url, KEY)
        result = ask(kind, provider, stream=True, policy={"attempts": 1})
    assert type(result.error) is error


@both
def test_refusal_tells_its_request_and_not_the_key(kind, caplog):
    caplog.set_level(0)
    with Service(Reply.json(401, {"id": "req-1", "message": f"wrong: {KEY}"})) as service:
        error = ask(kind, Cohere(service.url, KEY)).error
    assert (type(error), error.request_id, error.provider) == (AuthError, "req-1", "cohere")
    lines = traceback.TracebackException.from_exception(error, capture_locals=True).format()
    assert KEY not in "".join([*lines, caplog.text])


# -- the service's list of models


def test_list_of_models_is_that_of_the_models_that_chat():
    listed = [{"name": "command-x", "context_length": 256000.0}, {"name": "command-y"}]
    with Service(Reply.json(200, {"models": listed})) as service:
        with Router([Cohere(f"{service.url}/v2", KEY)], allow=[]) as r:
            (refreshed,) = r.refresh_models("cohere")
        (request,) = service.requests
    told = [(model.id, model.context_window) for model in refreshed.models]
    assert told == [("command-x", 256_000), ("command-y", None)]
    assert (request.path, request.query) == ("/v1/models", "endpoint=chat&page_size=1000")
    assert request.headers["authorization"] == f"Bearer {KEY}"


def test_list_of_models_that_is_refused_is_no_list():
    refusal = Reply.json(401, {"message": f"wrong: {KEY}"})
    with Service(refusal) as service, Router([Cohere(service.url, KEY)], allow=[]) as r:
        (refreshed,) = r.refresh_models("cohere")
    assert type(refreshed.error) is AuthError
    assert KEY not in str(refreshed.error)


# -- the page of docs


def test_page_has_every_parameter_and_setting():
    page = (Path(__file__).parents[2] / "docs" / "cohere.md").read_text()
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| .+ \| (tuning|feature) \|", page, re.MULTILINE)
    told = {name: kind for names, kind in rows for name in re.findall(r"\w+", names)}
    parameters = read_signature(Cohere().create_completion, "providers.cohere")
    assert told == {each.name: each.kind.value for each in parameters}
    for setting in inspect.signature(Cohere).parameters:
        assert f"| `{setting}` |" in page
