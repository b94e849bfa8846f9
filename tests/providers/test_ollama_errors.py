"""What Ollama says went wrong."""

import json

import pytest
from emulators.chat import Played
from features import emulated

from providers.ollama import Ollama
from router import (
    AuthError,
    BadRequest,
    ContextOverflow,
    Message,
    ModelNotFound,
    Overloaded,
    PermissionDenied,
    ProtocolError,
    QuotaExhausted,
    RateLimited,
    UnsupportedParameter,
    UpstreamError,
)

KEY = "a-key-that-nobody-may-see"


def refused(status, body, model="llama9"):
    encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
    messages = [Message(role="user", content="Hi")]
    provider = Ollama(key=KEY)
    return Played(provider, encoded, status=status, model=model, messages=messages).error


@emulated("ollama", "errors")
@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (400, "invalid options: temperature", BadRequest),
        (400, '"llama9" does not support tools', UnsupportedParameter),
        (400, '"llama9" does not support thinking', UnsupportedParameter),
        (400, "prompt too long; exceeded max context length by 12 tokens", ContextOverflow),
        (500, "the request exceeds the available context size", ContextOverflow),
        (400, "the input length exceeds the context length", ContextOverflow),
        (401, f"unauthorized: {KEY}", AuthError),
        (403, "this model requires a subscription", PermissionDenied),
        (404, "model 'llama9' not found", ModelNotFound),
        (429, "you have reached your weekly usage limit", QuotaExhausted),
        (429, "too many concurrent requests", RateLimited),
        (500, "model requires more system memory (9 GiB) than is available", UpstreamError),
        (503, "server busy, please try again. maximum pending requests exceeded", Overloaded),
    ],
)
def test_error_goes_by_words_and_status(status, message, kind):
    error = refused(status, {"error": message})
    assert (type(error), error.status, error.code) == (kind, status, str(status))
    assert KEY not in str(error)


def test_model_that_is_not_there_comes_with_the_command_that_brings_it():
    error = refused(404, {"error": 'model "llama9:7b" not found'}, "llama9:7b")
    assert "`ollama pull llama9:7b`" in error.message


def test_key_that_is_wanted_is_told_in_our_words():
    assert "OLLAMA_API_KEY" in refused(401, {"error": "unauthorized"}).message


def test_page_of_another_server_is_no_error_of_the_wire():
    assert type(refused(404, b"404 page not found")) is ProtocolError
    assert type(refused(502, b"<html>bad gateway</html>")) is UpstreamError
    assert type(refused(302, b'{"error": "moved"}')) is ProtocolError
    assert type(refused(500, b"[]")) is UpstreamError
    assert type(refused(500, {"error": None})) is UpstreamError
