"""Ollama as the host sees it; then the whole of it, through the routers, over sockets."""

import inspect
import re
import tomllib
import traceback
from pathlib import Path

import pytest
from emulators.chat import Played
from emulators.loopback import Cut, LoopbackServer, Reply
from emulators.ollama import added, last, lines
from features import emulated
from routed import Routed

from providers.ollama import Ollama
from router import (
    AuthError,
    Bearer,
    ConnectionLost,
    Kind,
    Message,
    ModelNotFound,
    ProtocolError,
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
    "min_p": 0.1,
    "max_tokens": 7,
    "stop": ["\n"],
    "seed": 42,
    "presence_penalty": 0.1,
    "frequency_penalty": 0.1,
    "repetition_penalty": 1.1,
    "logprobs": True,
    "top_logprobs": 2,
    "tools": [{"type": "function", "function": {"name": "look"}}],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "response_format": {"type": "json_object"},
    "reasoning_effort": "low",
    "num_ctx": 8192,
    "keep_alive": "10m",
}

both = pytest.mark.parametrize("kind", ["sync", "async"])

LOOK = {"id": "c1", "function": {"name": "look", "arguments": {}}}
CALLING = lines(added(content="", thinking="I will look."), added(tool_calls=[LOOK]), last())
SAYING = lines(added(content="On the mat "), added(content="🐈"), last())


# -- what the host reads


def test_provider_is_an_entry_point_of_its_name_beside_the_other_wire():
    assert ENTRIES["ollama"] == "providers.ollama:Ollama"
    assert ENTRIES["ollama-openai"] == "providers.compatible:ollama_openai"


def test_every_parameter_says_what_it_is():
    parameters = read_signature(Ollama().create_completion, "providers.ollama")
    assert {each.name for each in parameters} == VALUES.keys()
    for each in parameters:
        assert each.description
        assert each.default is None
        assert each.kind in (Kind.FEATURE, Kind.TUNING)
        assert each.check(VALUES[each.name]) is None
        assert each.check(object()) is not None


def test_host_takes_either_name_of_a_parameter():
    with Router([Ollama()], allow=[]) as r:
        known = r.parameters("ollama/llama3.2")
        assert known.find("max_tokens").name == "num_predict"
        assert known.find("repetition_penalty").name == "repeat_penalty"


# -- settings


def sent(provider):
    return Played(provider, SAYING, messages=MESSAGES).request


def test_base_url_of_the_other_wire_is_understood(monkeypatch):
    """What was set for the provider that `ollama` was before goes on to work."""
    monkeypatch.setenv("OLLAMA_BASE_URL", "http://127.0.0.1:10/v1")
    assert sent(Ollama()).url == "http://127.0.0.1:10/api/chat"


def test_key_is_sent_where_there_is_one(monkeypatch):
    assert sent(Ollama()).headers == {}
    assert Ollama().missing() is None
    monkeypatch.setenv("OLLAMA_API_KEY", "set")
    assert sent(Ollama()).headers == {"Authorization": Bearer("set")}
    request = sent(Ollama(key=KEY, headers={"X-Team": "t"}))
    assert request.headers == {"Authorization": Bearer(KEY), "X-Team": "t"}
    assert KEY not in f"{request}{request.headers}{vars(Ollama(key=KEY))}"


# -- through both routers, over sockets


class Server(LoopbackServer):
    """Answers the requests that come with these, one after the other."""

    def __init__(self, *replies):
        super().__init__()
        self.replies = list(replies)

    def handle(self, request):
        return self.replies.pop(0)


def ask(kind, provider, messages=QUESTION, **call):
    with Routed(kind, [provider]) as routed:
        return routed.call("ollama/m:7b", messages=messages, policy={"attempts": 1}, **call)


def streamed(body):
    return Reply(200, (("content-type", "application/x-ndjson"),), body, chunked=True)


@emulated("ollama", "several turns", "tools", "tool results", "reasoning")
@both
def test_conversation_with_thinking_and_tools_goes_on(kind):
    with Server(streamed(CALLING), streamed(SAYING)) as server:
        provider = Ollama(server.url, KEY)
        first = ask(kind, provider, stream=True, tools=VALUES["tools"])
        result = {"role": "tool", "tool_call_id": "c1", "content": "a mat"}
        messages = [*QUESTION, first.completion.to_message(), result]
        extra = {"options": {"mirostat": 1}}
        second = ask(kind, provider, messages, stream=True, max_tokens=9, extra_body=extra)
        requests = server.requests
    assert first.completion.finish_reason == "tool_calls"
    assert first.completion.choices[0].reasoning_blocks == (Reasoning(text="I will look."),)
    assert [request.path for request in requests] == ["/api/chat", "/api/chat"]
    assert requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert requests[1].json() == {
        "model": "m:7b",
        "messages": [
            *QUESTION,
            {
                "role": "assistant",
                "content": "",
                "thinking": "I will look.",
                "tool_calls": [LOOK],
            },
            {"role": "tool", "content": "a mat", "tool_call_id": "c1", "tool_name": "look"},
        ],
        "stream": True,
        "options": {"num_predict": 9, "mirostat": 1},
    }
    assert second.text == second.completion.text == "On the mat 🐈"
    assert second.trace.attempts[0].renamed == {"max_tokens": "num_predict"}
    assert second.completion.usage.total_tokens == 12


@both
def test_whole_answer_is_asked_for_as_such(kind):
    with Server(Reply.json(200, {**last(), "message": {"content": "Here."}})) as server:
        result = ask(kind, Ollama(server.url))
        assert server.requests[0].json()["stream"] is False
    assert (result.completion.text, result.completion.model) == ("Here.", "llama3.2:latest")


@both
def test_thinking_of_another_provider_is_left_out(kind):
    thought = Reasoning(text="Hm.")
    theirs = Message(role="assistant", content="No", reasoning=(thought,), origin="elsewhere")
    with Server(streamed(SAYING)) as server:
        result = ask(kind, Ollama(server.url), [*QUESTION, theirs], stream=True)
        assert server.requests[0].json()["messages"][1] == {"role": "assistant", "content": "No"}
    assert result.trace.attempts[0].left_out


def cut(body):
    yield body
    raise Cut


@both
@pytest.mark.parametrize(
    ("body", "error"),
    [
        (lines(added(content="")), ConnectionLost),
        (lines(added(content="On")), StreamInterrupted),
        (lines(added(content="On"), {"error": "out of memory"}), StreamInterrupted),
        (lines(added(content="On")) + b'{"message": {"con', StreamInterrupted),
    ],
)
@pytest.mark.parametrize("ending", [bytes, cut])
def test_stream_that_is_cut_is_no_answer(kind, body, error, ending):
    with Server(streamed(ending(body))) as server:
        assert type(ask(kind, Ollama(server.url), stream=True).error) is error


@both
@pytest.mark.parametrize("stream", [False, True])
def test_model_that_is_not_there_is_told_with_the_way_to_get_it(kind, stream):
    with Server(Reply.json(404, {"error": "model 'm:7b' not found"})) as server:
        error = ask(kind, Ollama(server.url), stream=stream).error
    assert type(error) is ModelNotFound
    assert "`ollama pull m:7b`" in str(error)


@both
def test_key_is_in_no_error_and_no_log_of_a_refused_call(kind, caplog):
    caplog.set_level(0)
    with Server(Reply.json(401, {"error": f"wrong: {KEY}"})) as server:
        error = ask(kind, Ollama(server.url, KEY)).error
    assert type(error) is AuthError
    trace = traceback.TracebackException.from_exception(error, capture_locals=True).format()
    assert KEY not in "".join([*trace, caplog.text])


# -- the server's list of models


def test_list_of_models_is_what_was_pulled():
    tags = {"models": [{"name": "llama3.2:latest", "size": 1}, {"name": "qwen3:8b"}]}
    with Server(Reply.json(200, tags)) as server:
        with Router([Ollama(server.url, KEY)], allow=[]) as r:
            (refreshed,) = r.refresh_models("ollama")
        (request,) = server.requests
    assert [model.id for model in refreshed.models] == ["llama3.2:latest", "qwen3:8b"]
    assert (request.method, request.path) == ("GET", "/api/tags")
    assert request.headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply.json(404, {"error": "not found"}), ModelNotFound),
        (Reply.text(404, "404 page not found"), ProtocolError),
        (Reply.json(200, {"tags": []}), ProtocolError),
    ],
)
def test_list_of_models_that_is_refused_is_no_list(reply, kind):
    with Server(reply) as server, Router([Ollama(server.url)], allow=[]) as r:
        (refreshed,) = r.refresh_models("ollama")
    assert type(refreshed.error) is kind
    assert "pull" not in str(refreshed.error)


# -- the page of docs


def test_page_has_every_parameter_and_setting():
    page = (Path(__file__).parents[2] / "docs" / "ollama.md").read_text()
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| .+ \| (tuning|feature) \|", page, re.MULTILINE)
    told = {name: kind for names, kind in rows for name in re.findall(r"\w+", names)}
    parameters = read_signature(Ollama().create_completion, "providers.ollama")
    assert told == {each.name: each.kind.value for each in parameters}
    for setting in inspect.signature(Ollama).parameters:
        assert f"| `{setting}` |" in page
