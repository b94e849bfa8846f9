"""Anthropic's messages: the wire of the Claude models."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Annotated, Any, Literal
from urllib.parse import quote

from msgspec import Meta

from router import (
    FEATURE,
    TUNING,
    Exchange,
    HttpRequest,
    HttpResponse,
    Message,
    Model,
    RouterError,
    Secret,
)

from .anthropic_answers import Reader
from .anthropic_errors import Problem
from .anthropic_models import MODELS, Page, catalogued
from .anthropic_requests import FILES_BETA, body_of, has_file_ids, prefill_of, unfit
from .bodies import read_answer
from .openai_parameters import (
    MaxTokens,
    ParallelToolCalls,
    Stop,
    ToolChoice,
    Tools,
    TopK,
    TopP,
    User,
)
from .service import Service, ServiceProvider

VERSION = "2023-06-01"
"""The only version of the wire that is served; what is new comes under `anthropic-beta`."""

LISTED_AT_ONCE = 1000
"""How many models a page of the service's list has; it allows no more."""

MAX_TOKENS = 32_000
"""What is asked for where neither the call nor the model says how many tokens: the wire has no
default. No model since Claude 4 allows fewer, and a smaller number would cut answers unasked."""

LIMITS = {model.id: model.output_limit for model in MODELS}

# -- what a call takes beside OpenAI's parameters of the same name; a default of None is not sent

Temperature = Annotated[
    float | None, TUNING, Meta(ge=0, le=1, description="Randomness; 0 takes the likeliest token.")
]
ResponseFormat = Annotated[
    dict[str, Any] | None, FEATURE, Meta(description="JSON of a schema, as the answer.")
]
ReasoningEffort = Annotated[
    Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None,
    TUNING,
    Meta(description="How long to think."),
]
Thinking = Annotated[
    dict[str, Any] | None,
    TUNING,
    Meta(description="The wire's own setting for it, where `reasoning_effort` is too coarse."),
]


class Anthropic(ServiceProvider):
    """The service, or another that speaks its wire, at what stands before `/v1/messages`.

    A `/v1` at the end of the address may be there or not: other clients of the wire ask for it in
    the same variable.
    """

    name = "anthropic"
    service = Service(
        name=name,
        base_url="https://api.anthropic.com",
        url_variable="ANTHROPIC_BASE_URL",
        key_variables=("ANTHROPIC_API_KEY",),
        key_header="x-api-key",
    )
    models = MODELS

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
        tools: Tools = None,
        tool_choice: ToolChoice = None,
        parallel_tool_calls: ParallelToolCalls = None,
        response_format: ResponseFormat = None,
        reasoning_effort: ReasoningEffort = None,
        thinking: Thinking = None,
        user: User = None,
    ) -> Exchange:
        """Yield the steps of one completion.

        Raises:
            AuthError: No key is set, or the service refuses it.
            ConfigError: The environment's URL or key is malformed.
            UnsupportedParameter: The wire has no form for a part, or for JSON without a schema.
            BadRequest: A file of text is not UTF-8.
            ProtocolError: What came back is neither a message nor an error of the service.
            RouterError: The service refused or failed: by its word for it, then by the status.
        """
        # The signature alone lists what can be sent.
        given = {name: value for name, value in locals().items() if value is not None}
        limit = self._limit(model, given)
        beta = {"anthropic-beta": FILES_BETA} if has_file_ids(messages) else {}
        request = HttpRequest(
            "POST",
            f"{self.base_url}/v1/messages",
            {**beta, **self._wire_headers()},
            json={**body_of(model, messages, limit, given), **({"stream": True} if stream else {})},
            stream=stream,
        )
        prefill = prefill_of(messages) or ""
        overlap = prefill[len(prefill.rstrip()) :]
        yield from self._answered(request, lambda response: read_answer(response, Reader(overlap)))

    def list_models(self) -> Generator[HttpRequest, HttpResponse, list[Model]]:
        """Yield the requests for the service's list of models, and return what it says.

        Raises:
            RouterError: As from `create_completion`.
        """
        models: list[Model] = []
        query = f"limit={LISTED_AT_ONCE}"
        while True:
            page: Page = yield from self._page(f"{self.base_url}/v1/models?{query}", Page)
            models += (listed.model() for listed in page.data)
            if not page.has_more or page.last_id is None:
                return models
            query = f"limit={LISTED_AT_ONCE}&after_id={quote(page.last_id, safe='')}"

    @property
    def base_url(self) -> str:
        """Where it answers, without `/v1`: settings, environment, Anthropic's own.

        Raises:
            ConfigError: The environment's is malformed.
        """
        return super().base_url.removesuffix("/v1")

    def known_models(self) -> Mapping[str, Model]:
        """What the shipped catalogue says of this service's models."""
        return catalogued(self.service.name)

    def unfit(
        self, model: str, messages: Sequence[Message], arguments: Mapping[str, Any]
    ) -> Mapping[str, str]:
        """What the model refuses beside the rest of a call."""
        return unfit(model, messages, self._limit(model, arguments), arguments)

    def _limit(self, model: str, given: Mapping[str, Any]) -> int:
        """The `max_tokens` of a body, which needs one."""
        return given.get("max_tokens") or LIMITS.get(model) or MAX_TOKENS

    def _wire_headers(self) -> dict[str, str | Secret]:
        return {"anthropic-version": VERSION, **super()._wire_headers()}

    def _explained(self, body: Any, response: HttpResponse) -> RouterError | None:
        problem = Problem.of(body)
        return None if problem is None or problem.is_no_route else problem.error(response.status)
