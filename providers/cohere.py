"""Cohere's chat, version 2: the wire of the Command models."""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from providers.catalogue import known_models
from router import (
    TUNING,
    AuthError,
    Bearer,
    Exchange,
    HttpRequest,
    HttpResponse,
    Message,
    Model,
    ProtocolError,
    RouterError,
    Secret,
    WireProvider,
    decode_json,
)

from .cohere_answers import Reader
from .cohere_errors import Problem
from .cohere_requests import NAMES, body_of
from .openai_parameters import (
    Logprobs,
    MaxTokens,
    ResponseFormat,
    Seed,
    Stop,
    ToolChoice,
    Tools,
)
from .service import check_url, read_answer, unexplained

BASE_URL = "https://api.cohere.com/v2"
URL_VARIABLE = "COHERE_BASE_URL"
KEY_VARIABLES = ("COHERE_API_KEY", "CO_API_KEY")  # the second is that of Cohere's own client
KEY_NAMES = " or ".join([*KEY_VARIABLES, "the setting key"])

# -- what a call takes beside OpenAI's parameters of the same name; a default of None is not sent

Temperature = Annotated[
    float | None, TUNING, Meta(ge=0, le=1, description="Randomness; 0 takes the likeliest token.")
]
TopP = Annotated[
    float | None,
    TUNING,
    Meta(ge=0.01, le=0.99, description="Sample from the tokens that make up this probability."),
]
TopK = Annotated[
    int | None,
    TUNING,
    Meta(ge=0, le=500, description="Sample from this many of the likeliest tokens; 0: from all."),
]
Penalty = Annotated[
    float | None,
    TUNING,
    Meta(ge=0, le=1, description="Above 0, tokens that came before become unlikelier."),
]
ReasoningEffort = Annotated[
    Literal["none", "minimal", "low", "medium", "high"] | None,
    TUNING,
    Meta(description="How long to think."),
]
Thinking = Annotated[
    dict[str, Any] | None,
    TUNING,
    Meta(description="The wire's own setting for it, where `reasoning_effort` is too coarse."),
]

MOST_LISTED = 1000
"""The largest page of the list of models; the service has some dozens."""

_NO_THINKING = ("reasoning_effort", "thinking")


class Listed(Struct):
    """A model in the service's list; its context is in tokens."""

    name: str
    context_length: float | None = None  # the wire's type for counts

    def model(self) -> Model:
        window = None if self.context_length is None else int(self.context_length)
        return Model(id=self.name, context_window=window)


class Page(Struct):
    """The list."""

    models: list[Listed]


class Cohere(WireProvider):
    """The service, or another that speaks its wire.

    The environment is read when a call starts: listing needs no key, and a key that is set later
    counts.

    Args:
        base_url: What stands before `/chat`, with the version.
        key: The service's key, in place of the environment's.
        headers: Sent with every request, such as `X-Client-Name`.

    Raises:
        ConfigError: The URL or the key is malformed; the message holds neither.
    """

    name = "cohere"
    open_models = True
    renames = NAMES
    models = (
        Model(
            id="command-a-plus-05-2026",
            inputs=("text", "image", "file"),
            tools=True,
            structured_output=True,
            reasoning=True,
        ),
        Model(
            id="command-a-03-2025",
            context_window=256_000,
            output_limit=8_000,
            inputs=("text", "file"),
            tools=True,
            structured_output=True,
            reasoning=False,
            without=_NO_THINKING,
        ),
        Model(
            id="command-a-reasoning-08-2025",
            context_window=256_000,
            output_limit=32_000,
            inputs=("text", "file"),
            tools=True,
            structured_output=True,
            reasoning=True,
        ),
        Model(
            id="command-a-vision-07-2025",
            context_window=128_000,
            output_limit=8_000,
            inputs=("text", "image"),
            tools=False,
            structured_output=True,
            reasoning=False,
            without=(*_NO_THINKING, "tools", "tool_choice"),
        ),
        Model(
            id="command-r7b-12-2024",
            context_window=128_000,
            output_limit=4_000,
            inputs=("text", "file"),
            tools=True,
            structured_output=True,
            reasoning=False,
            without=_NO_THINKING,
        ),
    )

    def __init__(
        self,
        base_url: str | None = None,
        key: str | Secret | None = None,
        headers: Mapping[str, str | Secret] | None = None,
    ) -> None:
        self._base_url = None if base_url is None else check_url(base_url, "base_url")
        self._key = None if key is None else _bearer(key, f"the key of {self.name}")
        self._headers = dict(headers or {})

    def create_completion(
        self,
        model: str,
        messages: list[Message],
        stream: bool,
        *,
        temperature: Temperature = None,
        top_p: TopP = None,
        top_k: TopK = None,
        max_tokens: MaxTokens = None,
        stop: Stop = None,
        seed: Seed = None,
        presence_penalty: Penalty = None,
        frequency_penalty: Penalty = None,
        logprobs: Logprobs = None,
        tools: Tools = None,
        tool_choice: ToolChoice = None,
        response_format: ResponseFormat = None,
        reasoning_effort: ReasoningEffort = None,
        thinking: Thinking = None,
    ) -> Exchange:
        """Yield the steps of one completion.

        Raises:
            AuthError: No key is set, or the service refuses it.
            ConfigError: The environment's URL or key is malformed.
            UnsupportedParameter: The wire has no form for a part.
            BadRequest: A document is no JSON object, or not UTF-8.
            ProtocolError: What came back is neither an answer nor an error of the service.
            RouterError: The service refused or failed: by its words for it, then by the status.
        """
        # The signature alone lists what can be sent.
        given = {name: value for name, value in locals().items() if value is not None}
        response = yield HttpRequest(
            "POST",
            f"{self.base_url}/chat",
            {**self._headers, **self._authorization()},
            json=body_of(model, messages, stream, given),
            stream=stream,
        )
        if not 200 <= response.status < 300:
            raise self._refusal(response)
        yield from read_answer(response, Reader())

    def list_models(self) -> Generator[HttpRequest, HttpResponse, list[Model]]:
        """Yield the request for the models that the service chats with, and return them.

        Raises:
            RouterError: As from `create_completion`.
        """
        # The list has stayed in the first version of the API.
        url = f"{self.base_url.removesuffix('/v2')}/v1/models?endpoint=chat&page_size={MOST_LISTED}"
        response = yield HttpRequest("GET", url, {**self._headers, **self._authorization()})
        if not 200 <= response.status < 300:
            raise self._refusal(response)
        page: Page = response.json(Page)
        return [listed.model() for listed in page.models]

    @property
    def base_url(self) -> str:
        """Where it answers, without a slash at the end: settings, environment, Cohere's own.

        Raises:
            ConfigError: The environment's is malformed.
        """
        if self._base_url is not None:
            return self._base_url
        return check_url(os.environ.get(URL_VARIABLE) or BASE_URL, URL_VARIABLE)

    def known_models(self) -> Mapping[str, Model]:
        """What the shipped catalogue says of this service's models."""
        return known_models(self.name)

    def missing(self) -> str | None:
        try:
            self._authorization()
        except RouterError as error:
            return error.message
        return None

    def _authorization(self) -> dict[str, Secret]:
        if self._key is not None:
            return {"Authorization": self._key}
        for variable in KEY_VARIABLES:
            if value := os.environ.get(variable):
                return {"Authorization": _bearer(value, variable)}
        raise AuthError(f"no key: set {KEY_NAMES}", code="missing_key")

    def _refusal(self, response: HttpResponse) -> RouterError:
        """The error of a status that is no success."""
        try:
            problem = Problem.of(decode_json(response.body)) if response.status >= 400 else None
        except ProtocolError:
            problem = None
        if problem is None:
            error = unexplained(response, self.base_url, URL_VARIABLE)
        else:
            error = problem.error(response.status)
        if isinstance(error, AuthError):
            # In our own words, since services repeat the key, or a part of it.
            error.args = (f"the key was refused: check {KEY_NAMES}",)
        return error


def _bearer(key: str | Secret, source: str) -> Bearer:
    return Bearer(key.reveal() if isinstance(key, Secret) else key, source)
