"""One attempt's exchange: a provider's steps, checked and noted, without any I/O.

The generator of `run()` stands between a provider's generator and a driver. It yields what the
driver has to do (send, read, call, share) and the pieces to deliver, and it holds all rules that
are the same in the sync and the async router: the contract's types, `extra_body`, the end of a
stream, what an error is told beside its message.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import suppress
from typing import Any, TypeAlias, get_args

import msgspec

from router.answer import Answer
from router.contract import (
    Call,
    Cleanup,
    HttpRequest,
    HttpResponse,
    Provider,
    Shared,
    Step,
    Wait,
    is_generator,
)
from router.errors import ConfigError, ConnectionLost, PluginError, ProtocolError, RouterError
from router.foreign import translate
from router.headers import rate_limits, request_id, retry_after
from router.secret import Secret, Unshown
from router.types import Chunk, FinishReason, ToolCallDelta, Usage

FINISH_REASONS = frozenset(get_args(FinishReason))

MAX_UPSTREAM_TEXT = 2048
"""The most characters of an error message that may come from upstream."""

MAX_CODE = 200
"""Likewise of an error's code, which is a word."""

PING = Chunk()
"""Stands for a piece that is nothing to deliver, but shows that the server is alive."""

Asking: TypeAlias = HttpResponse | HttpRequest | Call | Wait | Shared
ASKING = (HttpResponse, HttpRequest, Call, Wait, Shared)
"""The steps that bring something back."""

Action: TypeAlias = str | Chunk | Asking


class Extras(Unshown, frozen=True, kw_only=True):
    """What the caller adds to the requests themselves, past the provider's parameters."""

    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] | None = None


class Notes:
    """What an exchange leaves behind beside its answer.

    Attributes:
        status, request_id: Of the last response.
        host, key: Where the last request went, and with which key (its hash), for health.
        cleanups: Functions to be called at the end, in the order of their steps.
        responses: The streamed responses, to be closed at the end.
    """

    __slots__ = (
        "cleanups",
        "headers",
        "host",
        "key",
        "read_a_stream",
        "request_id",
        "responses",
        "secrets",
        "status",
    )

    def __init__(self) -> None:
        self.status: int | None = None
        self.headers: Mapping[str, str] = {}
        self.request_id: str | None = None
        self.cleanups: list[Callable[[], HttpRequest | None]] = []
        self.responses: list[HttpResponse] = []
        self.host: str | None = None
        self.key: str | None = None
        self.secrets: list[Secret] = []
        self.read_a_stream = False

    def sends(self, request: HttpRequest) -> None:
        """A request of the exchange itself is about to be sent."""
        scheme, _, rest = request.url.partition("://")
        if scheme not in ("http", "https") or not rest:
            raise ConfigError("a URL that is to be asked begins with http:// or https://")
        self.host = rest.partition("/")[0].rpartition("@")[2]
        self.key = next((repr(value) for value in self.hide(request)), self.key)

    def hide(self, request: HttpRequest) -> list[Secret]:
        """Remember the keys of a request, which no error may repeat."""
        secrets = [value for value in request.headers.values() if isinstance(value, Secret)]
        self.secrets += secrets
        return secrets

    def received(self, response: HttpResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        if (found := request_id(response.headers)) is not None:
            self.request_id = self.scrub(found)
        if response.streamed:
            self.responses.append(response)

    @property
    def rate_limits(self) -> dict[str, str]:
        """What the last response said of the service's limits."""
        found = rate_limits(self.headers)
        return {name: self.scrub(value) for name, value in found.items()} if found else found

    def scrub(self, text: str) -> str:
        """The text without the keys that were sent, and not longer than it should be."""
        for secret in self.secrets:
            text = secret.hidden_in(text)
        return text[:MAX_UPSTREAM_TEXT]

    def locate(self, error: RouterError, provider: str, target: str) -> None:
        """Tell an error where it happened."""
        error.provider = error.provider or provider
        error.target = error.target or target

    def complete(self, error: RouterError, now: float) -> RouterError:
        """Tell an error what the provider could not know, and drop what it must not tell.

        What it was made from may hold a URL or a header and goes, and the locals of its frames
        likewise; the bug of a plugin's author, who wants to see it, stays.
        """
        traceback.clear_frames(error.__traceback__)
        error.args = (self.scrub(error.message), *error.args[1:])
        error.code = None if error.code is None else self.scrub(str(error.code))[:MAX_CODE]
        error.request_id = error.request_id or self.request_id
        if error.status is None and self.status is not None and self.status >= 400:
            error.status = self.status
        if error.retry_after is None and error.status is not None and error.status >= 400:
            error.retry_after = retry_after(self.headers, now)
        if error.should_retry is None:
            told = self.headers.get("x-should-retry", "").lower()
            error.should_retry = {"true": True, "false": False}.get(told)
        if not isinstance(error, PluginError):
            error.__cause__ = error.__context__ = None
        return error


def run(
    provider: Provider,
    start: Callable[[], Any],
    answer: Answer,
    notes: Notes,
    extras: Extras,
) -> Generator[Action, Any, None]:
    """Run one exchange.

    Args:
        provider: Whose exchange it is.
        start: Calls its `create_completion`.
        answer: Takes the pieces.
        notes: Takes the rest.
        extras: The caller's additions to the requests.

    Raises:
        RouterError: The exchange failed; whatever the provider raised is translated.
    """
    steps = _steps(provider, start)
    try:
        yield from _advance(provider, steps, answer, notes, extras)
    except RouterError:
        with suppress(Exception, SystemExit):  # what went wrong first is what is told
            steps.close()
        raise
    finally:
        steps.close()
    if notes.read_a_stream and not answer.finished:
        raise ConnectionLost(
            "the answer ended before its finish reason: it was cut", code="truncated"
        )


def _advance(
    provider: Provider,
    steps: Generator[Any, Any, None],
    answer: Answer,
    notes: Notes,
    extras: Extras,
) -> Generator[Action, Any, None]:
    result: Any = None
    failure: BaseException | None = None
    while True:
        try:
            step = steps.send(result) if failure is None else steps.throw(failure)
        except StopIteration:
            return
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # whatever a plugin raises is contained, SystemExit too
            if answer.finished:
                return
            raise translate(error) from error
        result = failure = None
        if isinstance(step, str):
            yield step if answer.add_text(step) else PING
        elif isinstance(step, ASKING):
            try:
                result = yield _action(provider, step, notes, extras)
            except (KeyboardInterrupt, GeneratorExit):
                raise
            except BaseException as error:  # noqa: BLE001  # the provider may know what to do
                failure = error
                continue
            if isinstance(result, HttpResponse):
                notes.received(result)
        elif isinstance(step, Cleanup):
            notes.cleanups.append(step.function)
        else:
            yield step if accept(provider, step, answer) else PING


def accept(provider: Provider, piece: Any, answer: Answer) -> bool:
    """Add a piece to the answer; whether it is to be handed on.

    Raises:
        ProtocolError: It is no piece, or a chunk with something in it that does not belong there.
    """
    if isinstance(piece, str):
        return answer.add_text(piece)
    if isinstance(piece, Chunk):
        _check_chunk(provider, piece)
        return answer.add(piece)
    raise _no_step(provider, piece)


def _check_chunk(provider: Provider, chunk: Chunk) -> None:
    """A Struct does not check its types when it is made, and this one comes from a stranger."""
    if (
        isinstance(chunk.text, str)
        and isinstance(chunk.reasoning, str)
        and isinstance(chunk.refusal, str)
        and isinstance(chunk.index, int)
        and (chunk.finish_reason is None or chunk.finish_reason in FINISH_REASONS)
        and (chunk.usage is None or isinstance(chunk.usage, Usage))
        and (chunk.tool_call is None or isinstance(chunk.tool_call, ToolCallDelta))
    ):
        return
    held = ", ".join(
        f"{name}: {type(value).__name__}" for name, value in msgspec.structs.asdict(chunk).items()
    )
    raise ProtocolError(
        f"the provider {provider.name} yielded Chunk({held}): something in it is of a wrong type, "
        f"or its finish_reason is none of {', '.join(sorted(FINISH_REASONS))}"
    )


def _action(provider: Provider, step: Asking, notes: Notes, extras: Extras) -> Asking:
    """What a step that asks for something asks of the driver."""
    if provider.does_io:
        raise _no_step(provider, step)
    if isinstance(step, HttpResponse):
        if not step.streamed:
            raise PluginError(
                f"the provider {provider.name} yielded a response that came whole, with status "
                f"{step.status}: it is in its body"
            )
        notes.read_a_stream = True
    elif isinstance(step, HttpRequest):
        _add_extras(step, extras)
        notes.sends(step)
    return step


def _no_step(provider: Provider, step: Any) -> ProtocolError:
    kind, taken = ("blocking", (str, Chunk)) if provider.does_io else ("wire", get_args(Step))
    names = ", ".join(each.__name__ for each in taken)
    return ProtocolError(
        f"the provider {provider.name} yielded {type(step).__name__}, "
        f"which is no step of a {kind} provider: {names}"
    )


def _steps(provider: Provider, start: Callable[[], Any]) -> Generator[Any, Any, None]:
    """A generator of steps, from whatever the provider's function returns.

    Raises:
        RouterError: The function is no generator, and failed; whatever it raised is translated.
    """
    try:
        answer = start()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever a plugin raises is contained, SystemExit too
        raise translate(error) from error
    if is_generator(answer):
        return answer  # type: ignore[no-any-return]  # checked by the line above
    return _pieces(provider, answer)


def _pieces(provider: Provider, answer: Any) -> Generator[Any, Any, None]:
    """Of a function that returns its text, or an iterator of pieces, and is no generator."""
    if isinstance(answer, str | Chunk):
        yield answer
        return
    if not isinstance(answer, Iterable) or isinstance(answer, bytes | Mapping):
        raise ProtocolError(
            f"the provider {provider.name} returned {type(answer).__name__}, not pieces of text"
        )
    yield from answer


def _add_extras(request: HttpRequest, extras: Extras) -> None:
    if request.auxiliary:
        return
    if extras.headers:
        given = {name.lower() for name in extras.headers}
        kept = {name: v for name, v in request.headers.items() if name.lower() not in given}
        request.headers = {**kept, **extras.headers}
    if extras.body and isinstance(request.json, Mapping):
        request.json = merge(request.json, extras.body)


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes` laid over it, mapping by mapping."""
    merged = dict(base)
    for name, value in changes.items():
        under = merged.get(name)
        if isinstance(value, Mapping) and isinstance(under, Mapping):
            merged[name] = merge(under, value)
        else:
            merged[name] = value
    return merged
