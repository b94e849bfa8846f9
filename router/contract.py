"""The contract between the router and a provider: one generator function, and its steps.

A *wire provider* does no I/O. Its `create_completion` yields steps and is given what they bring,
so it reads from top to bottom like the description of its protocol:

    class Echo(WireProvider):
        name = "echo"
        models = (Model(id="echo-1"),)

        def create_completion(self, model: str, messages: list, stream: bool):
            response = yield HttpRequest("POST", self.url, json={"messages": messages}, stream=True)
            raise_for_status(response)
            lines = JSONLines()
            while data := (yield response):
                for event in lines.feed(data):
                    yield event["text"]
            yield Chunk(finish_reason="stop")

A *blocking provider* does its own I/O and yields text:

    @provider("shout", models=["loud"])
    def shout(model: str, messages: list, stream: bool, *, mark: str = "!"):
        yield messages[-1]["content"].upper() + mark

What is yielded, and what it brings back:

    str, Chunk       nothing: a piece of the answer
    HttpRequest      its HttpResponse, with the whole body unless it is streamed and below 400
    HttpResponse     the next bytes of a streamed body, b"" at its end
    Cleanup          nothing: its request is sent when the exchange has ended
    Call             what its function returns: blocking work
    Wait             nothing, after so many seconds
    Shared           what its exchange returns: run once for all who wait for it

A transport's failure is thrown in at the yield, as a `RouterError`. A body that is left unread
closes its connection. An exchange that read a stream and returns without a finish reason was
truncated, and the host raises for it.
"""

from __future__ import annotations

import inspect
import time
import uuid
from collections.abc import (
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Mapping,
    Sequence,
)
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import msgspec

from router.errors import ConfigError, PluginError, ProtocolError
from router.messages import Message
from router.secret import Secret
from router.types import Chunk, Model

if TYPE_CHECKING:
    from json import JSONDecoder

SHOWN_BODY = 200
"""How many characters of a foreign body an error message shows."""


class HttpRequest:
    """A request that a wire provider wants sent; at most one of `json`, `form` and `content`.

    Attributes:
        method, url: As on the wire; the URL never holds a key.
        headers: Values may be a `Secret`, which is revealed by the transport alone.
        stream: Whether the body is wanted piece by piece (below status 400).
        auxiliary: Whether this is housekeeping (sign-in, consent), which the caller's
            `extra_body` and `extra_headers` are not for.
    """

    __slots__ = ("auxiliary", "content", "form", "headers", "json", "method", "stream", "url")

    def __init__(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str | Secret] | None = None,
        *,
        json: Any = None,
        form: Mapping[str, str] | None = None,
        content: bytes | None = None,
        stream: bool = False,
        auxiliary: bool = False,
    ) -> None:
        self.method = method
        self.url = url
        self.headers: dict[str, str | Secret] = dict(headers or {})
        self.json = json
        self.form = form
        self.content = content
        self.stream = stream
        self.auxiliary = auxiliary

    def __repr__(self) -> str:
        return f"HttpRequest({self.method!r}, {self.url!r})"


class HttpResponse:
    """What a request brought: status, headers and, unless it is streamed, the body.

    Attributes:
        status: The HTTP status.
        headers: Names in lower case; several of one name are joined by a line feed (the only
            character that no header's value holds, and Set-Cookie may hold commas).
        body: The whole body; `b""` while `streamed`.
        streamed: Whether yielding this response brings the body's bytes.
    """

    __slots__ = ("body", "headers", "source", "status", "streamed")

    def __init__(
        self,
        status: int,
        headers: Mapping[str, str],
        body: bytes = b"",
        *,
        streamed: bool = False,
        source: Any = None,
    ) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.streamed = streamed
        self.source = source

    def __repr__(self) -> str:
        return f"<HttpResponse {self.status}>"

    @property
    def content_type(self) -> str:
        """The media type in lower case, without its parameters; empty when there is none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def excerpt(self) -> str:
        """The beginning of the body, on one line, for an error message."""
        text = self.body[: 4 * SHOWN_BODY].decode("utf-8", "replace")
        return " ".join(text.split())[:SHOWN_BODY]

    def json(self, type: Any = Any) -> Any:
        """The body decoded from JSON into `type`.

        Raises:
            ProtocolError: It is no JSON (NaN included), not UTF-8, or of another shape.
            PluginError: It is streamed: its bytes come when it is yielded.
        """
        if self.streamed:
            raise PluginError("the body of a streamed response comes when it is yielded")
        return decode_json(self.body, type)


def decode_json(data: bytes, type: Any = Any, *, unique: bool = False) -> Any:
    """Strict JSON: no NaN, no trailing text, UTF-8 only.

    Args:
        data: The text.
        type: What it is to be, as msgspec takes it.
        unique: Whether a key that an object has twice is refused, too; else the last one counts.
            To look costs several times what decoding does: right for a whole answer, and too
            dear for every event of a stream.

    Raises:
        ProtocolError: The data is no such JSON, or not of the wanted `type`.
    """
    try:
        found = msgspec.json.decode(data, type=type)
        if unique:
            _unique_decoder().decode(data.decode())
        return found
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        # Where it is wrong, and not what it says: it may be an answer.
        message = f"malformed JSON of {len(data)} bytes: {error}"
        raise ProtocolError(message, code="malformed_json") from None


@cache  # made once: that costs as much as decoding with it
def _unique_decoder() -> JSONDecoder:
    import json  # that costs a program's start more than it is used

    return json.JSONDecoder(object_pairs_hook=_refuse_twins)


def _refuse_twins(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("an object has a key twice")


class Cleanup:
    """Work that remains when the exchange has ended, however it ended.

    `function` is called then (late, since cookies change) and the request that it returns is
    sent in the background, with a timeout of its own, outside deadline and budget. `None` means
    that there is nothing to do. Its outcome is logged and changes nothing.
    """

    __slots__ = ("function",)

    def __init__(self, function: Callable[[], HttpRequest | None]) -> None:
        self.function = function


class Call:
    """Blocking work: loading weights, reading a credential. Brings what `function` returns."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[[], Any]) -> None:
        self.function = function


class Wait:
    """Nothing, for some seconds: between two looks at a job that takes its time. Brings nothing.

    A wait that the attempt's limit cuts is ended by the limit's error, thrown in at the yield.
    """

    __slots__ = ("seconds",)

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __repr__(self) -> str:
        return f"Wait({self.seconds:g})"


class Shared:
    """A sub-exchange that is run once for all who wait for it: an access token.

    Attributes:
        key: What is shared; unique within the provider instance.
        exchange: Starts the sub-exchange: a generator of steps whose return value is shared.
        ttl: Seconds for which the value is kept, or a function from the value to them.
    """

    __slots__ = ("exchange", "key", "ttl")

    def __init__(
        self,
        key: str,
        exchange: Callable[[], Generator[Any, Any, Any]],
        ttl: float | Callable[[Any], float],
    ) -> None:
        self.key = key
        self.exchange = exchange
        self.ttl = ttl


Step: TypeAlias = str | Chunk | HttpRequest | HttpResponse | Cleanup | Call | Wait | Shared
Exchange: TypeAlias = Generator[Step, Any, None]
"""What `create_completion` of a wire provider returns."""


class Provider:
    """A blocking provider: it does its own I/O and yields `str` or `Chunk`.

    The parameters that it takes are those of its `create_completion`, read from the signature:
    `model`, `messages` and `stream` by these names, then whatever it supports, with types,
    defaults and, in `Annotated`, bounds (`msgspec.Meta`) and `FEATURE` or `TUNING`. Messages
    come as OpenAI-style dicts, or as `Message` where the annotation says `list[Message]`.

    It runs in the caller's thread in the sync router and in a pool in the async one, where
    `create_completion_async`, if there is one (an async generator), is used instead. It raises
    the errors of `router.errors`; anything else that it raises counts as a `PluginError`.

    Attributes:
        name: What targets call it: `name/model`.
        models: What it advertises; a `str` stands for a model with that id alone.
        open_models: Whether it also takes models that it does not advertise.
        without: Parameters of the signature that this instance lacks.
        renames: Such a parameter's name, with the name that this instance takes it under.
        origin: Whose sealed reasoning it can be sent back: its own name, unless said otherwise.
        max_concurrency: How many exchanges may run at once, or `None` for no limit of its own.
    """

    name: str
    models: Sequence[Model | str] = ()
    open_models: bool = False
    without: Sequence[str] = ()
    renames: Mapping[str, str] = MappingProxyType({})
    origin: str | None = None
    max_concurrency: int | None = None
    does_io: ClassVar[bool] = True

    create_completion: Callable[..., Iterable[Any]]
    """Yields the answer, piece by piece. A subclass has a method, with parameters of its own."""

    create_completion_async: Callable[..., AsyncIterator[str | Chunk]] | None = None

    list_models: Callable[[], Generator[Any, Any, list[Model]]] | None = None
    """Asks the service which models it serves, where it has such a list: a generator of steps
    (whole requests alone) that returns them. For `router models --refresh`."""

    def known_models(self) -> Mapping[str, Model]:
        """What is known of models beyond those that are advertised, by id: from a catalogue.

        Called at most once a router, when a model is looked up or all are listed, so that a
        catalogue need not be read for an import. Where both know a model, what `models` says
        of it counts, and this fills the gaps.
        """
        return {}

    def unfit(
        self, model: str, messages: Sequence[Message], arguments: Mapping[str, Any]
    ) -> Mapping[str, str]:
        """Which of a call's arguments a model cannot be given beside the rest of the call.

        Tunings among them are dropped and reported, as those that it lacks altogether; for a
        feature the target is passed over. Nothing is sent for either.

        Args:
            model: The target's, which need not be one that is known.
            messages: The call's.
            arguments: What would be passed on, by the names of the signature.

        Returns:
            The names, each with words that go behind it: `{"top_p": "beside temperature"}`.
        """
        return {}

    def missing(self) -> str | None:
        """What a call would fail for want of, and how to get it; `None` when nothing is known.

        A key that is not set, an extra or weights that are not installed. It looks at the
        environment and at what is installed, and sends and loads nothing: for `router doctor`.
        """
        return None

    def close(self) -> None:
        """Release what the provider holds; called once, when its router is closed."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"


class WireProvider(Provider):
    """A provider that does no I/O: its generator yields steps (see the module's description).

    Attributes:
        clock: Seconds since the epoch; an argument, so that time can be simulated.
        new_id: Makes a fresh id (a UUID 4 by default).
    """

    does_io: ClassVar[bool] = False
    clock: Callable[[], float] = staticmethod(time.time)
    new_id: Callable[[], str] = staticmethod(lambda: str(uuid.uuid4()))

    create_completion: Callable[..., Exchange]
    """Yields the steps of one exchange. A subclass has a method, with parameters of its own."""


class FunctionProvider(Provider):
    """A provider made of a function by `@provider`; calling it calls the function."""

    def __init__(
        self,
        name: str,
        function: Callable[..., Iterable[Any]],
        models: Sequence[Model | str],
        twin: Callable[..., AsyncIterator[str | Chunk]] | None = None,
    ) -> None:
        self.name = name
        self.models = models
        self.create_completion = function
        self.create_completion_async = twin
        self.__module__ = function.__module__
        self.__doc__ = function.__doc__

    def __call__(self, *args: Any, **kwargs: Any) -> Iterable[Any]:
        return self.create_completion(*args, **kwargs)


class WireFunctionProvider(FunctionProvider, WireProvider):
    """The same for a generator of steps."""

    does_io: ClassVar[bool] = False


def provider(
    name: str,
    *,
    models: Iterable[Model | str],
    wire: bool = False,
    twin: Callable[..., AsyncIterator[str | Chunk]] | None = None,
) -> Callable[[Callable[..., Iterable[Any]]], FunctionProvider]:
    """Make a provider of a function `(model, messages, stream, **what it takes)`.

    Args:
        name: What targets call it: `name/model`.
        models: The models that it serves.
        wire: Whether the function does no I/O and yields steps.
        twin: An async generator function of the same signature, used by the async router.

    Raises:
        ConfigError: The name holds a slash or white space, or `models` is one name, not a list.
    """
    check_name(name)
    if isinstance(models, str):
        raise ConfigError(f"@provider({name!r}): models is a list of models, not one str")

    def decorate(function: Callable[..., Iterable[Any]]) -> FunctionProvider:
        kind = WireFunctionProvider if wire else FunctionProvider
        return kind(name, function, tuple(models), twin)

    return decorate


def check_name(name: object) -> str:
    """The name of a provider, when it can stand before the slash of a target.

    Raises:
        ConfigError: It is no string, is empty, or holds a slash or white space.
    """
    if not isinstance(name, str) or not name or "/" in name or name.split() != [name]:
        raise ConfigError(f"a provider's name is a word without a slash, not {name!r}")
    return name


def is_generator(answer: object) -> bool:
    """Whether an exchange can be sent into, as one of steps must be."""
    return inspect.isgenerator(answer)
