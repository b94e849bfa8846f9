"""What Anthropic's service says went wrong, in the router's classes."""

import json

import pytest
from emulators.messages import play
from features import emulated

from providers.anthropic import Anthropic
from providers.anthropic_errors import STATUSES, Problem
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
    UpstreamError,
)

KEY = "a-key-that-nobody-may-see"
KINDS = {
    "invalid_request_error": BadRequest,
    "authentication_error": AuthError,
    "billing_error": QuotaExhausted,
    "permission_error": PermissionDenied,
    "not_found_error": ModelNotFound,
    "conflict_error": UpstreamError,
    "request_too_large": PayloadTooLarge,
    "rate_limit_error": RateLimited,
    "api_error": UpstreamError,
    "timeout_error": Timeout,
    "overloaded_error": Overloaded,
}


def body(kind, message="It failed.", **fields):
    error = {"type": kind, "message": message, **fields}
    return json.dumps({"type": "error", "error": error, "request_id": "req_7"}).encode()


def refused(status, content, **given):
    error = play(content, status=status, **given).error
    assert error.status == status
    return error


def test_every_type_has_its_class():
    assert KINDS.keys() == STATUSES.keys()


@emulated("anthropic", "errors")
@pytest.mark.parametrize(("kind", "error"), KINDS.items())
@pytest.mark.parametrize("stream", [False, True])
def test_refusal_becomes_the_class_of_its_type(kind, error, stream):
    failed = refused(STATUSES[kind], body(kind), stream=stream)
    assert (type(failed), failed.code) == (error, kind)
    assert failed.message == (
        "the key was refused: check ANTHROPIC_API_KEY or the setting key"
        if error is AuthError
        else "It failed."
    )


def test_type_counts_before_the_status():
    assert type(refused(500, body("overloaded_error"))) is Overloaded
    assert type(refused(400, body("billing_error"))) is QuotaExhausted


@pytest.mark.parametrize(
    ("status", "error"), [(400, BadRequest), (413, PayloadTooLarge), (422, BadRequest)]
)
def test_type_of_all_bad_requests_says_less_than_the_status(status, error):
    assert type(refused(status, body("invalid_request_error"))) is error


@pytest.mark.parametrize(
    ("status", "kind", "message", "error"),
    [
        (
            400,
            "invalid_request_error",
            "prompt is too long: 210883 tokens > 200000 maximum",
            ContextOverflow,
        ),
        (
            400,
            "invalid_request_error",
            "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000",
            ContextOverflow,
        ),
        (
            400,
            "invalid_request_error",
            "Your credit balance is too low to access the API.",
            QuotaExhausted,
        ),
        (
            400,
            "invalid_request_error",
            "You have reached your specified API usage limits.",
            QuotaExhausted,
        ),
        (
            429,
            "rate_limit_error",
            "This request would exceed your account's monthly spend limit.",
            QuotaExhausted,
        ),
        (
            400,
            "invalid_request_error",
            "Output blocked by content filtering policy",
            ContentFiltered,
        ),
        (400, "invalid_request_error", "messages: the prompt is long", BadRequest),
        (429, "rate_limit_error", "40,000 input tokens per minute", RateLimited),
        (500, "api_error", "prompt is too long: it broke us", UpstreamError),
    ],
)
def test_message_tells_what_has_no_type(status, kind, message, error):
    failed = refused(status, body(kind, message))
    assert (type(failed), failed.code, failed.message) == (error, kind, message)


def test_spend_limit_is_no_rate_limit():
    details = {"error_code": "enforced_spend_limit_reached"}
    failed = refused(429, body("rate_limit_error", details=details))
    assert (type(failed), failed.code) == (QuotaExhausted, "enforced_spend_limit_reached")
    limited = refused(429, body("rate_limit_error", details=None))
    assert (type(limited), limited.code) == (RateLimited, "rate_limit_error")


def test_timeout_of_the_service_may_be_billed():
    failed = refused(504, body("timeout_error"))
    assert (failed.phase, failed.possibly_billed) == ("total", True)
    assert not refused(529, body("overloaded_error")).possibly_billed


def test_error_names_its_request():
    assert refused(529, body("overloaded_error")).request_id == "req_7"


def test_message_is_told_on_one_line():
    assert refused(400, body("invalid_request_error", "a\n  b")).message == "a b"


def test_error_of_a_type_to_come_has_the_class_of_its_status():
    failed = refused(429, body("a_limit_to_come"))
    assert (type(failed), failed.code) == (RateLimited, "a_limit_to_come")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"error": "upstream is down"}', "upstream is down"),
        (b'{"error": {"type": "api_error"}}', "the service reports an error"),
        (b'{"error": {"message": 7}}', "the service reports an error"),
        (b'{"detail": "no"}', 'status 500 with {"detail": "no"}'),
        (b"[]", "status 500 with []"),
        (b"<html>\n<h1>502</h1>", "status 500 with a page of HTML"),
        (b"", "status 500 with no body"),
        (b"\xff\xfe", "status 500 with \ufffd\ufffd"),
    ],
)
def test_body_of_another_shape_is_shown_as_far_as_it_can_be(content, message):
    failed = refused(500, content)
    assert (type(failed), failed.message) == (UpstreamError, message)


@pytest.mark.parametrize("content", [body("not_found_error", "Not found"), b"404 page", b"<html>"])
def test_path_that_does_not_exist_is_no_unknown_model(content):
    failed = refused(404, content)
    assert type(failed) is ProtocolError
    assert "ANTHROPIC_BASE_URL" in failed.message
    assert not failed.possibly_billed
    model = refused(404, body("not_found_error", "model: claude-99"))
    assert (type(model), model.message) == (ModelNotFound, "model: claude-99")


def test_redirect_is_refused():
    failed = refused(307, b"")
    assert (type(failed), failed.code) == (ProtocolError, "redirect")


def test_key_that_a_refusal_repeats_is_not_told_on():
    failed = refused(
        401,
        body("authentication_error", f"no such key: {KEY}"),
        provider=Anthropic(key=KEY),
    )
    assert type(failed) is AuthError
    assert KEY not in f"{failed!r} {failed}"


def test_body_without_an_error_has_no_problem():
    for content in (None, [], {}, {"error": None}, {"type": "message"}, {"error": []}):
        assert Problem.of(content) is None
