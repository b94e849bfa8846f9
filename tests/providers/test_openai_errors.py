"""The errors of OpenAI's wire, by the code of the body first and the status second."""

import json

import pytest
from emulators.chat import Played

from providers import compatible
from providers.openai import openai
from providers.openai_errors import CODE_ERRORS, Problem
from router import (
    AuthError,
    BadRequest,
    ContentFiltered,
    ContextOverflow,
    ModelNotFound,
    Overloaded,
    PayloadTooLarge,
    PermissionDenied,
    ProtocolError,
    QuotaExhausted,
    RateLimited,
    Timeout,
    UnsupportedParameter,
    UpstreamError,
)

KEY = "a-key-that-nobody-may-see"


def refused(status, body, headers=None):
    encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Played(openai(key=KEY), encoded, status=status, headers=headers).error


def said(code=None, type_="invalid_request_error", message="It is so."):
    return {"error": {"message": message, "type": type_, "param": None, "code": code}}


ERRORS = [
    (400, said("context_length_exceeded"), ContextOverflow, "context_length_exceeded"),
    (400, said("content_filter"), ContentFiltered, "content_filter"),
    (400, said("content_policy_violation"), ContentFiltered, "content_policy_violation"),
    (400, said("string_above_max_length"), PayloadTooLarge, "string_above_max_length"),
    (400, said("unsupported_value"), UnsupportedParameter, "unsupported_value"),
    (400, said("model_decommissioned"), ModelNotFound, "model_decommissioned"),
    (400, said(), BadRequest, "invalid_request_error"),
    (400, said("invalid_prompt"), ContentFiltered, "invalid_prompt"),
    (400, said("tool_use_failed"), BadRequest, "tool_use_failed"),
    (400, said("json_validate_failed"), BadRequest, "json_validate_failed"),
    (400, said("model_terms_required"), PermissionDenied, "model_terms_required"),
    (400, said("organization_restricted"), PermissionDenied, "organization_restricted"),
    (401, said("invalid_api_key"), AuthError, "invalid_api_key"),
    (402, said(None, None), QuotaExhausted, "402"),
    (403, said("unsupported_country_region_territory"), PermissionDenied, None),
    (404, said("model_not_found"), ModelNotFound, "model_not_found"),
    (404, said(None, "api_error", "model 'x' not found"), ModelNotFound, "api_error"),
    (413, said("rate_limit_exceeded", "tokens"), RateLimited, "rate_limit_exceeded"),
    (413, said(), PayloadTooLarge, None),
    (422, {"detail": [{"loc": ["body", "n"], "msg": "too small"}]}, BadRequest, "422"),
    (429, said("insufficient_quota", "insufficient_quota"), QuotaExhausted, "insufficient_quota"),
    (429, said(None, "insufficient_quota"), QuotaExhausted, "insufficient_quota"),
    (429, said("organization_spend_limit_exceeded", "insufficient_quota"), QuotaExhausted, None),
    (429, said("rate_limit_exceeded", "tokens"), RateLimited, "rate_limit_exceeded"),
    (429, said("slow_down"), Overloaded, "slow_down"),
    (429, said("RateLimitReached", None), RateLimited, "RateLimitReached"),
    (500, said(None, "server_error"), UpstreamError, "server_error"),
    (503, said("slow_down"), Overloaded, "slow_down"),
    (504, said(), Timeout, None),
    (529, {"error": "overloaded"}, Overloaded, "529"),
    # One service's own shape each.
    (400, {"error": {"code": 400, "type": "too_many_prompt_tokens"}}, ContextOverflow, None),
    (
        400,
        {"object": "error", "message": "No.", "type": "BadRequestError", "code": 400},
        BadRequest,
        "BadRequestError",
    ),
    (401, {"error": {"code": "401", "message": "Access denied"}}, AuthError, "401"),
    (403, {"error": {"code": 403, "message": "No."}}, PermissionDenied, "403"),
    (403, {"message": "forbidden here"}, PermissionDenied, "403"),
    (400, [{"error": {"code": 400, "message": "No.", "status": "X"}}], BadRequest, "400"),
    (500, {"detail": {"error": {"message": "No.", "code": "slow_down"}}}, Overloaded, "slow_down"),
    (400, {"error": {"code": "Arrearage", "message": "No."}}, QuotaExhausted, "Arrearage"),
    (401, {"message": "No.", "code": "wrong_api_key"}, AuthError, "wrong_api_key"),
    (400, {"error": {"code": "unknown_model", "message": "No."}}, ModelNotFound, "unknown_model"),
    (400, {"error": {"code": "unavailable_model", "message": "No."}}, ModelNotFound, None),
    (
        400,
        {"object": "error", "message": "Invalid model: x", "type": "invalid_model", "code": "1500"},
        ModelNotFound,
        None,
    ),
    (400, said("model_not_available"), ModelNotFound, "model_not_available"),
    (400, said("model_not_supported"), ModelNotFound, "model_not_supported"),
    (400, {"error": {"message": "x is not a valid model ID", "code": 400}}, ModelNotFound, "400"),
    (400, said("invalid_request_error", message="Model Not Exist"), ModelNotFound, None),
    (400, said("invalid_request_error", message="Content Exists Risk"), ContentFiltered, None),
    (403, {"code": "x", "error": "Content violates usage guidelines."}, ContentFiltered, None),
    (403, {"code": "x", "error": "Your team doesn't have any credits."}, QuotaExhausted, None),
    (429, {"code": "x", "error": "It has used all available credits."}, QuotaExhausted, None),
    (422, {"error": "`inputs` must have less than 8 tokens. Given: 9"}, ContextOverflow, None),
    (
        400,
        said(message="The input (9 tokens) is longer than the model's context length (8 tokens)."),
        ContextOverflow,
        None,
    ),
    (413, {"error": {"code": "tokens_limit_reached", "message": "No."}}, ContextOverflow, None),
    (400, said(message="Your request exceeded model token limit: 8192"), ContextOverflow, None),
    (400, said(message="This model's maximum prompt length is 8"), ContextOverflow, None),
    (400, said(message="Range of input length should be [1, 8]"), ContextOverflow, None),
    (422, {"error": "`inputs` tokens + `max_new_tokens` must be <= 8"}, ContextOverflow, None),
    # Azure
    (400, {"error": {"code": "OperationNotSupported", "message": "No."}}, ModelNotFound, None),
    (404, {"error": {"code": "DeploymentNotFound", "message": "No."}}, ModelNotFound, None),
    (
        400,
        {
            "error": {
                "message": "The response was filtered.",
                "type": None,
                "param": "prompt",
                "code": "content_filter",
                "status": 400,
                "innererror": {"code": "ResponsibleAIPolicyViolation"},
            }
        },
        ContentFiltered,
        "content_filter",
    ),
    # Alibaba
    (400, said("data_inspection_failed"), ContentFiltered, None),
    (400, {"error": {"code": "DataInspectionFailed", "message": "No."}}, ContentFiltered, None),
    (403, said("AllocationQuota.FreeTierOnly"), PermissionDenied, "AllocationQuota.FreeTierOnly"),
    (429, {"code": "Throttling.RateQuota", "message": "No."}, RateLimited, "Throttling.RateQuota"),
    # Cerebras, whose body is the error
    (
        429,
        {"message": "No.", "type": "too_many_requests_error", "code": "request_quota_exceeded"},
        RateLimited,
        "request_quota_exceeded",
    ),
    (429, {"message": "High traffic", "code": "queue_exceeded"}, Overloaded, "queue_exceeded"),
    # DeepSeek
    (
        402,
        said("invalid_request_error", "unknown_error", "Insufficient Balance"),
        QuotaExhausted,
        None,
    ),
    # Fireworks
    (
        412,
        said("PRECONDITION_FAILED", "error", "Account x is suspended, possibly due to a limit"),
        QuotaExhausted,
        "PRECONDITION_FAILED",
    ),
    (412, said("PRECONDITION_FAILED", "error", "No."), BadRequest, None),
    # GitHub
    (429, {"error": {"code": "RateLimitReached", "message": "No."}}, RateLimited, None),
    # Hugging Face's text generation inference
    (424, {"error": "It failed.", "error_type": "generation"}, UpstreamError, "generation"),
    (429, {"error": "Model is overloaded", "error_type": "overloaded"}, Overloaded, "overloaded"),
    (422, {"error": "Input validation error", "error_type": "validation"}, BadRequest, None),
    # Mistral
    (
        422,
        {
            "object": "error",
            "message": {"detail": [{"loc": ["body", "n"], "msg": "Extra inputs", "input": 1}]},
            "type": "invalid_request_error",
            "code": None,
        },
        BadRequest,
        None,
    ),
    (
        429,
        {"object": "error", "message": "No.", "type": "service_tier_capacity_exceeded"},
        Overloaded,
        None,
    ),
    # NVIDIA
    (403, {"status": 403, "title": "Forbidden", "detail": "Authorization failed"}, AuthError, None),
    (
        404,
        {"status": 404, "title": "Not Found", "detail": "Function 'x': Not found for account 'y'"},
        ModelNotFound,
        None,
    ),
    (402, {"status": 402, "title": "x", "detail": "Cloud credits expired"}, QuotaExhausted, None),
    # OpenRouter
    (
        403,
        {"error": {"code": 403, "message": "Key limit exceeded (total limit). Manage it."}},
        QuotaExhausted,
        None,
    ),
    (402, {"error": {"code": 402, "message": "Insufficient credits"}}, QuotaExhausted, None),
    # Perplexity, SambaNova, Together
    (400, said("invalid_model", "invalid_model", "No."), ModelNotFound, None),
    (429, {"error": {"type": "rate_limit_exceeded", "message": "No."}}, RateLimited, None),
    (402, said(None, "credit_limit", "Credit limit exceeded"), QuotaExhausted, None),
    (403, said(message="This model's maximum context length is 8"), ContextOverflow, None),
    # xAI
    (404, {"code": "Some entity was not found", "error": "No model x"}, ModelNotFound, None),
    (400, {"code": "Invalid argument", "error": "Model not found: x"}, ModelNotFound, None),
]


@pytest.mark.parametrize(("status", "body", "kind", "code"), ERRORS)
def test_error_is_classified_by_its_code_then_its_status(status, body, kind, code):
    error = refused(status, body)
    assert type(error) is kind
    assert error.status == status
    assert code is None or error.code == code


@pytest.mark.parametrize("code", CODE_ERRORS)
@pytest.mark.parametrize("status", [400, 429, 500])
def test_known_code_outweighs_every_status(code, status):
    assert type(refused(status, said(code))) is CODE_ERRORS[code]


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 4096 tokens. However, you requested 5000.",
        "prompt too long; exceeded max context length by 12 tokens",
        "Context size has been exceeded.",
        "prompt is too long: 210000 tokens > 200000 maximum",
        # vLLM
        "The decoder prompt (length 9) is longer than the maximum model length of 8.",
        "You passed 9 input tokens. However, the model's context length is only 8 tokens.",
        "The prompt (total length 9) is too long to fit into the model (context length 8).",
        # llama.cpp, and its server in Python
        "request (9 tokens) exceeds the available context size (8 tokens), try increasing it",
        "Requested tokens (9) exceed context window of 8",
        # LM Studio
        "The number of tokens to keep from the initial prompt is greater than the context length.",
        "However, the model is loaded with context length of only 8 tokens, which is not enough.",
        "Cannot truncate prompt with n_keep (9) >= n_ctx (8)",
        # Ollama
        "the input length exceeds the context length",
        # Anthropic and Gemini, behind a gateway
        "input length and `max_tokens` exceed context limit: 9 + 1 > 8",
        "The input token count (9) exceeds the maximum number of tokens allowed (8).",
    ],
)
def test_overflow_is_known_by_its_words_where_there_is_no_code(message):
    assert type(refused(400, said(message=message))) is ContextOverflow
    assert type(refused(500, said(None, "server_error", message))) is ContextOverflow
    assert type(refused(429, said(None, None, message))) is RateLimited


def test_key_of_a_gateway_that_a_service_behind_it_refuses_is_not_the_callers():
    """Its words were taken for the gateway's own: the caller was told to check a good key."""
    raw = {"raw": "Incorrect API key provided", "provider_name": "xAI"}
    body = {"error": {"message": "Provider returned error", "code": 400, "metadata": raw}}
    assert type(refused(400, body)) is BadRequest


def test_message_is_the_services_own_on_one_line():
    assert refused(400, said(message="Not\n  this.")).message == "Not this."


def test_message_of_a_refused_key_does_not_repeat_the_key():
    """OpenAI repeats its ends, others all of it."""
    for shown in (KEY, f"{KEY[:4]}***{KEY[-4:]}"):
        error = refused(401, said("invalid_api_key", message=f"Incorrect API key: {shown}"))
        assert type(error) is AuthError
        assert KEY[:4] not in str(error)
        assert "OPENAI_API_KEY" in error.message
        assert error.__cause__ is None
        assert error.__suppress_context__


def test_message_does_not_repeat_the_prompt_that_a_framework_returns():
    detail = [{"loc": ["body", "messages", 0], "msg": "Field required", "input": "my secret plan"}]
    error = refused(422, {"detail": detail})
    assert error.message == "body.messages.0: Field required"


@pytest.mark.parametrize(
    ("status", "kind"), [(400, BadRequest), (403, PermissionDenied), (502, UpstreamError)]
)
def test_page_of_html_is_an_error_by_its_status(status, kind):
    error = refused(status, b"<html><title>Bad gateway</title></html>")
    assert type(error) is kind
    assert error.message == f"status {status} with a page of HTML"


@pytest.mark.parametrize(
    "body", [b"", b"Bad gateway", b"null", b"7", b'{"a": 1}', b'{"error": {}}']
)
def test_body_that_says_nothing_is_an_error_by_its_status(body):
    assert type(refused(502, body)) is UpstreamError


@pytest.mark.parametrize(
    "body",
    [
        b"<html>Not here</html>",
        b"404 page not found",
        b"",
        b'{"detail": "Not Found"}',
        b'{"error": {"code": 404, "message": "File Not Found", "type": "not_found_error"}}',
    ],
)
def test_path_that_is_not_there_is_blamed_on_the_base_url(body):
    error = refused(404, body)
    assert type(error) is ProtocolError
    assert "OPENAI_BASE_URL" in error.message
    assert not error.possibly_billed


def test_redirect_is_refused():
    error = refused(302, b"", {"location": "https://example.org/"})
    assert type(error) is ProtocolError
    assert "redirect refused" in error.message


def test_problem_is_not_seen_where_there_is_none():
    for body in ({"choices": []}, {"id": "x", "usage": {}}, [], [{}, {}], None, "text", {}):
        assert Problem.of(body) is None


@pytest.mark.parametrize(
    ("status", "message", "code"),
    [
        (429, "Request too large for gpt-4o on tokens per min: Limit 8, Requested 9.", "tokens"),
        (413, "Request too large for model `x` on tokens per minute (TPM): Limit 8", "tokens"),
        (429, "Rate limit exceeded: free-models-per-day. Add 10 credits", None),
        (429, "Free allocated quota exceeded.", "Throttling.AllocationQuota"),
    ],
)
def test_limit_that_the_same_request_never_passes_asks_for_no_other_try(status, message, code):
    """It was waited for, and asked again, in vain."""
    word = "rate_limit_exceeded" if code == "tokens" else code
    error = refused(status, said(word, code, message))
    assert type(error) is RateLimited
    assert error.should_retry is False
    assert refused(429, said("rate_limit_exceeded")).should_retry is None


RELAYED = {"error": {"message": "No, since you said Rex.", "code": "context_length_exceeded"}}


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (json.dumps(RELAYED), ContextOverflow),
        ({"__kind": "OK", "data": json.dumps(RELAYED)}, ContextOverflow),
        (json.dumps(said("content_filter")), ContentFiltered),
        (json.dumps(said("unsupported_value")), UnsupportedParameter),
        # What is between the gateway and the service is not the caller's.
        (json.dumps(said("invalid_api_key")), BadRequest),
        (json.dumps(said("insufficient_quota")), BadRequest),
        ("It is so.", BadRequest),
        ('{"error": "cut in the mid', BadRequest),
        (None, BadRequest),
        ({"data": 5}, BadRequest),
    ],
)
def test_error_that_a_gateway_relays_is_read_for_what_it_says_of_the_request(raw, kind):
    metadata = {"raw": raw, "provider_name": "Some"}
    body = {"error": {"message": "Provider returned error", "code": 400, "metadata": metadata}}
    error = refused(400, body)
    assert type(error) is kind
    assert "Rex" not in error.message


def google(status, code, *details, message="No."):
    return [{"error": {"code": code, "message": message, "status": status, "details": details}}]


def test_error_of_googles_endpoint_for_this_wire_is_read_as_google_says_it():
    """The wait that it names in the body was lost, and a day's quota taken for a minute's."""
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"}
    error = refused(429, google("RESOURCE_EXHAUSTED", 429, info))
    assert (type(error), error.retry_after) == (RateLimited, 34.5)
    assert (error.status, error.code) == (429, "RESOURCE_EXHAUSTED")
    daily = {"violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]}
    assert type(refused(429, google("RESOURCE_EXHAUSTED", 429, daily))) is QuotaExhausted
    named = google("INVALID_ARGUMENT", 400, message="unexpected model name format")
    assert type(refused(400, named)) is ModelNotFound


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"error": "Model is overloaded", "error_type": "overloaded"}, Overloaded),
        ({"error": "It failed.", "error_type": "generation"}, UpstreamError),
        ({"error": "It is cut.", "error_type": "incomplete_generation"}, UpstreamError),
        ({"error": "Input validation error: n", "error_type": "validation"}, BadRequest),
        ({"error": {"message": "Too long", "http_status_code": 422}}, BadRequest),
        ({"error": {"message": "Failed", "code": "tool_use_failed", "status": 400}}, BadRequest),
        ({"error": {"code": "Throttling.RateQuota", "message": "No."}}, RateLimited),
    ],
)
def test_error_within_a_stream_is_known_by_its_words(error, kind):
    body = f"data: {json.dumps(error)}\n\n".encode()
    assert type(Played(openai(key=KEY), body).error) is kind


def test_alibaba_calls_a_minutes_tokens_a_quota():
    """A key was left alone for a quarter of an hour for what passes within a minute."""
    body = json.dumps(said("insufficient_quota", "insufficient_quota")).encode()
    assert type(Played(compatible.alibaba(key=KEY), body, status=429).error) is RateLimited
