"""Gemini: its request and settings; then the whole of it, through both routers, over sockets."""

import json
import re
import traceback
from functools import partial
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from calling import Caller
from emulators.chat import Played
from emulators.gemini import USAGE, called, events, reply, text
from emulators.loopback import Cut, LoopbackServer, Reply
from features import emulated

from providers.gemini import Gemini
from providers.gemini_requests import BUDGETS, UNSEALED
from router import (
    Clock,
    ConnectionLost,
    Kind,
    Message,
    PermissionDenied,
    QuotaExhausted,
    RateLimited,
    Secret,
    StreamInterrupted,
)
from router.parameters import read_signature

KEY = "a-key-that-nobody-may-see"
QUESTION = (Message(role="user", content="Hi"),)
MODEL = "gemini/gemini-3.5-flash"

VALUES = {
    "temperature": 0.5,
    "top_p": 0.9,
    "top_k": 40,
    "max_tokens": 7,
    "stop": ["\n"],
    "n": 2,
    "seed": 42,
    "presence_penalty": 0.1,
    "frequency_penalty": -0.1,
    "logprobs": True,
    "top_logprobs": 3,
    "tools": [{"type": "function", "function": {"name": "clock"}}],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "response_format": {"type": "json_object"},
    "reasoning_effort": "low",
    "include_thoughts": True,
}


WHOLE = reply(text("Hello"), finish="STOP", usage=USAGE)


def body_of(answer, stream):
    return events(answer) if stream else json.dumps(answer).encode()


def sent(provider, stream=False, **call):
    answer = body_of(WHOLE, stream=stream)
    return Played(provider, answer, stream=stream, messages=QUESTION, **call).request


# -- the request


def test_request_is_the_call_and_nothing_more():
    request = sent(Gemini(key=KEY), model="gemini-2.5-pro")
    assert (request.method, request.url) == (
        "POST",
        "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-pro:generateContent",
    )
    assert request.json == {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}
    assert request.headers == {"x-goog-api-key": Secret(KEY)}
    assert not request.stream


def test_request_of_a_stream_asks_for_events():
    request = sent(Gemini(key=KEY), stream=True, model="gemini-2.5-pro")
    assert request.url.endswith("/models/gemini-2.5-pro:streamGenerateContent?alt=sse")
    assert request.stream


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("models/gemini-2.5-pro", "/models/gemini-2.5-pro:"),
        ("tunedModels/mine", "/tunedModels/mine:"),
        ("../../files?x#y", "/../..%2Ffiles%3Fx%23y:"),
    ],
)
def test_model_is_one_place_of_the_url(model, path):
    assert f"/v1beta{path}generateContent" in sent(Gemini(key=KEY), model=model).url


def test_every_parameter_of_the_signature_is_sent():
    provider = Gemini(key=KEY)
    assert VALUES.keys() == {p.name for p in read_signature(provider.create_completion, "gemini")}
    tools = {"tools": [{"type": "function", "function": {"name": "sun"}}]}
    plain = sent(provider, model="gemini-3.5-flash", **tools).json
    for name, value in VALUES.items():
        body = sent(provider, model="gemini-3.5-flash", **{**tools, name: value}).json
        assert (body == plain) is (name == "parallel_tool_calls"), name  # it always does


def test_values_that_mean_off_are_sent():
    """None alone is not sent: zero and False say something."""
    config = sent(Gemini(key=KEY), temperature=0, include_thoughts=False).json["generationConfig"]
    assert config == {"temperature": 0, "thinkingConfig": {"includeThoughts": False}}


@pytest.mark.parametrize(
    "parameter", read_signature(Gemini().create_completion, "providers.gemini")
)
def test_parameter_says_what_it_is(parameter):
    assert parameter.description
    assert parameter.default is None
    assert parameter.kind in (Kind.FEATURE, Kind.TUNING)
    assert parameter.check(VALUES[parameter.name]) is None
    assert parameter.check(object()) is not None


# -- settings


def test_entry_point_is_there():
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    (target,) = re.findall(r'^gemini = "(.+)"$', project, re.MULTILINE)
    assert EntryPoint("gemini", target, "router.plugins").load() is Gemini


# -- through both routers, over sockets


@pytest.fixture(params=["sync", "async"])
def caller(request):
    return partial(Caller(request.param), router={"clock": Clock()})


class Service(LoopbackServer):
    """Gives these answers in turn: replies, or a status with an error."""

    def __init__(self, *answers):
        super().__init__()
        self.answers = list(answers)

    def handle(self, request):
        answer = self.answers.pop(0)
        if isinstance(answer, Reply):
            return answer
        stream = "streamGenerateContent" in request.path
        headers = (("content-type", "text/event-stream" if stream else "application/json"),)
        return Reply(200, headers, body_of(answer, stream=stream))

    @property
    def provider(self):
        return Gemini(base_url=f"{self.url}/v1beta", key=KEY)


def failure(code, word, *details):
    error = {"code": code, "message": "It is so.", "status": word, "details": list(details)}
    return Reply.json(code, {"error": error})


@pytest.mark.parametrize("stream", [False, True])
def test_call_reaches_the_service_whole(caller, stream):
    with Service(WHOLE) as service:
        result = caller(
            [service.provider],
            MODEL,
            [{"role": "user", "content": "Hi"}],
            stream=stream,
            max_tokens=3,
            extra_body={"generationConfig": {"mood": "sunny"}, "safetySettings": []},
        )
        (request,) = service.requests
    method = "streamGenerateContent" if stream else "generateContent"
    assert request.path == f"/v1beta/models/gemini-3.5-flash:{method}"
    assert request.query == ("alt=sse" if stream else "")
    assert request.headers["x-goog-api-key"] == KEY
    assert request.json() == {
        "contents": [{"role": "user", "parts": [{"text": "Hi"}]}],
        "generationConfig": {"maxOutputTokens": 3, "mood": "sunny"},
        "safetySettings": [],
    }
    completion = result.completion
    assert (completion.text, completion.finish_reason) == ("Hello", "stop")
    assert completion.model == "gemini-3.5-flash-001"
    assert completion.trace.attempts[0].usage.total_tokens == 18


WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


@emulated("gemini", "several turns", "tools", "tool results", "reasoning")
@pytest.mark.parametrize("stream", [False, True])
def test_conversation_with_tools_and_reasoning_goes_on(caller, stream):
    parts = [
        text("Hm.", thought=True, thoughtSignature="s1"),
        text("Wait."),
        called("weather", {"city": "Gent"}, seal="s2"),
        called("weather", {"city": "Luik"}),
    ]
    messages = [{"role": "user", "content": "Where is the sun?"}]
    with Service(reply(*parts, finish="STOP"), WHOLE) as service:
        first = caller([service.provider], MODEL, messages, stream=stream, tools=[WEATHER])
        asking = first.completion
        assert asking.finish_reason == "tool_calls"
        assert [call.parsed()["city"] for call in asking.tool_calls] == ["Gent", "Luik"]
        results = [
            {"role": "tool", "tool_call_id": call.id, "content": json.dumps({"sun": number})}
            for number, call in enumerate(asking.tool_calls)
        ]
        turn = [*messages, asking.to_message(), *reversed(results)]
        last = caller([service.provider], MODEL, turn, stream=stream, tools=[WEATHER])
        contents = service.requests[1].json()["contents"]
    assert contents[1] == {"role": "model", "parts": parts}
    answers = [part["functionResponse"] for part in contents[2]["parts"]]
    assert answers == [{"name": "weather", "response": {"sun": n}} for n in (0, 1)]
    assert last.completion.text == "Hello"


def test_conversation_of_another_provider_is_taken_over(caller):
    """Its seals stay with it; Gemini 3 takes the call, which it would refuse without a mark."""
    other = {
        "role": "assistant",
        "content": "Wait.",
        "origin": "elsewhere",
        "reasoning_blocks": [{"text": "Hm.", "signature": "theirs"}],
        "tool_calls": [
            {
                "id": "call_1",
                "type": "function",
                "function": {"name": "weather", "arguments": "{}"},
                "signature": "theirs",
            }
        ],
    }
    result = {"role": "tool", "tool_call_id": "call_1", "content": "sun"}
    with Service(WHOLE) as service:
        messages = [{"role": "user", "content": "Well?"}, other, result]
        told = caller([service.provider], MODEL, messages, tools=[WEATHER])
        (_, turn, _) = service.requests[0].json()["contents"]
    assert turn["parts"] == [
        {"text": "Wait."},
        {
            "functionCall": {"name": "weather", "args": {}, "id": "call_1"},
            "thoughtSignature": UNSEALED,
        },
    ]
    assert told.trace.attempts[0].left_out


def cut(*pieces):
    def body():
        yield from pieces
        raise Cut

    return Reply(200, (("content-type", "text/event-stream"),), body())


HELLO = events(reply(text("Hello")))
DONE = events(reply(text("!"), finish="STOP"))


def test_stream_that_is_cut_is_no_answer(caller):
    with Service(cut(HELLO[:-30])) as service:
        result = caller([service.provider], MODEL, stream=True, policy={"attempts": 1})
    assert type(result.error) is ConnectionLost
    with Service(cut(HELLO)) as service:
        result = caller([service.provider], MODEL, stream=True, policy={"attempts": 1})
    assert type(result.error) is StreamInterrupted
    assert result.error.partial.text == "Hello"


def test_stream_that_ends_politely_without_a_finish_reason_is_no_answer(caller):
    with Service(Reply(200, (), HELLO)) as service:
        result = caller([service.provider], MODEL, stream=True, policy={"attempts": 1})
    assert type(result.error.cause) is ConnectionLost
    assert result.error.cause.code == "truncated"


def test_stream_that_is_cut_behind_its_finish_reason_is_whole(caller):
    with Service(cut(HELLO, DONE)) as service:
        completion = caller([service.provider], MODEL, stream=True).completion
    assert (completion.text, completion.finish_reason) == ("Hello!", "stop")


def test_model_that_does_not_think_is_not_asked_to(caller):
    """The effort was a budget, which Gemini 2.0 refuses: that ended the call."""
    with Service(WHOLE) as service:
        tunings = {"reasoning_effort": "low", "include_thoughts": True}
        result = caller([service.provider], "gemini/gemini-2.0-flash-001", **tunings)
    assert "generationConfig" not in service.requests[0].json()
    assert result.trace.attempts[0].dropped == ("reasoning_effort", "include_thoughts")


def test_rate_limit_is_waited_for_as_long_as_the_service_says(caller):
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "80ms"}
    with Service(failure(429, "RESOURCE_EXHAUSTED", info), WHOLE) as service:
        result = caller([service.provider], MODEL)
    first, second = result.trace.attempts
    assert (type(first.error), first.error.retry_after) == (RateLimited, 0.08)
    assert second.started_ms - first.started_ms >= 80


def test_quota_of_a_day_is_not_waited_for(caller):
    violation = {"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}
    details = [
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "37s"},
    ]
    with Service(failure(429, "RESOURCE_EXHAUSTED", *details)) as service:
        result = caller([service.provider], MODEL)
    assert type(result.error) is QuotaExhausted
    assert len(result.trace.attempts) == 1


def test_key_is_in_no_error_and_no_log_of_a_refused_call(caller, caplog):
    caplog.set_level(0)
    error = {"code": 403, "status": "PERMISSION_DENIED", "message": f"{KEY} may not do this."}
    with Service(Reply.json(403, {"error": error})) as service:
        result = caller([service.provider], MODEL)
    assert type(result.error) is PermissionDenied
    assert "may not do this" in str(result.error)
    lines = traceback.TracebackException.from_exception(result.error, capture_locals=True).format()
    assert KEY not in "".join([*lines, caplog.text])


# -- the page of docs

PAGE = Path(__file__).parents[2] / "docs" / "gemini.md"


def test_page_has_the_addresses_and_variables():
    text = PAGE.read_text()
    service = Gemini.service
    assert f"`{service.base_url}`" in text
    for name in (service.url_variable, *service.key_variables):
        assert f"`{name}`" in text


def test_page_has_every_parameter():
    rows = re.findall(r"^\| `(\w+)` \| .+ \| (tuning|feature) \|", PAGE.read_text(), re.MULTILINE)
    parameters = read_signature(Gemini().create_completion, "providers.gemini")
    assert rows == [(each.name, each.kind.value) for each in parameters]


def test_page_has_the_budgets_of_every_effort():
    rows = re.findall(r"^\| `(\w+)`.* \| ([\d,]+)[ |]", PAGE.read_text(), re.MULTILINE)
    assert {name: int(budget.replace(",", "")) for name, budget in rows} == BUDGETS
