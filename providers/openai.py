"""OpenAI's chat completions: the wire that most services speak, one codec fed by rows of data."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Meta, Struct, field

from router import (
    FEATURE,
    SSE,
    TUNING,
    AuthError,
    Bearer,
    Exchange,
    HttpRequest,
    HttpResponse,
    Model,
    ProtocolError,
    RouterError,
    Secret,
    UpstreamError,
    WireProvider,
    decode_json,
)

from .openai_answers import Reader
from .openai_errors import Problem
from .service import BLANK, beginning, check_url, filled, rest, shown, unexplained

# -- what a call takes; a default of None is not sent

Temperature = Annotated[
    float | None, TUNING, Meta(ge=0, le=2, description="Randomness; 0 takes the likeliest token.")
]
TopP = Annotated[
    float | None,
    TUNING,
    Meta(ge=0, le=1, description="Sample from the tokens that make up this probability."),
]
TopK = Annotated[
    int | None, TUNING, Meta(ge=0, description="Sample from this many of the likeliest tokens.")
]
MinP = Annotated[
    float | None,
    TUNING,
    Meta(ge=0, le=1, description="Leave out tokens below this share of the likeliest one."),
]
RepetitionPenalty = Annotated[
    float | None, TUNING, Meta(gt=0, le=2, description="Above 1, what was said becomes unlikelier.")
]
Penalty = Annotated[
    float | None,
    TUNING,
    Meta(ge=-2, le=2, description="Above 0, tokens that came before become unlikelier."),
]
LogitBias = Annotated[
    dict[str, float] | None,
    TUNING,
    Meta(description="Token ids, as strings, with what is added to their logits (-100 to 100)."),
]
Seed = Annotated[
    int | None, TUNING, Meta(description="The same seed gives the same answer, as far as it can.")
]
ReasoningEffort = Annotated[
    str | None, TUNING, Meta(description="How long to think: none, minimal, low, medium, high.")
]
User = Annotated[
    str | None, TUNING, Meta(description="An opaque id of your user, for the service's own use.")
]
MaxTokens = Annotated[
    int | None,
    FEATURE,
    Meta(ge=1, description="The most tokens of the answer, reasoning included."),
]
Stop = Annotated[
    str | list[str] | None,
    FEATURE,
    Meta(description="Text that ends the answer where it comes up."),
]
Choices = Annotated[int | None, FEATURE, Meta(ge=1, le=128, description="How many answers.")]
Tools = Annotated[
    list[dict[str, Any]] | None, FEATURE, Meta(description="The functions that it may call.")
]
ToolChoice = Annotated[
    str | dict[str, Any] | None,
    FEATURE,
    Meta(description="auto, none, required, or the function to call."),
]
ParallelToolCalls = Annotated[
    bool | None, FEATURE, Meta(description="Whether several functions may be called at once.")
]
ResponseFormat = Annotated[
    dict[str, Any] | None, FEATURE, Meta(description="JSON, or JSON of a schema, as the answer.")
]
Logprobs = Annotated[
    bool | None, FEATURE, Meta(description="Log probabilities of the tokens; they are in `raw`.")
]
TopLogprobs = Annotated[
    int | None, FEATURE, Meta(ge=0, le=20, description="Of how many alternatives at each token.")
]


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
        renames: Those that it takes under another name.
        stream_usage: Whether it takes `stream_options`, and tells a stream's usage only then.
        lenient_done: Whether `[DONE]` after a usage ends an answer that has no finish reason.
        hides_failures: Whether it answers failures of its own with a 400 in plain text.
    """

    name: str
    base_url: str
    url_variable: str
    key_variables: tuple[str, ...]
    needs_key: bool = True
    models: tuple[Model, ...] = ()
    without: tuple[str, ...] = ()
    renames: Mapping[str, str] = field(default_factory=dict)
    stream_usage: bool = True
    lenient_done: bool = False
    hides_failures: bool = False

    def __call__(
        self,
        base_url: str | None = None,
        key: str | Secret | None = None,
        headers: Mapping[str, str | Secret] | None = None,
    ) -> OpenAI:
        """The provider of this service.

        Args:
            base_url: What stands before `/chat/completions`.
            key: Its key, in place of the environment's.
            headers: Sent with every request.

        Raises:
            ConfigError: The URL or the key is malformed; the message holds neither.
        """
        return OpenAI(self, base_url=base_url, key=key, headers=headers)

    @property
    def key_names(self) -> str:
        """Where a key can be set, for a message."""
        return " or ".join([*self.key_variables, "the setting key"])


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
        self._key = None if key is None else _bearer(key, f"the key of {row.name}")
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
            RouterError: The service refused or failed: by its code for it, then by the status.
        """
        arguments = dict(locals())  # the signature alone lists what can be sent
        response = yield HttpRequest(
            "POST",
            f"{self.base_url}/chat/completions",
            {**self._headers, **self._authorization()},
            json=self._body(arguments),
            stream=stream,
        )
        try:
            if not 200 <= response.status < 300:
                raise self._refusal(response)
            yield from self._answer(response)
        except AuthError as error:
            # In our own words, since services repeat the key, or a part of it.
            message = f"the key was refused: check {self._row.key_names}"
            raise AuthError(message, code=error.code, status=error.status) from None

    @property
    def base_url(self) -> str:
        """Where it answers, without a slash at the end: settings, environment, row.

        Raises:
            ConfigError: The environment's is malformed.
        """
        if self._base_url is not None:
            return self._base_url
        variable = self._row.url_variable
        return check_url(os.environ.get(variable) or self._row.base_url, variable)

    def missing(self) -> str | None:
        try:
            self._authorization()
        except RouterError as error:
            return error.message
        return None

    def _authorization(self) -> dict[str, Secret]:
        if self._key is not None:
            return {"Authorization": self._key}
        for variable in self._row.key_variables:
            if value := os.environ.get(variable):
                return {"Authorization": _bearer(value, variable)}
        if self._row.needs_key:
            raise AuthError(f"no key: set {self._row.key_names}", code="missing_key")
        return {}

    def _body(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """What is sent: the arguments that were given, under the model's names for them."""
        names = self._wire_names.get(arguments["model"], self._row.renames)
        body = {
            names.get(name, name): value
            for name, value in arguments.items()
            if value is not None and name not in ("self", "stream")
        }
        if arguments["stream"]:
            body["stream"] = True
            if self._row.stream_usage:
                body["stream_options"] = {"include_usage": True}
        return body

    def _answer(self, response: HttpResponse) -> Exchange:
        reader = Reader(lenient_done=self._row.lenient_done)
        if not response.streamed:
            yield from reader.whole(filled(response.body))
            return
        data = yield from beginning(response)
        if data.lstrip(BLANK)[:1] in (b"{", b"[", b"<"):
            yield from reader.whole((yield from rest(response, data)))
            return
        sse = SSE()
        while data:
            for event in sse.feed(data):
                yield from reader.event(event)
                if reader.done:
                    return
            data = yield response
        for event in sse.end():
            yield from reader.event(event)
        reader.end()

    def _refusal(self, response: HttpResponse) -> RouterError:
        """The error of a status that is no success."""
        status = response.status
        try:
            problem = Problem.of(decode_json(response.body)) if status >= 400 else None
        except ProtocolError:
            problem = None
        if problem is not None and not problem.is_no_route:
            return problem.error(status)
        if status == 400 and self._row.hides_failures:
            return UpstreamError(shown(response), status=status)
        return unexplained(response, self.base_url, self._row.url_variable)


def _bearer(key: str | Secret, source: str) -> Bearer:
    return Bearer(key.reveal() if isinstance(key, Secret) else key, source)


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
        inputs=("text", "image"),
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
        inputs=("text", "image"),
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
