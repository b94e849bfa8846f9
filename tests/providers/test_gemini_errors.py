"""The errors of Gemini's wire: the reason and the quota first, then the message and the status."""

import json

import pytest
from emulators.chat import Played
from features import emulated
from hypothesis import given
from hypothesis import strategies as st

from providers.gemini import Gemini
from providers.gemini_errors import STATUSES, Problem
from router import (
    AuthError,
    BadRequest,
    ContextOverflow,
    Message,
    ModelNotFound,
    Overloaded,
    PayloadTooLarge,
    PermissionDenied,
    ProtocolError,
    QuotaExhausted,
    RateLimited,
    RouterError,
    Timeout,
    UpstreamError,
)

KEY = "a-key-that-nobody-may-see"
QUESTION = (Message(role="user", content="Hi"),)
STATUS = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}


def said(word, message="It is so.", *details):
    detail = {"details": list(details)} if details else {}
    return {"error": {"code": STATUS[word], "message": message, "status": word, **detail}}


def reason(word, **metadata):
    kind = "type.googleapis.com/google.rpc.ErrorInfo"
    return {"@type": kind, "reason": word, "domain": "googleapis.com", "metadata": metadata}


def quota(name, value="250"):
    violation = {"quotaMetric": "generate_content_requests", "quotaId": name, "quotaValue": value}
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]}


def wait(delay):
    return {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}


def refused(body, status=None):
    status = status or body["error"]["code"]
    encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Played(Gemini(key=KEY), encoded, status=status, messages=QUESTION).error


A_DAY = quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier", "20")
A_MINUTE = quota("GenerateContentInputTokensPerModelPerMinute-FreeTier")
NO_KEY = "API key not valid. Please pass a valid API key."

ERRORS = [
    (said("INVALID_ARGUMENT"), BadRequest, "INVALID_ARGUMENT"),
    (said("INVALID_ARGUMENT", NO_KEY, reason("API_KEY_INVALID")), AuthError, "API_KEY_INVALID"),
    (said("INVALID_ARGUMENT", NO_KEY), AuthError, "INVALID_ARGUMENT"),
    (said("INVALID_ARGUMENT", "API key expired. Renew it."), AuthError, "INVALID_ARGUMENT"),
    (
        said(
            "INVALID_ARGUMENT",
            "The input token count (1200000) exceeds the maximum number of tokens allowed (5).",
        ),
        ContextOverflow,
        "INVALID_ARGUMENT",
    ),
    (
        said("INVALID_ARGUMENT", "Request payload size exceeds the limit: 20971520 bytes."),
        PayloadTooLarge,
        "INVALID_ARGUMENT",
    ),
    (
        said("FAILED_PRECONDITION", "User location is not supported for the API use."),
        PermissionDenied,
        "FAILED_PRECONDITION",
    ),
    (said("PERMISSION_DENIED"), PermissionDenied, "PERMISSION_DENIED"),
    (
        said("PERMISSION_DENIED", "Your API key was reported as leaked. Use another."),
        AuthError,
        "PERMISSION_DENIED",
    ),
    (
        said("PERMISSION_DENIED", "No.", reason("BILLING_DISABLED")),
        QuotaExhausted,
        "BILLING_DISABLED",
    ),
    (said("NOT_FOUND", "models/x is not found"), ModelNotFound, "NOT_FOUND"),
    # It was the call's own fault, and went nowhere else.
    (
        said("INVALID_ARGUMENT", "* GenerateContentRequest.model: unexpected model name format\n"),
        ModelNotFound,
        "INVALID_ARGUMENT",
    ),
    (said("RESOURCE_EXHAUSTED"), RateLimited, "RESOURCE_EXHAUSTED"),
    (said("RESOURCE_EXHAUSTED", "No.", A_MINUTE), RateLimited, "RESOURCE_EXHAUSTED"),
    (said("RESOURCE_EXHAUSTED", "No.", A_DAY), QuotaExhausted, "RESOURCE_EXHAUSTED"),
    (said("RESOURCE_EXHAUSTED", "No.", A_DAY, wait("37s")), QuotaExhausted, "RESOURCE_EXHAUSTED"),
    (said("RESOURCE_EXHAUSTED", "No.", wait("301s")), QuotaExhausted, "RESOURCE_EXHAUSTED"),
    (said("RESOURCE_EXHAUSTED", "No.", wait("300s")), RateLimited, "RESOURCE_EXHAUSTED"),
    (
        said(
            "RESOURCE_EXHAUSTED",
            "No.",
            reason("RATE_LIMIT_EXCEEDED", quota_limit="RequestsPerDayPerProject"),
        ),
        QuotaExhausted,
        "RATE_LIMIT_EXCEEDED",
    ),
    (said("INTERNAL"), UpstreamError, "INTERNAL"),
    (said("UNAVAILABLE", "The model is overloaded."), Overloaded, "UNAVAILABLE"),
    (said("DEADLINE_EXCEEDED"), Timeout, "DEADLINE_EXCEEDED"),
]


@emulated("gemini", "errors")
@pytest.mark.parametrize(("body", "kind", "code"), ERRORS)
def test_error_is_of_the_class_that_the_body_says(body, kind, code):
    for error in (refused(body), refused([body], body["error"]["code"])):
        assert (type(error), error.code) == (kind, code)
        assert error.status == body["error"]["code"]


@pytest.mark.parametrize(("body", "kind", "code"), ERRORS)
def test_error_in_a_stream_is_of_the_same_class(body, kind, code):
    stream = f"data: {json.dumps(body)}\n\n".encode()
    for bytes_ in (stream, json.dumps([body]).encode()):
        error = Played(Gemini(key=KEY), bytes_, messages=QUESTION).error
        assert (type(error), error.code) == (kind, code)


@pytest.mark.parametrize(
    ("details", "message", "wanted"),
    [
        ([wait("34.07s")], "No.", 34.07),
        ([wait("900ms")], "No.", 0.9),
        ([wait("5s"), A_MINUTE], "No.", 5.0),
        ([], "Quota exceeded. Please retry in 37.82626638s.", 37.82626638),
        ([A_MINUTE], "No.", 60.0),
        ([wait("-3s")], "No.", None),
        ([wait("soon")], "No.", None),
        ([wait(5)], "No.", None),
        ([wait("9" * 400 + "s")], "No.", None),
        ([], "Please retry in a while.", None),
    ],
)
def test_error_says_when_to_try_again(details, message, wanted):
    error = refused(said("RESOURCE_EXHAUSTED", message, *details))
    assert type(error) is RateLimited
    assert error.retry_after == wanted


def test_quota_of_a_day_does_not_say_when_that_of_a_minute_is_back():
    """The service sends the wait for the next request of a minute along with it."""
    assert refused(said("RESOURCE_EXHAUSTED", "No.", A_DAY, wait("37s"))).retry_after is None
    assert refused(said("RESOURCE_EXHAUSTED", "No.", A_DAY, wait("7200s"))).retry_after == 7200


def test_long_wait_for_another_reason_is_no_quota():
    error = refused(said("UNAVAILABLE", "No.", wait("301s")))
    assert (type(error), error.retry_after) == (Overloaded, 301)


def test_key_that_is_refused_is_told_in_our_own_words():
    error = refused(said("INVALID_ARGUMENT", f"API key not valid: {KEY}"))
    assert "GEMINI_API_KEY" in error.message
    assert KEY not in str(error)


def test_status_stands_where_the_body_says_nothing():
    assert type(refused(b"upstream is gone", 502)) is UpstreamError
    assert type(refused(b"", 429)) is RateLimited
    assert type(refused(b'{"error": null}', 503)) is Overloaded
    error = refused(b"<html>Not Found</html>", 404)
    assert (type(error), error.possibly_billed) == (ProtocolError, False)
    assert "GEMINI_BASE_URL" in error.message
    assert refused(b"{}", 302).code == "redirect"


def test_text_of_a_proxy_is_the_message():
    assert refused({"error": "no such host"}, 502).message == "no such host"


def test_word_stands_for_a_status_where_there_is_no_number():
    for word, status in STATUSES.items():
        error = Problem.of({"status": word, "message": "No."}).error()
        assert error.status == status
    assert type(Problem.of({"message": "No."}).error()) is UpstreamError


def test_number_of_an_error_in_a_stream_stands_for_its_status():
    stream = b'data: {"error": {"code": 503, "message": "No."}}\n\n'
    error = Played(Gemini(key=KEY), stream, messages=QUESTION).error
    assert (type(error), error.status, error.code) == (Overloaded, 503, "503")


NAMES = "code message status details reason violations quotaId metadata quota_limit retryDelay"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES.split()), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(error=JSON, status=st.sampled_from([None, 400, 429, 503]))
def test_any_body_is_some_error(error, status):
    assert isinstance(Problem.of(error).error(status), RouterError)
    Problem.in_body(error)
