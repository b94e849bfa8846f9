"""The rows: what holds for all of them, and what each says of its service."""

import json
import re
import tomllib
from pathlib import Path

import pytest
from emulators.chat import DONE, Played, call, chunk, delta, message, sse
from emulators.loopback import LoopbackServer, Reply

from providers import compatible
from providers.openai import Row, openai
from router import (
    AuthError,
    BadRequest,
    Chunk,
    Citation,
    ConfigError,
    ContentFiltered,
    ContextOverflow,
    ModelNotFound,
    Overloaded,
    PermissionDenied,
    ProtocolError,
    QuotaExhausted,
    RateLimited,
    Router,
    Secret,
    Target,
    UnsupportedParameter,
    UpstreamError,
    Usage,
)
from router.parameters import read_signature

ROWS = [openai, *(value for value in vars(compatible).values() if isinstance(value, Row))]
LOCAL = [
    *(compatible.ollama_openai, compatible.vllm, compatible.llamacpp, compatible.h2ogpt),
    compatible.lmstudio,
]
ANYWHERE = [compatible.azure, compatible.h2ogpte]  # each customer has an address of its own
PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]

QUESTION = [{"role": "user", "content": "Hi"}]
KEY = "a-key"
HELLO = chunk(delta(content="Hello"))
STOP = chunk(delta("stop"))
USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
TOO_LONG = "This model's maximum context length is 4096 tokens. However, you requested 5000."

each_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


SCHEMA = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}


def asked(row, messages=QUESTION, stream=False, **parameters):
    """The body that goes out for a call."""
    provider = row(base_url="http://127.0.0.1:9", key=KEY)
    body = sse(HELLO, STOP)
    return Played(provider, body, messages=messages, stream=stream, **parameters).request.json


def refused(row, status, body):
    encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Played(row(base_url="http://127.0.0.1:9", key=KEY), encoded, status=status).error


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
        listed = [model.id for model in r.models(row.name)]
        assert listed[: len(row.models)] == [model.id for model in row.models]


@each_row
def test_row_serves_models_that_it_does_not_list(row):
    with Router() as r:
        r.register(row(), replace=True)
        assert "temperature" in r.parameters(f"{row.name}/vendor/a-model-of-tomorrow")


@each_row
def test_row_has_variables_of_its_own_that_tests_are_kept_from(row):
    """What the suite clears from the environment goes by these endings."""
    assert row.url_variable.endswith(("_BASE_URL", "_ENDPOINT"))
    assert all(variable.endswith(("_API_KEY", "_TOKEN")) for variable in row.key_variables)
    others = [other for other in ROWS if other is not row]
    assert row.url_variable not in {other.url_variable for other in others}
    assert not set(row.key_variables) & {name for o in others for name in o.key_variables}


@each_row
def test_row_names_the_key_that_is_missing_or_needs_none(row):
    played = Played(row(base_url="http://127.0.0.1:9"), sse(HELLO, STOP))
    if row in LOCAL:
        assert played.request.headers == {}
        assert played.completion.text == "Hello"
        assert row().missing() is None
    else:
        assert (type(played.error), played.error.code) == (AuthError, "missing_key")
        assert row.key_variables[0] in played.error.message
        assert row().missing() == played.error.message
        assert (row(key=KEY).missing() is None) == (row not in ANYWHERE)


@each_row
def test_row_is_on_loopback_or_encrypted_or_wherever_its_customer_is(row):
    if row in ANYWHERE:
        provider = row(key=KEY)
        error = Played(provider, sse(HELLO, STOP)).error
        assert type(error) is ConfigError
        assert row.url_variable in error.message
        assert provider.missing() == error.message
    else:
        assert row.base_url.startswith("http://127.0.0.1:" if row in LOCAL else "https://")


@each_row
def test_row_maps_what_it_takes_and_nothing_else(row):
    """A dialect that leaves no trace for a parameter would drop it in silence."""
    left = read_signature(row().create_completion, row.name).without(row.without, row.renames)
    taken = {item.argument for item in left} & {"reasoning_effort", "response_format"}
    values = {"reasoning_effort": "high", "response_format": SCHEMA}
    plain = asked(row)
    for name in taken:
        assert asked(row, **{name: values[name]}) != plain, name


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
        with pytest.raises(UnsupportedParameter, match="'logprobs'"):
            r.create_completion("groq/llama-3.1-8b-instant", QUESTION, logprobs=True)


@each_row
def test_row_takes_the_one_value_that_it_acts_by_and_refuses_others(row):
    """Much code passes n=1, which nobody needs to be told."""
    for name, value in row.only.items():
        assert asked(row, **{name: value}) == asked(row)
        other = 2 if name == "n" else False
        assert row(key=KEY).unfit("m", (), {name: other}) == {name: f"but {value}"}
        assert row(key=KEY).unfit("m", (), {name: value, "seed": 1}) == {}


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


def test_deepseek_is_asked_for_its_old_names_by_them():
    """They differ in whether they think, so neither stands for the newer name."""
    with Router() as r:
        r.register(compatible.deepseek(key=KEY), replace=True)
        assert "reasoning_effort" in r.parameters("deepseek/deepseek-chat")
    assert asked(compatible.deepseek, model="deepseek-chat")["model"] == "deepseek-chat"


def test_deepseek_has_a_switch_for_thinking_and_no_schemas():
    body = asked(compatible.deepseek, reasoning_effort="none", response_format=SCHEMA)
    assert body["thinking"] == {"type": "disabled"}
    assert body["response_format"] == {"type": "json_object"}


def test_ollama_openai_has_messages_for_codes():
    message_ = "prompt too long; exceeded max context length by 12 tokens"
    body = {"error": {"message": message_, "type": "invalid_request_error", "code": None}}
    assert type(refused(compatible.ollama_openai, 400, body)) is ContextOverflow
    body = {"error": {"message": 'model "x" not found, try pulling it first', "type": "api_error"}}
    assert type(refused(compatible.ollama_openai, 404, body)) is ModelNotFound


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


def test_llamacpp_tells_its_template_how_long_to_think():
    body = asked(compatible.llamacpp, reasoning_effort="low")
    told = {"enable_thinking": True, "reasoning_effort": "low"}
    assert body["chat_template_kwargs"] == told


def test_azure_has_its_key_its_version_and_its_deployment_in_places_of_their_own():
    provider = compatible.azure("https://here.openai.azure.com", KEY)
    played = Played(provider, sse(HELLO, STOP), model="my gpt/4o", max_tokens=5)
    assert played.request.url == (
        "https://here.openai.azure.com/openai/deployments/my%20gpt%2F4o/chat/completions"
        "?api-version=2024-10-21"
    )
    assert played.request.headers == {"api-key": Secret(KEY)}
    assert played.request.json["max_completion_tokens"] == 5


def test_azure_has_a_newer_api_without_versions_and_deployments():
    base_url = "https://here.openai.azure.com/openai/v1"
    provider = compatible.azure(base_url, KEY, path="/chat/completions", query={})
    assert Played(provider, sse(HELLO, STOP)).request.url == f"{base_url}/chat/completions"


def test_azure_speaks_of_deployments_and_of_filters():
    body = {"error": {"code": "DeploymentNotFound", "message": "The API deployment is not there."}}
    assert type(refused(compatible.azure, 404, body)) is ModelNotFound
    body = {"error": {"code": "content_filter", "message": "Filtered.", "innererror": {}}}
    assert type(refused(compatible.azure, 400, body)) is ContentFiltered
    filtered = chunk(prompt_filter_results=[{"prompt_index": 0, "content_filter_results": {}}])
    provider = compatible.azure("https://here.openai.azure.com", KEY)
    assert Played(provider, sse(filtered, HELLO, STOP)).completion.text == "Hello"


def test_mistral_refuses_what_it_does_not_know():
    """A 422 for each: stream_options, names of users, ids of tool calls that are not its own."""
    conversation = [
        {"role": "user", "content": "What time is it?", "name": "Ada"},
        {"role": "assistant", "content": None, "tool_calls": [call(None, "call_1", name="clock")]},
        {"role": "tool", "tool_call_id": "call_1", "content": "noon"},
    ]
    body = asked(compatible.mistral, conversation, stream=True, seed=1)
    assert "stream_options" not in body
    assert body["random_seed"] == 1
    user, assistant, tool = body["messages"]
    assert user == {"role": "user", "content": "What time is it?"}
    (made,) = assistant["tool_calls"]
    assert made["id"] == tool["tool_call_id"] != "call_1"


def test_mistral_has_a_whole_body_for_a_message():
    detail = [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted", "input": 1}]
    error = refused(compatible.mistral, 422, {"object": "error", "message": {"detail": detail}})
    assert (type(error), error.message) == (BadRequest, "body.seed: Extra inputs are not permitted")


def test_mistral_cites_by_number():
    parts = [{"type": "text", "text": "Wide."}, {"type": "reference", "reference_ids": [0, 3]}]
    body = sse(chunk(delta(content=parts)), STOP)
    choice = Played(compatible.mistral(key=KEY), body).completion.choices[0]
    assert choice.text == "Wide."
    assert choice.citations == (Citation(document="0"), Citation(document="3"))


def test_perplexity_repeats_its_sources_with_every_chunk():
    sources = {
        "citations": ["https://example.org/sea"],
        "search_results": [
            {"url": "https://example.org/sea", "title": "The sea", "snippet": "It is wide."}
        ],
    }
    body = sse(chunk(delta(content="Wide"), **sources), chunk(delta("stop"), **sources))
    (cited,) = Played(compatible.perplexity(key=KEY), body).completion.choices[0].citations
    assert (cited.url, cited.title) == ("https://example.org/sea", "The sea")
    assert cited.quote == "It is wide."


def test_perplexity_counts_its_reasoning_apart():
    usage = {**USAGE, "completion_tokens": 7, "total_tokens": 16, "reasoning_tokens": 1000}
    body = sse(HELLO, chunk(delta("stop"), usage=usage))
    completion = Played(compatible.perplexity(key=KEY), body).completion
    assert completion.usage == Usage(input_tokens=9, output_tokens=1007, reasoning_tokens=1000)


def test_together_has_log_probabilities_in_lists_and_a_number_for_their_wish():
    assert asked(compatible.together, logprobs=True, top_logprobs=3)["logprobs"] == 3
    told = {"tokens": ["Hel", "lo"], "token_logprobs": [-0.5, -0.25], "token_ids": [1, 2]}
    whole = json.dumps(chunk({**message(content="Hello"), "logprobs": told})).encode()
    choice = Played(compatible.together(key=KEY), whole, stream=False).completion.choices[0]
    expected = ({"token": "Hel", "logprob": -0.5}, {"token": "lo", "logprob": -0.25})
    assert choice.logprobs == expected
    pieces = [{**delta(content=text), "logprobs": number} for text, number in (("Hel", -0.5),)]
    streamed = Played(compatible.together(key=KEY), sse(*map(chunk, pieces), STOP)).completion
    assert (streamed.text, streamed.choices[0].logprobs) == ("Hel", expected[:1])


def test_xai_refuses_a_key_with_a_400():
    body = {"code": "invalid-argument", "error": f"Incorrect API key provided: {KEY}."}
    error = refused(compatible.xai, 400, body)
    assert type(error) is AuthError
    assert KEY not in str(error)


def test_xai_leaves_reasoning_out_of_the_output_but_not_of_the_total():
    details = {"completion_tokens_details": {"reasoning_tokens": 20}}
    body = sse(HELLO, chunk(delta("stop"), usage={**USAGE, "total_tokens": 32, **details}))
    completion = Played(compatible.xai(key=KEY), body).completion
    assert completion.usage == Usage(input_tokens=9, output_tokens=23, reasoning_tokens=20)


def test_moonshot_puts_the_usage_at_the_choice():
    body = sse(HELLO, chunk({**delta("stop"), "usage": USAGE}))
    completion = Played(compatible.moonshot(key=KEY), body).completion
    assert completion.usage == Usage(input_tokens=9, output_tokens=3)


ZAI_ERRORS = {
    **dict.fromkeys(("1113", "1304", "1308", "1310"), QuotaExhausted),
    "1211": ModelNotFound,
    "1261": ContextOverflow,
}


@pytest.mark.parametrize(("code", "kind"), ZAI_ERRORS.items())
def test_zai_says_what_is_wrong_by_number(code, kind):
    body = {"error": {"code": code, "message": "No."}}
    assert type(refused(compatible.zai, 429, body)) is kind
    assert type(Played(compatible.zai(key=KEY), sse(HELLO, body)).error) is kind
    assert type(refused(openai, 429, body)) is RateLimited  # its numbers are nobody else's


def test_zai_can_be_made_to_call_no_tool():
    tools = [{"type": "function", "function": {"name": "clock"}}]
    provider = compatible.zai(key=KEY)
    error = Played(provider, sse(HELLO, STOP), tools=tools, tool_choice="required").error
    assert type(error) is UnsupportedParameter


def test_alibaba_limits_thinking_by_tokens():
    assert asked(compatible.alibaba, reasoning_effort="low")["thinking_budget"] == 1024


def test_openrouter_relays_what_it_was_told():
    """The prompt may be repeated there, so no message shows it."""
    said = json.dumps({"error": {"message": f"{TOO_LONG} You said: my secret plan"}})
    metadata = {"provider_name": "Here", "raw": said}
    body = {"error": {"code": 400, "message": "Provider returned error", "metadata": metadata}}
    error = refused(compatible.openrouter, 400, body)
    assert type(error) is ContextOverflow
    assert "secret plan" not in str(error)


def test_openrouter_tells_files_apart_from_sources():
    notes = [
        {"type": "url_citation", "url_citation": {"url": "https://example.org", "end_index": 0}},
        {"type": "file", "file": {"hash": "h", "name": "a.pdf"}},
    ]
    body = sse(chunk(delta(content="Hello", annotations=notes)), STOP)
    (cited,) = Played(compatible.openrouter(key=KEY), body).completion.choices[0].citations
    assert (cited.url, cited.start, cited.end) == ("https://example.org", None, None)


def test_huggingface_has_lists_of_errors():
    error = refused(compatible.huggingface, 422, {"error": ["Too much.", "Too little."]})
    assert (type(error), error.message) == (BadRequest, "Too much.; Too little.")


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


def table(header):
    """The rows of the page's table that begins so, as lists of cells without their backquotes."""
    lines = PAGE.read_text().partition(f"{header}\n")[2].partition("\n\n")[0].splitlines()
    return [re.split(r" ?\| ?", line.strip("|").replace("`", "").strip()) for line in lines[1:]]


def listed(names):
    return ", ".join(names)


def test_page_has_every_service_with_its_variables():
    expected = []
    for row in ROWS:
        keys = " or ".join(row.key_variables) + ("" if row.needs_key else ", or none")
        expected.append([row.name, row.base_url or "none", row.url_variable, keys])
    assert table("| provider | its address unless set otherwise | address from | key from |") == (
        expected
    )


def test_page_has_every_parameter():
    parameters = read_signature(openai().create_completion, "providers.openai")
    shown = [(name, kind) for name, _, kind in table("| name | type | |")]
    assert shown == [(each.name, each.kind.value) for each in parameters]


def test_page_says_what_every_service_lacks():
    expected = [
        [
            row.name,
            listed(row.without),
            listed(f"{name}={value}" for name, value in row.only.items()),
            listed(row.renames.values()),
        ]
        for row in ROWS
    ]
    assert table("| provider | lacks | takes only | under another name |") == expected


def test_page_says_where_reasoning_and_effort_go():
    page = " ".join(PAGE.read_text().split())
    for place in ("reasoning_content", "reasoning", "reasoning_details"):
        names = {row.name for row in ROWS if row.reasoning == place}
        told = re.search(rf"as `{place}`(?: with their seals)? \(([^)]*)\)", page)[1]
        assert set(told.replace("`", "").split(", ")) == names
    knobs = [row[0].split(", ") for row in table("| provider | what is sent |")]
    by_dialect = {}
    for row in ROWS:
        for dialect in row.dialect:
            if "effort" in dialect.__name__:
                by_dialect.setdefault(dialect, set()).add(row.name)
    assert sorted(map(sorted, by_dialect.values())) == sorted(map(sorted, knobs[:-1]))


def test_page_says_who_takes_cache_markers():
    page = " ".join(PAGE.read_text().split())
    told = re.search(r"`cache_control` goes to (.*?), and is left out", page)[1]
    assert set(re.findall(r"`(.*?)`", told)) == {row.name for row in ROWS if row.cache_markers}
