"""Ollama by its own wire, `/api/chat`: models on this machine, or where a server of it is."""

from __future__ import annotations

from collections.abc import Generator
from typing import Annotated, Any, Literal

from msgspec import Meta, Raw, Struct

from router import (
    FEATURE,
    TUNING,
    Exchange,
    HttpRequest,
    HttpResponse,
    JSONLines,
    Message,
    Model,
    ModelNotFound,
    RouterError,
)

from .bodies import beginning, filled
from .ollama_answers import Reader
from .ollama_errors import Problem
from .ollama_requests import NAMES, body_of
from .openai_parameters import (
    Logprobs,
    MaxTokens,
    MinP,
    ParallelToolCalls,
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
from .service import Service, ServiceProvider

# -- what a call takes beside OpenAI's parameters of the same name; a default of None is not sent

ToolChoice = Annotated[
    Literal["auto", "none"] | None,
    FEATURE,
    Meta(description="Whether it may call a function; it cannot be made to."),
]
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


class Ollama(ServiceProvider):
    """A server of Ollama's, by its own wire, at what stands before `/api/chat`.

    A `/v1` at the end of the address, as the other wire wants it, may be there or not. A key is for
    the hosted service, or a proxy that asks for one.
    """

    name = "ollama"
    service = Service(
        name=name,
        base_url="http://127.0.0.1:11434",
        url_variable="OLLAMA_BASE_URL",
        key_variables=("OLLAMA_API_KEY",),
        needs_key=False,
        only={"parallel_tool_calls": True},
    )
    renames = NAMES

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
        tool_choice: ToolChoice = None,
        parallel_tool_calls: ParallelToolCalls = None,
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
        request = HttpRequest(
            "POST",
            f"{self.base_url}/api/chat",
            self._wire_headers(),
            json=body_of(model, messages, stream, given),
            stream=stream,
        )
        try:
            yield from self._answered(request, self._read)
        except ModelNotFound as error:
            error.args = (f"{error.message}: run `ollama pull {model}` where the server is",)
            raise

    def list_models(self) -> Generator[HttpRequest, HttpResponse, list[Model]]:
        """Yield the request for the models that the server has, and return them.

        Raises:
            RouterError: As from `create_completion`.
        """
        tags: Tags = yield from self._page(f"{self.base_url}/api/tags", Tags)
        return [Model(id=each.name) for each in tags.models]

    @property
    def base_url(self) -> str:
        """Where it answers, without `/v1`: settings, environment, this machine.

        Raises:
            ConfigError: The environment's is malformed.
        """
        return super().base_url.removesuffix("/v1")

    def _read(self, response: HttpResponse) -> Exchange:
        reader = Reader(self.new_id)
        if not response.streamed:
            yield from reader.whole(filled(response.body))
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

    def _explained(self, body: Any, response: HttpResponse) -> RouterError | None:
        problem = Problem.of(body)
        return None if problem is None else problem.error(response.status)
