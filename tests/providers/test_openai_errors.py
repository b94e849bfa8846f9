"""The errors of OpenAI's wire, by the code of the body first and the status second."""

import json

import pytest
from emulators.chat import Played

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
    (400, said("tool_use_failed"), BadRequest, "tool_use_failed"),
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
