"""Gemini's generateContent: Google's own wire for its models."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Annotated, Any, Literal
from urllib.parse import quote

from msgspec import Meta, Struct

from router import (
    FEATURE,
    TUNING,
    Exchange,
    HttpRequest,
    HttpResponse,
    Message,
    Model,
    RouterError,
)

from .bodies import read_answer
from .gemini_answers import Reader
from .gemini_errors import Problem
from .gemini_requests import conversation, is_old, settings, unfit
from .openai_parameters import (
    Logprobs,
    MaxTokens,
    ParallelToolCalls,
    Penalty,
    ResponseFormat,
    Seed,
    Stop,
    Temperature,
    ToolChoice,
    TopK,
    TopLogprobs,
    TopP,
)
from .service import Service, ServiceProvider

# -- what a call takes beside OpenAI's parameters of the same name; a default of None is not sent

Choices = Annotated[int | None, FEATURE, Meta(ge=1, le=8, description="How many answers.")]
Tools = Annotated[
    list[dict[str, Any]] | None,
    FEATURE,
    Meta(description="The functions that it may call, and tools of Gemini's own."),
]
ReasoningEffort = Annotated[
    Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None,
    TUNING,
    Meta(description="How long to think."),
]
IncludeThoughts = Annotated[
    bool | None, TUNING, Meta(description="Whether a summary of its reasoning is wanted.")
]


def _model(id_: str, *without: str) -> Model:
    """One of today's models: they share their window and their output limit."""
    return Model(
        id=id_,
        context_window=1_048_576,
        output_limit=65_536,
        inputs=("text", "image", "audio", "file"),
        tools=True,
        structured_output=True,
        reasoning=True,
        without=without,
    )


# What they ignore or refuse, by Google's page of the model.
_FIXED_SAMPLING = ("temperature", "top_p", "top_k", "presence_penalty", "frequency_penalty")


MOST_LISTED = 1000
"""The longest page of the list of models that the service gives."""

METHOD = "generateContent"
"""What a model of the list can do if it can be called here."""


class Listed(Struct, frozen=True):
    """A model in the service's list."""

    name: str
    inputTokenLimit: int | None = None  # noqa: N815  # the wire's own names
    outputTokenLimit: int | None = None  # noqa: N815  # likewise
    supportedGenerationMethods: tuple[str, ...] = ()  # noqa: N815  # likewise

    def model(self) -> Model:
        """What the list says of it."""
        return Model(
            id=self.name.removeprefix("models/"),
            context_window=self.inputTokenLimit,
            output_limit=self.outputTokenLimit,
        )


class Page(Struct, frozen=True):
    """The list of models."""

    models: tuple[Listed, ...]


class Gemini(ServiceProvider):
    """Google's Gemini models at the Gemini API, at what stands before `/models`."""

    name = "gemini"
    service = Service(
        name=name,
        base_url="https://generativelanguage.googleapis.com/v1beta",
        url_variable="GEMINI_BASE_URL",
        key_variables=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        key_header="x-goog-api-key",
        only={"parallel_tool_calls": True},
    )
    models = (
        _model("gemini-3.5-flash"),
        _model("gemini-3.5-flash-lite", *_FIXED_SAMPLING),
        _model("gemini-3.1-pro-preview"),
        _model("gemini-3.1-flash-lite"),
        _model("gemini-3-flash-preview"),
        _model("gemini-2.5-pro"),
        _model("gemini-2.5-flash"),
        _model("gemini-2.5-flash-lite"),
    )

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
        n: Choices = None,
        seed: Seed = None,
        presence_penalty: Penalty = None,
        frequency_penalty: Penalty = None,
        logprobs: Logprobs = None,
        top_logprobs: TopLogprobs = None,
        tools: Tools = None,
        tool_choice: ToolChoice = None,
        parallel_tool_calls: ParallelToolCalls = None,
        response_format: ResponseFormat = None,
        reasoning_effort: ReasoningEffort = None,
        include_thoughts: IncludeThoughts = None,
    ) -> Exchange:
        """Yield the steps of one completion.

        Raises:
            AuthError: No key is set, or the service refuses it.
            BadRequest: A tool's result belongs to no call, and has no name of its own.
            ConfigError: The environment's URL or key is malformed.
            ContentFiltered: The service refuses the prompt.
            ProtocolError: What came back is neither an answer nor an error of the service.
            RouterError: The service refused or failed: by its word for it, then by the status.
            UnsupportedParameter: `tool_choice` or `response_format` is of a kind that it lacks.
        """
        given = {name: value for name, value in locals().items() if value is not None}
        request = HttpRequest(
            "POST",
            f"{self.base_url}/{_path(model)}:{_method(stream)}",
            self._wire_headers(),
            json={**conversation(messages, old=is_old(model)), **settings(model, given)},
            stream=stream,
        )
        yield from self._answered(request, self._read)

    def unfit(
        self, model: str, messages: Sequence[Message], arguments: Mapping[str, Any]
    ) -> Mapping[str, str]:
        """What the service does in one way alone, and what the model refuses."""
        return {**super().unfit(model, messages, arguments), **unfit(model, arguments)}

    def list_models(self) -> Generator[HttpRequest, HttpResponse, list[Model]]:
        """Yield the request for the models that the service serves, and return them.

        Raises:
            RouterError: As from `create_completion`.
        """
        url = f"{self.base_url}/models?pageSize={MOST_LISTED}"
        page: Page = yield from self._page(url, Page)
        return [each.model() for each in page.models if METHOD in each.supportedGenerationMethods]

    def _read(self, response: HttpResponse) -> Exchange:
        reader = Reader(self.new_id)
        try:
            yield from read_answer(response, reader)
        except RouterError:
            if not reader.is_finished:  # else it is whole, whatever became of the connection
                raise
        yield from reader.finish()

    def _explained(self, body: Any, response: HttpResponse) -> RouterError | None:
        problem = Problem.in_body(body)
        return None if problem is None else problem.error(response.status)


def _path(model: str) -> str:
    """Where a model is: a tuned one (`tunedModels/mine`) is in a collection of its own."""
    collection, slash, name = model.partition("/")
    if not slash:
        collection, name = "models", model
    return f"{quote(collection, safe='')}/{quote(name, safe='')}"


def _method(stream: bool) -> str:
    return "streamGenerateContent?alt=sse" if stream else "generateContent"
