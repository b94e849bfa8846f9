"""Ollama by its own wire, `/api/chat`: models on this machine, or where a server of it is."""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from typing import Annotated, Literal

from msgspec import Meta, Raw, Struct

from router import (
    TUNING,
    AuthError,
    Bearer,
    Exchange,
    HttpRequest,
    HttpResponse,
    JSONLines,
    Message,
    Model,
    ProtocolError,
    RouterError,
    Secret,
    WireProvider,
    decode_json,
)

from .ollama_answers import Reader
from .ollama_errors import Problem
from .ollama_requests import NAMES, body_of
from .openai_parameters import (
    Logprobs,
    MaxTokens,
    MinP,
    Penalty,
    RepetitionPenalty,
    ResponseFormat,
    Seed,
    Stop,
    Temperature,
    Tools,
    TopK,
    TopLogprobs,
    TopP,
)
from .service import beginning, check_url, filled, unexplained

BASE_URL = "http://127.0.0.1:11434"
URL_VARIABLE = "OLLAMA_BASE_URL"
KEY_VARIABLE = "OLLAMA_API_KEY"

# -- what a call takes beside OpenAI's parameters of the same name; a default of None is not sent

ReasoningEffort = Annotated[
    Literal["none", "minimal", "low", "medium", "high"] | None,
    TUNING,
    Meta(description="How long to think, for models that know levels; else whether to."),
]
NumCtx = Annotated[
    int | None,
    TUNING,
    Meta(ge=1, description="Tokens of the window; what is longer is cut off without a word."),
]
KeepAlive = Annotated[
    str | float | None,
    TUNING,
    Meta(description='How long the model stays loaded: seconds, or "10m"; below 0 for ever.'),
]


class Tag(Struct):
    """A model that the server has."""

    name: str


class Tags(Struct):
    """All of them."""

    models: list[Tag]


class Ollama(WireProvider):
    """A server of Ollama's, by its own wire.

    The environment is read when a call starts.

    Args:
        base_url: What stands before `/api/chat`; a `/v1` at its end, as the other wire wants it,
            may be there or not.
        key: For the hosted service, or a proxy that asks for one.
        headers: Sent with every request.

    Raises:
        ConfigError: The URL or the key is malformed; the message holds neither.
    """

    name = "ollama"
    open_models = True
    renames = NAMES

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
        min_p: MinP = None,
        max_tokens: MaxTokens = None,
        stop: Stop = None,
        seed: Seed = None,
        presence_penalty: Penalty = None,
        frequency_penalty: Penalty = None,
        repetition_penalty: RepetitionPenalty = None,
        logprobs: Logprobs = None,
        top_logprobs: TopLogprobs = None,
        tools: Tools = None,
        response_format: ResponseFormat = None,
        reasoning_effort: ReasoningEffort = None,
        num_ctx: NumCtx = None,
        keep_alive: KeepAlive = None,
    ) -> Exchange:
        """Yield the steps of one completion.

        Raises:
            AuthError: The server refuses the key, or wants one.
            ConfigError: The environment's URL or key is malformed.
            UnsupportedParameter: The wire, or the model, has no form for a part or a feature.
            ModelNotFound: The server does not have the model: the message says how it comes there.
            ProtocolError: What came back is neither an answer nor an error of the server.
            RouterError: The server refused or failed: by its words for it, then by the status.
        """
        # The signature alone lists what can be sent.
        given = {name: value for name, value in locals().items() if value is not None}
        response = yield HttpRequest(
            "POST",
            f"{self.base_url}/api/chat",
            {**self._headers, **self._authorization()},
            json=body_of(model, messages, stream, given),
            stream=stream,
        )
        if not 200 <= response.status < 300:
            raise self._refusal(response, model)
        yield from _answer(response, Reader(model, self.new_id))

    def list_models(self) -> Generator[HttpRequest, HttpResponse, list[Model]]:
        """Yield the request for the models that the server has, and return them.

        Raises:
            RouterError: As from `create_completion`.
        """
        response = yield HttpRequest(
            "GET", f"{self.base_url}/api/tags", {**self._headers, **self._authorization()}
        )
        if not 200 <= response.status < 300:
            raise self._refusal(response)
        tags: Tags = response.json(Tags)
        return [Model(id=each.name) for each in tags.models]

    @property
    def base_url(self) -> str:
        """Where it answers, without `/v1`: settings, environment, this machine.

        Raises:
            ConfigError: The environment's is malformed.
        """
        url = self._base_url
        if url is None:
            url = check_url(os.environ.get(URL_VARIABLE) or BASE_URL, URL_VARIABLE)
        return url.removesuffix("/v1")

    def _authorization(self) -> dict[str, Secret]:
        if self._key is not None:
            return {"Authorization": self._key}
        if value := os.environ.get(KEY_VARIABLE):
            return {"Authorization": _bearer(value, KEY_VARIABLE)}
        return {}

    def _refusal(self, response: HttpResponse, model: str | None = None) -> RouterError:
        """The error of a status that is no success."""
        try:
            problem = Problem.of(decode_json(response.body)) if response.status >= 400 else None
        except ProtocolError:
            problem = None
        if problem is None:
            error = unexplained(response, self.base_url, URL_VARIABLE)
        else:
            error = problem.error(model, response.status)
        if isinstance(error, AuthError):
            # In our own words, since services repeat the key, or a part of it.
            error.args = (
                f"no key, or one that was refused: set {KEY_VARIABLE} or the setting key",
            )
        return error


def _answer(response: HttpResponse, reader: Reader) -> Exchange:
    if not response.streamed:
        yield from reader.line(filled(response.body))
        return
    lines = JSONLines()
    data = yield from beginning(response)
    while data:
        for line in lines.feed(data, Raw):
            yield from reader.line(line)
            if reader.done:
                return
        data = yield response
    for line in lines.end(Raw):
        yield from reader.line(line)


def _bearer(key: str | Secret, source: str) -> Bearer:
    return Bearer(key.reveal() if isinstance(key, Secret) else key, source)
