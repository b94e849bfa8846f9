"""What Cohere says went wrong."""

import json

import pytest
from emulators.chat import Played
from features import emulated

from providers.cohere import Cohere
from router import (
    AuthError,
    BadRequest,
    ContentFiltered,
    ContextOverflow,
    Message,
    ModelNotFound,
    Overloaded,
    PermissionDenied,
    ProtocolError,
    QuotaExhausted,
    RateLimited,
    Timeout,
    UpstreamError,
)

KEY = "a-key-that-nobody-may-see"
TOO_LONG = "too many tokens: total number of tokens in the prompt cannot exceed 4081"
TOO_MUCH = "too many tokens: max tokens must be less than or equal to 4096 - received 8192."
MINUTE = "You are using a Trial key, which is limited to 20 API calls / minute."
MONTH = "You are using a Trial key, which is limited to 1000 API calls / month."


def refused(status, body):
    encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
    messages = [Message(role="user", content="Hi")]
    return Played(Cohere(key=KEY), encoded, status=status, messages=messages).error


@emulated("cohere", "errors")
@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (400, "invalid request: message must not be empty", BadRequest),
        (400, TOO_LONG, ContextOverflow),
        (400, TOO_MUCH, BadRequest),
        (400, "blocked input: please adjust your prompt", ContentFiltered),
        (401, f"invalid api token {KEY}", AuthError),
        (402, "You have reached your maximum billing amount", QuotaExhausted),
        (403, "no access", PermissionDenied),
        (404, "model 'x' not found, make sure the correct model ID was used", ModelNotFound),
        (422, TOO_LONG, ContextOverflow),
        (429, MINUTE, RateLimited),
        (429, MONTH, QuotaExhausted),
        (498, "a deny-listed token", ContentFiltered),
        (499, "request cancelled", UpstreamError),
        (500, "internal server error", UpstreamError),
        (500, f"{MONTH} {TOO_LONG}", UpstreamError),
        (503, "busy", Overloaded),
        (504, "timeout", Timeout),
    ],
)
def test_error_goes_by_words_and_status(status, message, kind):
    error = refused(status, {"id": "req-1", "message": message})
    assert (type(error), error.status, error.code) == (kind, status, str(status))
    assert error.request_id == "req-1"
    assert KEY not in str(error)


def test_cancelled_request_may_have_been_charged_for():
    assert refused(499, {"message": "request cancelled"}).possibly_billed


def test_refused_key_is_told_in_our_words():
    error = refused(401, {"message": f"Incorrect API key provided: {KEY[:9]}***."})
    assert (
        error.message
        == "the key was refused: check COHERE_API_KEY or CO_API_KEY or the setting key"
    )


def test_page_of_another_server_is_no_error_of_the_wire():
    assert type(refused(404, b"404 page not found")) is ProtocolError
    assert type(refused(502, b"<html>bad gateway</html>")) is UpstreamError
    assert type(refused(302, b'{"message": "moved"}')) is ProtocolError
    assert type(refused(500, b"[]")) is UpstreamError
