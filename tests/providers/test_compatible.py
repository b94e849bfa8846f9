"""The rows: what holds for all of them, and what each says of its service."""

import json
import re
import tomllib
from pathlib import Path

import pytest
from emulators.chat import DONE, Played, chunk, delta, message, sse
from emulators.loopback import LoopbackServer, Reply

from providers import compatible
from providers.openai import Row, openai
from router import (
    AuthError,
    BadRequest,
    Chunk,
    ContentFiltered,
    ContextOverflow,
    ModelNotFound,
    Overloaded,
    PermissionDenied,
    ProtocolError,
    QuotaExhausted,
    Router,
    Target,
    UnsupportedParameter,
    UpstreamError,
    Usage,
)
from router.parameters import read_signature

ROWS = [openai, *(value for value in vars(compatible).values() if isinstance(value, Row))]
LOCAL = [compatible.ollama, compatible.vllm, compatible.llamacpp, compatible.h2ogpt]
PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]

QUESTION = [{"role": "user", "content": "Hi"}]
KEY = "a-key"
HELLO = chunk(delta(content="Hello"))
STOP = chunk(delta("stop"))
USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
TOO_LONG = "This model's maximum context length is 4096 tokens. However, you requested 5000."

each_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


def refused(row, status, body):
    encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Played(row(key=KEY), encoded, status=status).error


# -- all of them


def test_every_row_is_an_entry_point_of_its_name():
    entries = PROJECT["entry-points"]["router.plugins"]
    modules = ("providers.openai", "providers.compatible")
    ours = {name for name, value in entries.items() if value.partition(":")[0] in modules}
    assert ours == {row.name for row in ROWS}


@each_row
def test_row_and_its_models_take_away_what_there_is(row):
    left = read_signature(row().create_completion, row.name).without(row.without, row.renames)
    for model in row.models:
        left.without(model.without, model.renames)


@each_row
def test_row_is_read_by_the_host(row):
    with Router() as r:
        r.register(row(), replace=True)
        known = r.parameters(row.name)
        assert not {item.argument for item in known} & set(row.without)
        assert [model.id for model in r.models(row.name)] == [model.id for model in row.models]


@each_row
def test_row_serves_models_that_it_does_not_list(row):
    with Router() as r:
        r.register(row(), replace=True)
        assert "temperature" in r.parameters(f"{row.name}/vendor/a-model-of-tomorrow")


@each_row
def test_row_has_variables_of_its_own_that_tests_are_kept_from(row):
    """What the suite clears from the environment goes by these endings."""
    assert row.url_variable.endswith("_BASE_URL")
    assert all(variable.endswith("_API_KEY") for variable in row.key_variables)
    others = [other for other in ROWS if other is not row]
    assert row.url_variable not in {other.url_variable for other in others}
    assert not set(row.key_variables) & {name for o in others for name in o.key_variables}


@each_row
def test_row_names_the_key_that_is_missing_or_needs_none(row):
    played = Played(row(), sse(HELLO, STOP))
    if row in LOCAL:
        assert played.request.headers == {}
        assert played.completion.text == "Hello"
        assert row().missing() is None
    else:
        assert (type(played.error), played.error.code) == (AuthError, "missing_key")
        assert row.key_variables[0] in played.error.message
        assert row().missing() == played.error.message
        assert row(key=KEY).missing() is None


@each_row
def test_row_is_on_loopback_or_encrypted(row):
    assert row.base_url.startswith("http://127.0.0.1:" if row in LOCAL else "https://")


def test_model_with_a_slash_reaches_its_service_by_its_whole_name():
    class Groq(LoopbackServer):
        def handle(self, request):
            return Reply.json(200, chunk(message(content="Hello")))

    with Groq() as server, Router() as r:
        r.register(compatible.groq(server.url + "/openai/v1", KEY), replace=True)
        for model in ("groq/meta-llama/Llama-3", Target("groq", "meta-llama/Llama-3")):
            assert r.create_completion(model, QUESTION).text == "Hello"
        assert {each.path for each in server.requests} == {"/openai/v1/chat/completions"}
        assert {each.json()["model"] for each in server.requests} == {"meta-llama/Llama-3"}


def test_feature_that_a_row_lacks_is_refused_before_anything_is_sent():
    with Router() as r:
        r.register(compatible.groq("http://127.0.0.1:9", KEY), replace=True)
        with pytest.raises(UnsupportedParameter, match="'n'"):
            r.create_completion("groq/llama-3.1-8b-instant", QUESTION, n=2)


# -- one by one


def test_openrouter_says_that_it_is_alive():
    pieces = Played(
        compatible.openrouter(key=KEY), sse(": OPENROUTER PROCESSING", HELLO, STOP)
    ).pieces
    assert pieces[0] == Chunk()


def test_openrouter_may_end_without_a_finish_reason_once_the_usage_is_told():
    body = sse(HELLO, chunk(delta(content=""), usage=USAGE))
    choice = Played(compatible.openrouter(key=KEY), body).completion.choices[0]
    assert (choice.text, choice.finish_reason, choice.native_finish_reason) == (
        "Hello",
        "other",
        None,
    )
    assert type(Played(compatible.openrouter(key=KEY), sse(HELLO)).error) is ProtocolError
    cut = Played(compatible.openrouter(key=KEY), body.removesuffix(DONE))
    assert cut.completion.finish_reason is None
    assert type(Played(openai(key=KEY), body).error) is ProtocolError


def test_openrouter_tells_moderation_from_permission():
    flagged = {"reasons": ["violence"], "flagged_input": "my secret plan"}
    body = {"error": {"code": 403, "message": "Flagged.", "metadata": flagged}}
    error = refused(compatible.openrouter, 403, body)
    assert type(error) is ContentFiltered
    assert "secret plan" not in str(error)
    assert type(refused(compatible.openrouter, 403, {"error": {"code": 403}})) is PermissionDenied


def test_openrouter_answers_errors_with_a_200():
    body = {"error": {"code": 402, "message": "Insufficient credits"}}
    error = Played(compatible.openrouter(key=KEY), json.dumps(body).encode(), stream=False).error
    assert (type(error), error.code) == (QuotaExhausted, "402")


def test_groq_breaks_off_for_a_tool_call_that_fails_its_schema():
    failure = {
        "message": "Tool call validation failed",
        "type": "invalid_request_error",
        "code": "tool_use_failed",
        "failed_generation": '{"name": "secret"}',
        "status_code": 400,
    }
    body = sse(HELLO, "event: error\ndata: " + json.dumps({"error": failure}), done=False)
    error = Played(compatible.groq(key=KEY), body).error
    assert (type(error), error.code, error.status) == (BadRequest, "tool_use_failed", 400)
    assert "secret" not in str(error)


def test_groq_tells_its_usage_in_its_own_place():
    body = sse(HELLO, chunk(delta("stop"), x_groq={"id": "req_1", "usage": USAGE}))
    completion = Played(compatible.groq(key=KEY), body).completion
    assert completion.usage == Usage(input_tokens=9, output_tokens=3)


def test_deepseek_has_no_code_for_overflow_and_a_finish_for_overload():
    body = {"error": {"message": TOO_LONG, "code": "invalid_request_error"}}
    assert type(refused(compatible.deepseek, 400, body)) is ContextOverflow
    stream = sse(HELLO, chunk(delta("insufficient_system_resource")))
    assert type(Played(compatible.deepseek(key=KEY), stream).error) is Overloaded


def test_deepseek_keeps_its_old_names():
    with Router() as r:
        r.register(compatible.deepseek(key=KEY), replace=True)
        assert "reasoning_effort" in r.parameters("deepseek/deepseek-chat")


def test_ollama_has_messages_for_codes():
    message_ = "prompt too long; exceeded max context length by 12 tokens"
    body = {"error": {"message": message_, "type": "invalid_request_error", "code": None}}
    assert type(refused(compatible.ollama, 400, body)) is ContextOverflow
    body = {"error": {"message": 'model "x" not found, try pulling it first', "type": "api_error"}}
    assert type(refused(compatible.ollama, 404, body)) is ModelNotFound


def test_vllm_has_an_error_object():
    body = {"object": "error", "message": TOO_LONG, "type": "BadRequestError", "code": 400}
    assert type(refused(compatible.vllm, 400, body)) is ContextOverflow
    body = {"object": "error", "message": "no `x`", "type": "NotFoundError", "code": 404}
    assert type(refused(compatible.vllm, 404, body)) is ModelNotFound


def test_llamacpp_is_overloaded_while_it_loads():
    body = {"error": {"message": "Loading model", "type": "unavailable_error", "code": 503}}
    assert type(refused(compatible.llamacpp, 503, body)) is Overloaded


def test_llamacpp_overflows_in_the_middle_of_an_answer():
    failure = {"code": 500, "message": "Context size has been exceeded.", "type": "server_error"}
    error = Played(compatible.llamacpp(), sse(HELLO, {"error": failure})).error
    assert type(error) is ContextOverflow


def test_llamacpp_has_its_own_name_for_the_repetition_penalty():
    played = Played(compatible.llamacpp(), sse(HELLO, STOP), repetition_penalty=1.1)
    assert played.request.json["repeat_penalty"] == 1.1


def test_llamacpp_answers_for_real(llama_server):
    with Router() as r:
        r.register(compatible.llamacpp(llama_server.base_url, llama_server.key), replace=True)
        sampled = {"top_k": 5, "min_p": 0.1, "repetition_penalty": 1.1, "max_tokens": 3}
        answer = r.create_completion("llama.cpp/smollm2", QUESTION, stream=True, **sampled)
        assert "".join(answer)
        assert answer.completion.usage.output_tokens == 3


def test_h2ogpt_streams_as_sse_starlette_does():
    def event(content, finish=None, **fields):
        choice = {**delta(finish, content=content), "message": {"content": content}}
        return chunk(choice, model="", object="chat.completions.chunk", **fields)

    events = (event(""), event("Hel"), ": ping - 2024-01-01", event("lo"))
    stream = sse(*events, event("", "stop", usage=USAGE), done=False).replace(b"\n", b"\r\n")
    played = Played(compatible.h2ogpt(), stream)
    assert played.completion.text == "Hello"
    assert played.completion.model == "asked-for"
    assert played.completion.usage == Usage(input_tokens=9, output_tokens=3)
    assert "stream_options" not in played.request.json


def test_h2ogpt_hides_its_failures_behind_a_400():
    """So they are taken for the server's, and the router goes to the next target."""
    error = refused(compatible.h2ogpt, 400, b"list index out of range")
    assert (type(error), error.status, error.retryable) == (UpstreamError, 400, True)
    assert "list index" in error.message
    assert type(refused(openai, 400, b"list index out of range")) is BadRequest
    assert type(refused(compatible.h2ogpt, 403, b"no")) is PermissionDenied
    assert type(refused(compatible.h2ogpt, 401, {"detail": "Unauthorized"})) is AuthError
    detail = [{"loc": ["body", "messages"], "msg": "field required"}]
    assert type(refused(compatible.h2ogpt, 422, {"detail": detail})) is BadRequest


# -- the page of docs

PAGE = Path(__file__).parents[2] / "docs" / "openai.md"


def test_page_has_every_service_with_its_variables():
    rows = re.findall(
        r"^\| `(.+)` \| `(http.+)` \| `(.+)` \| `(\w+)`", PAGE.read_text(), re.MULTILINE
    )
    assert rows == [(r.name, r.base_url, r.url_variable, *r.key_variables) for r in ROWS]


def test_page_has_every_parameter_and_the_services_that_lack_it():
    rows = re.findall(
        r"^\| `(\w+)` \| .+ \| (tuning|feature) \| (.*)\|$", PAGE.read_text(), re.MULTILINE
    )
    parameters = read_signature(openai().create_completion, "providers.openai")
    assert rows == [(each.name, each.kind.value, lacking(each.name)) for each in parameters]


def lacking(parameter):
    names = [f"`{row.name}`" for row in ROWS if parameter in row.without]
    return f"{', '.join(names)} " if names else ""
