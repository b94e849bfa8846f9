"""What goes out on OpenAI's wire; then the whole of it, through the routers, with a real server."""

import asyncio
import inspect
import json
import traceback

import pytest
from emulators.chat import QUESTION, Played, call, chunk, delta, message, sse
from emulators.llamacpp import SLOTS, WINDOW
from emulators.loopback import LoopbackServer, Reply
from features import live

from providers import compatible
from providers.openai import Row, openai
from router import (
    AsyncRouter,
    AuthError,
    Bearer,
    ConfigError,
    ConnectionLost,
    ContextOverflow,
    Kind,
    Message,
    Model,
    PermissionDenied,
    ProtocolError,
    Reasoning,
    Router,
    Secret,
)
from router.parameters import read_signature

KEY = "a-key-that-nobody-may-see"
ANSWER = json.dumps(chunk(message(content="Hello"))).encode()
STREAM = sse(chunk(*[{"index": 0, "delta": {"content": "Hello"}, "finish_reason": "stop"}]))

ROW = Row(
    name="here",
    base_url="http://127.0.0.1:9/v1",
    url_variable="HERE_BASE_URL",
    key_variables=("HERE_API_KEY", "THERE_API_KEY"),
    models=(Model(id="renamer", renames={"seed": "random_seed"}),),
    renames={"max_tokens": "max_new_tokens"},
)

VALUES = {
    "temperature": 0.5,
    "top_p": 0.9,
    "top_k": 40,
    "min_p": 0.1,
    "max_tokens": 7,
    "stop": ["\n"],
    "n": 2,
    "seed": 42,
    "presence_penalty": 0.1,
    "frequency_penalty": -0.1,
    "repetition_penalty": 1.1,
    "logit_bias": {"50256": -100},
    "logprobs": True,
    "top_logprobs": 3,
    "tools": [{"type": "function", "function": {"name": "clock"}}],
    "tool_choice": "auto",
    "parallel_tool_calls": False,
    "response_format": {"type": "json_object"},
    "reasoning_effort": "low",
    "user": "u-1",
}


def sent(provider, stream=False, **call):
    return Played(provider, STREAM if stream else ANSWER, stream=stream, **call).request


# -- the request


def test_request_is_the_call_and_nothing_more():
    request = sent(openai(key=KEY), model="gpt-4o")
    assert (request.method, request.url) == ("POST", "https://api.openai.com/v1/chat/completions")
    assert request.json == {"model": "gpt-4o", "messages": QUESTION}
    assert request.headers == {"Authorization": Bearer(KEY)}
    assert not request.stream


def test_request_of_a_stream_asks_for_its_usage():
    request = sent(openai(key=KEY), stream=True)
    assert request.json["stream"] is True
    assert request.json["stream_options"] == {"include_usage": True}
    assert request.stream


def test_request_of_a_stream_asks_for_no_usage_where_the_row_says_so():
    row = Row(name="x", base_url="http://h", url_variable="X", key_variables=(), stream_usage=False)
    assert "stream_options" not in sent(row(key=KEY), stream=True).json


def test_every_parameter_of_the_signature_is_sent():
    provider = ROW(key=KEY)
    assert VALUES.keys() == {p.name for p in read_signature(provider.create_completion, "here")}
    body = sent(provider, **VALUES).json
    assert body.pop("max_new_tokens") == 7
    assert body == {
        "model": "some-model",
        "messages": QUESTION,
        **{name: value for name, value in VALUES.items() if name != "max_tokens"},
    }


def test_values_that_mean_off_are_sent():
    """None alone is not sent: zero and False say something."""
    body = sent(openai(key=KEY), temperature=0, parallel_tool_calls=False, stop=[]).json
    assert (body["temperature"], body["parallel_tool_calls"], body["stop"]) == (0, False, [])


def test_model_renames_on_top_of_its_row():
    body = sent(ROW(key=KEY), model="renamer", seed=1, max_tokens=2).json
    assert (body["random_seed"], body["max_new_tokens"]) == (1, 2)
    assert "seed" in sent(ROW(key=KEY), model="another", seed=1).json


def test_openai_is_told_max_tokens_under_its_new_name():
    assert sent(openai(key=KEY), max_tokens=5).json["max_completion_tokens"] == 5


@pytest.mark.parametrize(
    "parameter", read_signature(openai().create_completion, "providers.openai")
)
def test_parameter_says_what_it_is(parameter):
    assert parameter.description
    assert parameter.default is None
    assert parameter.kind in (Kind.FEATURE, Kind.TUNING)
    assert parameter.check(VALUES[parameter.name]) is None
    assert parameter.check(object()) is not None


@pytest.mark.parametrize("name", ["tools", "response_format", "stop", "max_tokens", "n"])
def test_what_changes_the_question_is_a_feature(name):
    parameters = read_signature(openai().create_completion, "providers.openai")
    assert parameters[name].kind is Kind.FEATURE


# -- settings


def test_settings_are_what_the_host_reads():
    settings = ["base_url", "key", "headers", "path", "query"]
    assert list(inspect.signature(openai).parameters) == settings


def test_base_url_comes_from_setting_environment_or_row(monkeypatch):
    provider = ROW(key=KEY)
    assert sent(provider).url == "http://127.0.0.1:9/v1/chat/completions"
    monkeypatch.setenv("HERE_BASE_URL", "http://127.0.0.1:10/")
    assert sent(provider).url == "http://127.0.0.1:10/chat/completions"
    assert (
        sent(ROW("http://127.0.0.1:11/v1/", KEY)).url == "http://127.0.0.1:11/v1/chat/completions"
    )


WRONG_URLS = [
    "127.0.0.1:80",
    "ftp://host/v1",
    "http://",
    "https://me:hunter2@host/v1",
    "http://[::1/",
]


@pytest.mark.parametrize("url", WRONG_URLS)
def test_base_url_that_is_wrong_is_refused_without_showing_it(url, monkeypatch):
    with pytest.raises(ConfigError, match="base_url") as caught:
        ROW(base_url=url)
    monkeypatch.setenv("HERE_BASE_URL", url)
    error = Played(ROW(key=KEY), ANSWER).error
    assert type(error) is ConfigError
    assert "HERE_BASE_URL" in error.message
    assert "hunter2" not in f"{caught.value}{error}"


def test_key_comes_from_setting_or_the_first_variable_that_is_set(monkeypatch):
    monkeypatch.setenv("THERE_API_KEY", "second")
    assert sent(ROW()).headers["Authorization"] == Bearer("second")
    monkeypatch.setenv("HERE_API_KEY", "first")
    assert sent(ROW()).headers["Authorization"] == Bearer("first")
    assert sent(ROW(key="given")).headers["Authorization"] == Bearer("given")
    assert sent(ROW(key=Secret("given"))).headers["Authorization"] == Bearer("given")


def test_key_that_is_missing_is_named_when_a_call_starts(monkeypatch):
    provider = ROW()
    error = Played(provider, ANSWER).error
    assert (type(error), error.code) == (AuthError, "missing_key")
    assert "HERE_API_KEY or THERE_API_KEY" in error.message
    monkeypatch.setenv("HERE_API_KEY", "set-later")
    assert Played(provider, ANSWER, stream=False).completion.text == "Hello"


@pytest.mark.parametrize("key", ["", "  ", "line\nfeed", "schlüssel"])
def test_key_that_no_header_can_carry_is_refused_without_showing_it(key, monkeypatch):
    with pytest.raises(ConfigError, match="the key of here") as caught:
        ROW(key=key)
    assert not key.strip() or key not in str(caught.value)


def test_path_and_query_come_from_settings_or_row():
    assert sent(ROW(key=KEY)).url == "http://127.0.0.1:9/v1/chat/completions"
    provider = ROW(key=KEY, path="/models/{model}/chat", query={"api-version": "1 2"})
    assert (
        sent(provider, model="a/b").url == "http://127.0.0.1:9/v1/models/a%2Fb/chat?api-version=1+2"
    )


def test_headers_of_the_settings_are_sent():
    provider = ROW(key=KEY, headers={"OpenAI-Organization": "org-1"})
    assert sent(provider).headers["OpenAI-Organization"] == "org-1"


def test_key_is_nowhere_to_be_seen():
    played = Played(openai(key=KEY), b"<", status=401)
    shown = [repr(played.request), played.request.url, repr(played.request.headers)]
    shown += [repr(openai(key=KEY)), repr(vars(openai(key=KEY))), str(played.error)]
    lines = traceback.TracebackException.from_exception(played.error, capture_locals=True).format()
    assert KEY not in "".join([*shown, *lines])


def test_models_of_openai_lack_what_they_refuse():
    with Router() as r:
        r.register(openai(key=KEY), replace=True)
        assert "temperature" not in r.parameters("openai/gpt-5")
        assert "reasoning_effort" not in r.parameters("openai/gpt-4.1")
        assert "temperature" in r.parameters("openai/a-model-of-tomorrow")
        assert r.parameters("openai").find("max_tokens").name == "max_completion_tokens"


# -- through both routers, over sockets


@pytest.fixture(params=["sync", "async"])
def ask(request):
    """Calls a provider through one of the routers; gives the completion, of a stream too."""

    def through_sync(provider, stream, call):
        with Router() as r:
            r.register(provider, replace=True)
            answer = r.create_completion(stream=stream, **call)
            if not stream:
                return answer
            text = "".join(answer)
            assert answer.completion.text == text
            return answer.completion

    async def through_async(provider, stream, call):
        async with AsyncRouter() as r:
            r.register(provider, replace=True)
            answer = await r.create_completion(stream=stream, **call)
            if not stream:
                return answer
            text = "".join([piece async for piece in answer])
            assert answer.completion.text == text
            return answer.completion

    def call(provider, *, stream=False, **given):
        given = {"model": f"{provider.name}/smollm2", "messages": QUESTION, **given}
        if request.param == "sync":
            return through_sync(provider, stream, given)
        return asyncio.run(through_async(provider, stream, given))

    return call


class Service(LoopbackServer):
    """Gives every request the same answer."""

    def __init__(self, body, status=200):
        super().__init__()
        self.reply = Reply(status, (), body)

    def handle(self, request):
        return self.reply


def test_call_reaches_the_service_whole(ask):
    with Service(ANSWER) as service:
        provider = openai(service.url + "/v1", KEY, {"OpenAI-Project": "p"})
        extra = {"service_tier": "flex", "messages": QUESTION * 2}
        ask(provider, model="openai/ft:mine", max_tokens=3, extra_body=extra)
        (request,) = service.requests
    assert request.path == "/v1/chat/completions"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["openai-project"] == "p"
    assert request.json() == {
        "model": "ft:mine",
        "messages": QUESTION * 2,
        "max_completion_tokens": 3,
        "service_tier": "flex",
    }


def test_call_tells_what_it_renamed_and_dropped(ask):
    models = ["openai/gpt-5", "openai/gpt-4o"]
    with Service(ANSWER) as service:
        completion = ask(openai(service.url, KEY), model=models, max_tokens=3, temperature=0.5)
        assert "temperature" not in service.requests[0].json()
    (attempt,) = completion.trace.attempts
    assert attempt.renamed == {"max_tokens": "max_completion_tokens"}
    assert attempt.dropped == ("temperature",)


def test_conversation_with_tools_goes_out_as_it_was_written(ask):
    conversation = [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "a cat"},
    ]
    with Service(ANSWER) as service:
        ask(openai(service.url, KEY), messages=conversation)
        assert service.requests[0].json()["messages"] == conversation


CLOCK = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object"}}}
THOUGHT = {"type": "reasoning.text", "text": "Look at it.", "format": "x", "index": 0}
SEALED = {**THOUGHT, "signature": "seal"}

THINKING = {
    "deepseek": ({"reasoning_content": "Look at it."}, {"reasoning_content": "Look at it."}),
    "groq": ({"reasoning": "Look at it."}, {"reasoning": "Look at it."}),
    "openrouter": (
        {"reasoning": "Look at it.", "reasoning_details": [SEALED]},
        {"reasoning_details": [SEALED]},
    ),
    "mistral": (
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Look at it."}]}]},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Look at it."}]}]},
    ),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", THINKING)
def test_conversation_with_tools_and_reasoning_comes_back_usable(ask, name, stream):
    """The answer's message and the tool's result are the next turn, as the service wants them."""
    said, wanted = THINKING[name]
    called = call(0, "aB3dE6gH9", name="clock", arguments="{}")
    whole = chunk(message("tool_calls", **{"content": None, **said}, tool_calls=[called]))
    events = [chunk(delta(**said)), chunk(delta("tool_calls", tool_calls=[called]))]
    with Service(sse(*events) if stream else json.dumps(whole).encode()) as service:
        provider = getattr(compatible, name)(service.url, KEY)
        first = ask(provider, stream=stream, tools=[CLOCK])
        assert (first.reasoning, first.finish_reason) == ("Look at it.", "tool_calls")
        (asked,) = first.tool_calls
        result = {"role": "tool", "tool_call_id": asked.id, "content": "noon"}
        turn = [*QUESTION, first.to_message(), result]
        ask(provider, messages=turn, tools=[CLOCK], stream=stream)
        assistant, tool = service.requests[1].json()["messages"][1:]
    assert tool == result
    (sent_call,) = assistant.pop("tool_calls")
    assert sent_call["function"] == {"name": "clock", "arguments": "{}"}
    assert sent_call["id"] == result["tool_call_id"]
    assert assistant == {"role": "assistant", "content": None, **wanted}


def test_reasoning_of_one_service_is_not_sent_to_another(ask):
    thinking = Message(
        role="assistant",
        content="Hi",
        reasoning=(Reasoning(text="Look at it.", signature="seal"),),
        origin="openrouter",
    )
    with Service(ANSWER) as service:
        completion = ask(
            compatible.deepseek(service.url, KEY), messages=[*QUESTION, thinking, *QUESTION]
        )
        assert "Look at it." not in service.requests[0].body.decode()
    assert completion.trace.attempts[0].left_out


def test_stream_that_is_cut_is_no_answer(ask):
    cut = sse(chunk({"index": 0, "delta": {"content": ""}}), done=False)
    with Service(cut) as service, pytest.raises(ConnectionLost, match="finish reason"):
        ask(openai(service.url, KEY), stream=True)


def repeating(key):
    return json.dumps({"error": {"message": f"The key {key} may not do this."}}).encode()


def test_key_is_in_no_error_and_no_log_of_a_refused_call(ask, caplog):
    caplog.set_level(0)
    with Service(repeating(KEY), 403) as service, pytest.raises(PermissionDenied) as caught:
        ask(openai(service.url, KEY))
    assert "may not do this" in str(caught.value)
    lines = traceback.TracebackException.from_exception(caught.value, capture_locals=True).format()
    assert KEY not in "".join([*lines, caplog.text])


# -- a real server


@pytest.fixture
def real(llama_server):
    return openai(llama_server.base_url, llama_server.key)


def schema(of):
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": of}}


# The server lets the model say this alone, be it letter by letter: no rounding changes it.
SENTENCE = {"response_format": schema({"const": "The sea is wide."})}


@live("llama.cpp", "whole answers", "streaming")
@pytest.mark.parametrize("stream", [False, True])
def test_real_server_answers(ask, real, stream):
    completion = ask(real, stream=stream, max_tokens=64, **SENTENCE)
    assert completion.text == '"The sea is wide."'
    assert (completion.finish_reason, completion.choices[0].native_finish_reason) == (
        "stop",
        "stop",
    )
    assert completion.usage.input_tokens > 0
    assert 0 < completion.usage.output_tokens <= 64
    assert completion.trace.attempts[0].usage == completion.usage
    assert completion.id.startswith("chatcmpl-")


@pytest.fixture
def complete(real):
    """Calls the real server through the sync router."""
    with Router() as r:
        r.register(real, replace=True)

        def call(*, stream=False, **given):
            given = {"model": "openai/smollm2", "messages": QUESTION, **given}
            answer = r.create_completion(stream=stream, **given)
            if not stream:
                return answer
            for _ in answer:
                pass
            return answer.completion

        yield call


@live("llama.cpp", "stop")
@pytest.mark.parametrize("stream", [False, True])
def test_real_server_stops_where_it_is_told(complete, stream):
    cut = complete(stream=stream, max_tokens=2, **SENTENCE)
    assert (cut.finish_reason, cut.usage.output_tokens) == ("length", 2)
    stopped = complete(stream=stream, stop=["is"], **SENTENCE)
    assert (stopped.text, stopped.finish_reason) == ('"The sea ', "stop")


@live("llama.cpp", "structured output")
def test_real_server_writes_json_of_a_schema(complete):
    weather = {
        "type": "object",
        "properties": {"sunny": {"type": "boolean"}},
        "required": ["sunny"],
        "additionalProperties": False,
    }
    completion = complete(response_format=schema(weather), max_tokens=128, temperature=0)
    assert isinstance(json.loads(completion.text)["sunny"], bool)


@live("llama.cpp", "several answers")
@pytest.mark.parametrize("stream", [False, True])
def test_real_server_gives_several_answers(complete, stream):
    completion = complete(stream=stream, n=SLOTS, max_tokens=4, temperature=0)
    assert [choice.index for choice in completion.choices] == list(range(SLOTS))
    assert all(choice.text and choice.finish_reason for choice in completion.choices)


@live("llama.cpp", "log probabilities")
def test_real_server_gives_log_probabilities(complete):
    # The likeliest tokens: drawn ones may end the answer with the first of them.
    completion = complete(logprobs=True, top_logprobs=2, max_tokens=3, temperature=0, **SENTENCE)
    (choice,) = completion.choices
    assert [len(token["top_logprobs"]) for token in choice.logprobs] == [2, 2, 2]
    assert "".join(token["token"] for token in choice.logprobs) == choice.text


@pytest.mark.parametrize("stream", [False, True])
def test_real_server_refuses_a_wrong_key(ask, llama_server, stream):
    with pytest.raises(AuthError, match="OPENAI_API_KEY") as caught:
        ask(openai(llama_server.base_url, KEY), stream=stream)
    assert (caught.value.status, caught.value.code) == (401, "authentication_error")


@live("llama.cpp", "errors")
@pytest.mark.parametrize("stream", [False, True])
def test_real_server_says_that_the_prompt_is_too_long(complete, stream):
    question = [{"role": "user", "content": "sea " * (WINDOW + 1)}]
    with pytest.raises(ContextOverflow) as caught:
        complete(messages=question, stream=stream)
    assert caught.value.code == "exceed_context_size_error"


def test_real_server_has_no_api_at_another_path(ask, llama_server):
    with pytest.raises(ProtocolError, match="base_url"):
        ask(openai(llama_server.base_url + "/nowhere", llama_server.key))


def test_real_server_is_free_again_after_streams_that_were_closed_early(real):
    long = {"model": "openai/smollm2", "messages": QUESTION, "max_tokens": 1500}
    with Router() as r:
        r.register(real, replace=True)
        for _ in range(2 * SLOTS):
            with r.create_completion(stream=True, **long) as answer:
                assert next(iter(answer))
        assert r.create_completion("openai/smollm2", QUESTION, max_tokens=2).text
