"""OpenAI's chat completions: the wire that most services speak, one codec fed by rows of data.

What goes out is the call's own arguments and messages; a row says what its service wants otherwise
(`openai_dialects`), and where it wants its reasoning back (`openai_reasoning`).
"""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
from msgspec import Struct, field

from providers.catalogue import known_models
from router import (
    AuthError,
    Bearer,
    ConfigError,
    Exchange,
    HttpRequest,
    HttpResponse,
    Model,
    ProtocolError,
    RouterError,
    Secret,
    UnsupportedParameter,
    UpstreamError,
    WireProvider,
    decode_json,
)

from .openai_answers import Reader
from .openai_dialects import Dialect
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
from .service import check_url, read_answer, shown, unexplained


class Row(Struct, frozen=True, kw_only=True):
    """A service that speaks this wire, as data. Calling it makes its provider.

    Attributes:
        name: What targets call it: `name/model`.
        base_url: What stands before `/chat/completions`, unless the settings or `url_variable`
            say otherwise.
        url_variable: The environment variable that says otherwise.
        key_variables: The environment variables that may hold its key, the first that does counts.
        needs_key: Whether a call without a key is refused here, before anything is sent.
        models: Those that are known; it takes others too.
        without: Parameters of `OpenAI.create_completion` that it lacks.
        only: Those that it lacks, but does as one value says: that one is taken, and not sent.
        renames: Those that it takes under another name.
        stream_usage: Whether it takes `stream_options`, and tells a stream's usage only then.
        lenient_done: Whether `[DONE]` after a usage ends an answer that has no finish reason.
        hides_failures: Whether it answers failures of its own with a 400 in plain text.
        path: What stands behind the base URL; `{model}` is the model's name.
        query: What stands behind the path.
        key_header: The header that the key goes into, where that is not `Authorization`.
        reasoning: Where it wants the reasoning of earlier turns; `None` where it does not.
        cache_markers: Whether it takes `cache_control` in messages, parts and tools.
        dialect: What it wants said in another way, in this order.
        codes: What error codes mean that are its alone, in lower case.
    """

    name: str
    base_url: str
    url_variable: str
    key_variables: tuple[str, ...]
    needs_key: bool = True
    models: tuple[Model, ...] = ()
    without: tuple[str, ...] = ()
    only: Mapping[str, Any] = field(default_factory=dict)
    renames: Mapping[str, str] = field(default_factory=dict)
    stream_usage: bool = True
    lenient_done: bool = False
    hides_failures: bool = False
    path: str = "/chat/completions"
    query: Mapping[str, str] = field(default_factory=dict)
    key_header: str | None = None
    reasoning: ReasoningPlace | None = None
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

    @property
    def key_names(self) -> str:
        """Where a key can be set, for a message."""
        return " or ".join([*self.key_variables, "the setting key"])


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
    """The list of models."""

    data: tuple[Listed, ...]


class OpenAI(WireProvider):
    """A service that speaks OpenAI's chat completions, made from its row and its settings.

    The environment is read when a call starts: listing needs no key, and a key that is set later
    counts.
    """

    open_models = True

    def __init__(
        self,
        row: Row,
        *,
        base_url: str | None = None,
        key: str | Secret | None = None,
        headers: Mapping[str, str | Secret] | None = None,
    ) -> None:
        self.name = row.name
        self.models = row.models
        self.without = row.without
        self.renames = row.renames
        self._row = row
        self._base_url = None if base_url is None else check_url(base_url, "base_url")
        self._key = None if key is None else self._hidden(key, f"the key of {row.name}")
        self._headers = dict(headers or {})
        self._wire_names = {model.id: {**row.renames, **model.renames} for model in row.models}

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
        response = yield HttpRequest(
            "POST",
            self._url(model),
            {**self._headers, **self._authorization()},
            json=self._body(arguments),
            stream=stream,
        )
        try:
            if not 200 <= response.status < 300:
                raise self._refusal(response)
            yield from read_answer(response, self._reader())
        except AuthError as error:
            # In our own words, since services repeat the key, or a part of it.
            message = f"the key was refused: check {self._row.key_names}"
            raise AuthError(message, code=error.code, status=error.status) from None

    @property
    def base_url(self) -> str:
        """Where it answers, without a slash at the end: settings, environment, row.

        Raises:
            ConfigError: The environment's is malformed, or there is none.
        """
        if self._base_url is not None:
            return self._base_url
        variable = self._row.url_variable
        if not (url := os.environ.get(variable) or self._row.base_url):
            raise ConfigError(f"no address: set {variable} or the setting base_url")
        return check_url(url, variable)

    def known_models(self) -> Mapping[str, Model]:
        """What the shipped catalogue says of this service's models."""
        return known_models(self.name)

    def list_models(self) -> Generator[HttpRequest, HttpResponse, list[Model]]:
        """Yield the request for the models that the service serves, and return them.

        Raises:
            RouterError: As from `create_completion`.
        """
        headers = {**self._headers, **self._authorization()}
        response = yield HttpRequest("GET", f"{self.base_url}/models", headers)
        if not 200 <= response.status < 300:
            raise self._refusal(response)
        page: Page = response.json(Page)
        return [listed.model() for listed in page.data]

    def missing(self) -> str | None:
        try:
            self._authorization()
            self._url("")
        except RouterError as error:
            return error.message
        return None

    def _authorization(self) -> dict[str, Secret]:
        header = self._row.key_header or "Authorization"
        if self._key is not None:
            return {header: self._key}
        for variable in self._row.key_variables:
            if value := os.environ.get(variable):
                return {header: self._hidden(value, variable)}
        if self._row.needs_key:
            raise AuthError(f"no key: set {self._row.key_names}", code="missing_key")
        return {}

    def _hidden(self, key: str | Secret, source: str) -> Secret:
        """The key as its header carries it."""
        value = key.reveal() if isinstance(key, Secret) else key
        return Bearer(value, source) if self._row.key_header is None else Secret(value, source)

    def _url(self, model: str) -> str:
        path = self._row.path.replace("{model}", quote(model, safe=""))
        query = f"?{urlencode(self._row.query)}" if self._row.query else ""
        return f"{self.base_url}{path}{query}"

    def _body(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """What is sent: the arguments that were given, as the service and the model have them.

        Raises:
            UnsupportedParameter: The service has no way to do what a value asks for.
        """
        row = self._row
        body = {
            name: value
            for name, value in arguments.items()
            if value is not None and name not in ("self", "stream")
        }
        for name, value in row.only.items():
            if body.pop(name, value) != value:
                raise UnsupportedParameter(f"{self.name} takes no {name} but {value!r}")
        body["messages"] = [sent_message(message, row.reasoning) for message in body["messages"]]
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

    def _reader(self) -> Reader:
        row = self._row
        return Reader(
            self.new_id, lenient_done=row.lenient_done, place=row.reasoning, codes=row.codes
        )

    def _refusal(self, response: HttpResponse) -> RouterError:
        """The error of a status that is no success."""
        status = response.status
        try:
            problem = Problem.of(decode_json(response.body)) if status >= 400 else None
        except ProtocolError:
            problem = None
        if problem is not None and not problem.is_no_route:
            return problem.error(status, self._row.codes)
        if status == 400 and self._row.hides_failures:
            return UpstreamError(shown(response), status=status)
        return unexplained(response, self.base_url, self._row.url_variable)


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
)
