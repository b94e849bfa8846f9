"""OpenAI's chat completions: the wire that most services speak, one codec fed by rows of data.

What goes out is the call's own arguments and messages; a row says what its service wants otherwise
(`openai_dialects`), and where it wants its reasoning back (`openai_reasoning`).
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any
from urllib.parse import quote, urlencode, urljoin

import msgspec
from msgspec import Struct, field

from router import (
    Exchange,
    HttpRequest,
    HttpResponse,
    Model,
    RouterError,
    Secret,
    UpstreamError,
)

from .bodies import read_answer, shown
from .openai_answers import Reader
from .openai_dialects import Dialect, ids_up_to_forty_characters, no_files_by_url
from .openai_errors import Codes, Problem
from .openai_messages import drop_cache_markers, sent_message
from .openai_parameters import (
    Choices,
    LogitBias,
    Logprobs,
    MaxTokens,
    MinP,
    ParallelToolCalls,
    Penalty,
    ReasoningEffort,
    RepetitionPenalty,
    ResponseFormat,
    Seed,
    Stop,
    Temperature,
    ToolChoice,
    Tools,
    TopK,
    TopLogprobs,
    TopP,
    User,
)
from .openai_reasoning import ReasoningPlace
from .service import Service, ServiceProvider


class Row(Service, frozen=True, kw_only=True):
    """A service that speaks this wire, as data. Calling it makes its provider.

    Its address is what stands before `/chat/completions`.

    Attributes:
        models: Those that are known; it takes others too.
        without: Parameters of `OpenAI.create_completion` that it lacks.
        renames: Those that it takes under another name.
        stream_usage: Whether it takes `stream_options`, and tells a stream's usage only then.
        lenient_done: Whether `[DONE]` after a usage ends an answer that has no finish reason.
        hides_failures: Whether it answers failures of its own with a 400 in plain text.
        path: What stands behind the base URL; `{model}` is the model's name.
        query: What stands behind the path.
        models_at: Where its list of models is, from its address on.
        reasoning: Where it wants the reasoning of earlier turns; `None` where it does not.
        takes_back: What of an answer it takes in a later turn, beside text, calls and reasoning.
        cache_markers: Whether it takes `cache_control` in messages, parts and tools.
        dialect: What it wants said in another way, in this order.
        codes: What error codes mean that are its alone, in lower case.
    """

    models: tuple[Model, ...] = ()
    without: tuple[str, ...] = ()
    renames: Mapping[str, str] = field(default_factory=dict)
    stream_usage: bool = True
    lenient_done: bool = False
    hides_failures: bool = False
    path: str = "/chat/completions"
    query: Mapping[str, str] = field(default_factory=dict)
    models_at: str = "models"
    reasoning: ReasoningPlace | None = None
    takes_back: tuple[str, ...] = ()
    cache_markers: bool = False
    dialect: tuple[Dialect, ...] = ()
    codes: Codes = field(default_factory=dict)

    def __call__(
        self,
        base_url: str | None = None,
        key: str | Secret | None = None,
        headers: Mapping[str, str | Secret] | None = None,
        path: str | None = None,
        query: Mapping[str, str] | None = None,
    ) -> OpenAI:
        """The provider of this service.

        Args:
            base_url: What stands before the path.
            key: Its key, in place of the environment's.
            headers: Sent with every request.
            path: What stands behind the base URL, in place of the row's.
            query: What stands behind the path, in place of the row's; no place for a key.

        Raises:
            ConfigError: The URL or the key is malformed; the message holds neither.
        """
        row = msgspec.structs.replace(
            self,
            path=self.path if path is None else path,
            query=self.query if query is None else query,
        )
        return OpenAI(row, base_url=base_url, key=key, headers=headers)


class Listed(Struct, frozen=True):
    """A model in a service's list; the services name its window in three ways, or not at all."""

    id: str
    context_length: int | None = None
    context_window: int | None = None
    max_context_length: int | None = None

    def model(self) -> Model:
        """What the list says of it."""
        window = self.context_length or self.context_window or self.max_context_length
        return Model(id=self.id, context_window=window)


class Page(Struct, frozen=True):
    """The list of models; some services have it bare."""

    data: tuple[Listed, ...]


class OpenAI(ServiceProvider):
    """A service that speaks OpenAI's chat completions, made from its row and its settings."""

    service: Row

    def __init__(
        self,
        row: Row,
        *,
        base_url: str | None = None,
        key: str | Secret | None = None,
        headers: Mapping[str, str | Secret] | None = None,
    ) -> None:
        self.service = row
        self.name = row.name
        self.models = row.models
        self.without = row.without
        self.renames = row.renames
        self._wire_names = {model.id: {**row.renames, **model.renames} for model in row.models}
        super().__init__(base_url, key, headers)

    def create_completion(
        self,
        model: str,
        messages: list[dict[str, Any]],
        stream: bool,
        *,
        temperature: Temperature = None,
        top_p: TopP = None,
        top_k: TopK = None,
        min_p: MinP = None,
        max_tokens: MaxTokens = None,
        stop: Stop = None,
        n: Choices = None,
        seed: Seed = None,
        presence_penalty: Penalty = None,
        frequency_penalty: Penalty = None,
        repetition_penalty: RepetitionPenalty = None,
        logit_bias: LogitBias = None,
        logprobs: Logprobs = None,
        top_logprobs: TopLogprobs = None,
        tools: Tools = None,
        tool_choice: ToolChoice = None,
        parallel_tool_calls: ParallelToolCalls = None,
        response_format: ResponseFormat = None,
        reasoning_effort: ReasoningEffort = None,
        user: User = None,
    ) -> Exchange:
        """Yield the steps of one completion.

        Raises:
            AuthError: No key is set, or the service refuses it.
            ConfigError: The environment's URL or key is malformed.
            ProtocolError: What came back is neither a completion nor an error of the service.
            UnsupportedParameter: The service has no way to do what a value asks for.
            RouterError: The service refused or failed: by its code for it, then by the status.
        """
        arguments = dict(locals())  # the signature alone lists what can be sent
        request = HttpRequest(
            "POST",
            self._url(model),
            self._wire_headers(),
            json=self._body(arguments),
            stream=stream,
        )
        yield from self._answered(request, self._answer)

    def list_models(self) -> Generator[HttpRequest, HttpResponse, list[Model]]:
        """Yield the request for the models that the service serves, and return them.

        Raises:
            RouterError: As from `create_completion`.
        """
        url = urljoin(f"{self.base_url}/", self.service.models_at)
        page: Page | list[Listed] = yield from self._page(url, Page | list[Listed])
        return [listed.model() for listed in (page.data if isinstance(page, Page) else page)]

    def _url(self, model: str) -> str:
        path = self.service.path
        if "{model}" in path:
            path = path.replace("{model}", quote(model, safe=""))
        query = f"?{urlencode(self.service.query)}" if self.service.query else ""
        return f"{self.base_url}{path}{query}"

    def _body(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """What is sent: the arguments that were given, as the service and the model have them.

        Raises:
            UnsupportedParameter: The service has no way to do what a value asks for.
        """
        row = self.service
        unsent = ("self", "stream", *row.only)
        body = {
            name: value
            for name, value in arguments.items()
            if value is not None and name not in unsent
        }
        body["messages"] = [
            sent_message(message, row.reasoning, row.takes_back) for message in body["messages"]
        ]
        if not row.cache_markers:
            drop_cache_markers(body)
        for change in row.dialect:
            change(body)
        names = self._wire_names.get(arguments["model"], row.renames)
        body = {names.get(name, name): value for name, value in body.items()}
        if arguments["stream"]:
            body["stream"] = True
            if row.stream_usage:
                body["stream_options"] = {"include_usage": True}
        return body

    def _answer(self, response: HttpResponse) -> Exchange:
        row = self.service
        reader = Reader(
            self.new_id,
            lenient_done=row.lenient_done,
            place=row.reasoning,
            takes_back=row.takes_back,
            codes=row.codes,
        )
        try:
            yield from read_answer(response, reader)
        except RouterError:
            if not reader.is_finished:  # else it is whole, whatever became of the connection
                raise
        yield from reader.finish()

    def _explained(self, body: Any, response: HttpResponse) -> RouterError | None:
        problem = Problem.of(body)
        if problem is not None and not problem.is_no_route:
            return problem.error(response.status, self.service.codes)
        if response.status == 400 and self.service.hides_failures:
            return UpstreamError(shown(response), status=400)
        return None


# What the reasoning models refuse, by OpenAI's reference of the endpoint.
_REASONING_WITHOUT = (
    *("temperature", "top_p", "presence_penalty", "frequency_penalty"),
    *("logit_bias", "logprobs", "top_logprobs", "stop"),
)


def _talker(id_: str, context_window: int, output_limit: int) -> Model:
    return Model(
        id=id_,
        context_window=context_window,
        output_limit=output_limit,
        inputs=("text", "image", "file"),
        tools=True,
        structured_output=True,
        reasoning=False,
        without=("reasoning_effort",),
    )


def _reasoner(id_: str, context_window: int, output_limit: int) -> Model:
    return Model(
        id=id_,
        context_window=context_window,
        output_limit=output_limit,
        inputs=("text", "image", "file"),
        tools=True,
        structured_output=True,
        reasoning=True,
        without=_REASONING_WITHOUT,
    )


openai = Row(
    name="openai",
    base_url="https://api.openai.com/v1",
    url_variable="OPENAI_BASE_URL",
    key_variables=("OPENAI_API_KEY",),
    models=(
        _reasoner("gpt-5", 400_000, 128_000),
        _reasoner("gpt-5-mini", 400_000, 128_000),
        _reasoner("gpt-5-nano", 400_000, 128_000),
        _reasoner("o3", 200_000, 100_000),
        _reasoner("o4-mini", 200_000, 100_000),
        _talker("gpt-4.1", 1_047_576, 32_768),
        _talker("gpt-4.1-mini", 1_047_576, 32_768),
        _talker("gpt-4.1-nano", 1_047_576, 32_768),
        _talker("gpt-4o", 128_000, 16_384),
        _talker("gpt-4o-mini", 128_000, 16_384),
    ),
    without=("top_k", "min_p", "repetition_penalty"),
    renames={"max_tokens": "max_completion_tokens"},  # its reasoning models refuse the old name
    takes_back=("refusal", "audio"),
    dialect=(no_files_by_url, ids_up_to_forty_characters),
)
