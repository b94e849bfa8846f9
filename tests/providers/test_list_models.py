"""What the services answer when they are asked which models they serve."""

from __future__ import annotations

import json
from typing import Any

import pytest

from providers.compatible import github, groq, openrouter, together
from providers.gemini import Gemini
from providers.openai import openai
from router import AuthError, HttpResponse, Model, ProtocolError, RouterError, Secret

KEY = "a-key"


def asked(provider: Any, status: int, body: bytes) -> tuple[Any, list[Model]]:
    """The request for the list, and the models of an answer to it."""
    steps = provider.list_models()
    request = next(steps)
    with pytest.raises(StopIteration) as stop:
        steps.send(HttpResponse(status, {"content-type": "application/json"}, body))
    return request, stop.value.value


@pytest.mark.parametrize(
    ("make", "url", "answer", "models"),
    [
        (
            openai,
            "https://api.openai.com/v1/models",
            {"object": "list", "data": [{"id": "one", "object": "model"}]},
            [Model(id="one")],
        ),
        (
            openrouter,
            "https://openrouter.ai/api/v1/models",
            {"data": [{"id": "a/one", "context_length": 7}]},
            [Model(id="a/one", context_window=7)],
        ),
        (
            groq,
            "https://api.groq.com/openai/v1/models",
            {"data": [{"id": "one", "context_window": 8}]},
            [Model(id="one", context_window=8)],
        ),
        (  # Together's list is bare, and so is GitHub's, which is elsewhere
            together,
            "https://api.together.ai/v1/models",
            [{"id": "a/one", "context_length": 7}],
            [Model(id="a/one", context_window=7)],
        ),
        (
            github,
            "https://models.github.ai/catalog/models",
            [{"id": "openai/one", "publisher": "OpenAI"}],
            [Model(id="openai/one")],
        ),
        (
            Gemini,
            "https://generativelanguage.googleapis.com/v1beta/models?pageSize=1000",
            {
                "models": [
                    {
                        "name": "models/one",
                        "inputTokenLimit": 9,
                        "outputTokenLimit": 3,
                        "supportedGenerationMethods": ["generateContent"],
                    },
                    {"name": "models/embeds", "supportedGenerationMethods": ["embedContent"]},
                ]
            },
            [Model(id="one", context_window=9, output_limit=3)],
        ),
    ],
    ids=["openai", "openrouter", "groq", "together", "github", "gemini"],
)
def test_list_is_read_in_the_services_own_form(
    make: Any, url: str, answer: Any, models: list[Model]
) -> None:
    provider = make(key=KEY)
    request, found = asked(provider, 200, json.dumps(answer).encode())
    assert (request.method, request.url) == ("GET", url)
    assert any(isinstance(value, Secret) for value in request.headers.values())
    assert KEY not in repr(request.headers)
    assert found == models


@pytest.mark.parametrize("make", [openai, Gemini], ids=["openai", "gemini"])
@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, b'{"error": {"message": "no", "type": "authentication_error"}}', AuthError),
        (500, b"<html>", RouterError),
        (200, b"<html>", ProtocolError),
        (200, b'{"models": 7, "data": 7}', ProtocolError),
    ],
)
def test_list_that_cannot_be_had_is_an_error(
    make: Any, status: int, body: bytes, kind: type[RouterError]
) -> None:
    steps = make(key=KEY).list_models()
    next(steps)
    with pytest.raises(kind):
        steps.send(HttpResponse(status, {"content-type": "application/json"}, body))


@pytest.mark.parametrize("make", [openai, Gemini], ids=["openai", "gemini"])
def test_list_needs_a_key(make: Any) -> None:
    with pytest.raises(AuthError, match="no key"):
        next(make().list_models())
