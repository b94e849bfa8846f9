"""Cohere's chat, version 2: the wire of the Command models."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from router import (
    TUNING,
    Exchange,
    HttpRequest,
    HttpResponse,
    Message,
    Model,
    RouterError,
)

from .bodies import read_answer
from .cohere_answers import Reader
from .cohere_errors import Problem
from .cohere_requests import NAMES, TEXT, body_of
from .openai_parameters import (
    Logprobs,
    MaxTokens,
    ParallelToolCalls,
    ResponseFormat,
    Seed,
    Stop,
    ToolChoice,
    Tools,
)
from .service import Service, ServiceProvider

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


class Cohere(ServiceProvider):
    """The service, or another that speaks its wire, at what stands before `/chat`."""

    name = "cohere"
    service = Service(
        name=name,
        base_url="https://api.cohere.com/v2",
        url_variable="COHERE_BASE_URL",
        # The second is that of Cohere's own client.
        key_variables=("COHERE_API_KEY", "CO_API_KEY"),
        only={"parallel_tool_calls": True},
    )
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
        parallel_tool_calls: ParallelToolCalls = None,
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
        request = HttpRequest(
            "POST",
            f"{self.base_url}/chat",
            self._wire_headers(),
            json=body_of(model, messages, stream, given),
            stream=stream,
        )
        yield from self._answered(request, lambda response: read_answer(response, Reader()))

    def unfit(
        self, model: str, messages: Sequence[Message], arguments: Mapping[str, Any]
    ) -> Mapping[str, str]:
        """What the service does in one way alone, and JSON beside tools, which it refuses."""
        gone = dict(super().unfit(model, messages, arguments))
        if arguments.get("tools") and arguments.get("response_format", TEXT) != TEXT:
            gone["response_format"] = "beside tools"
        return gone

    def list_models(self) -> Generator[HttpRequest, HttpResponse, list[Model]]:
        """Yield the request for the models that the service chats with, and return them.

        Raises:
            RouterError: As from `create_completion`.
        """
        # The list has stayed in the first version of the API.
        url = f"{self.base_url.removesuffix('/v2')}/v1/models?endpoint=chat&page_size={MOST_LISTED}"
        page: Page = yield from self._page(url, Page)
        return [listed.model() for listed in page.models]

    def _explained(self, body: Any, response: HttpResponse) -> RouterError | None:
        problem = Problem.of(body)
        return None if problem is None else problem.error(response.status)
