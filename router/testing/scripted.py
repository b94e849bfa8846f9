"""A provider that does what a test says: answers, waits and fails, attempt by attempt."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta

from router.contract import Exchange, Wait, WireProvider
from router.errors import ConnectionLost, RouterError
from router.parameters import TUNING
from router.types import Chunk, Model, Usage

Cue: TypeAlias = str | Chunk | Wait | BaseException
"""What one line of a script is: a piece of the answer, a wait, or an error that is raised."""


class Truncated:
    """In a script: the stream ends here, without its finish reason."""


class ScriptedCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call that a `ScriptedProvider` was given."""

    model: str
    messages: list[dict[str, Any]]
    stream: bool
    parameters: dict[str, Any]


class ScriptedProvider(WireProvider):
    """A provider whose every attempt follows a script. Runs in both routers, without any I/O.

        primary = ScriptedProvider("primary", [RateLimited("slow down")], ["Hello ", "again"])
        router = Router([primary, ScriptedProvider("second", ["Hi"])])

    Each script is the list of what one attempt does, in order: pieces of text or chunks, waits
    (`Wait(seconds)`, which a virtual clock passes at once), errors, `Truncated`. An attempt that
    comes to its end without either is finished with `finish_reason="stop"` and a usage. The last
    script serves all further attempts.

    Args:
        name: The provider's name.
        scripts: One list for each attempt; none means that it answers `ok`.
        models: What it advertises.

    Attributes:
        calls: The calls that it was given, in order.
        ended: How many of its exchanges have ended, however they did.
    """

    def __init__(
        self,
        name: str = "scripted",
        *scripts: Iterable[Cue | type[Truncated]],
        models: Sequence[Model | str] = ("model",),
    ) -> None:
        self.name = name
        self.models = models
        self.calls: list[ScriptedCall] = []
        self.ended = 0
        self._scripts = [list(script) for script in scripts] or [["ok"]]
        self._lock = threading.Lock()

    def create_completion(
        self,
        model: str,
        messages: list,  # type: ignore[type-arg]  # as the contract's own examples have it
        stream: bool,
        *,
        temperature: Annotated[float | None, TUNING, Meta(ge=0, le=2)] = None,
        max_tokens: Annotated[int | None, Meta(ge=1)] = None,
        stop: str | list[str] | None = None,
    ) -> Exchange:
        """Follow the next script.

        Raises:
            RouterError: What the script says; any other exception likewise.
        """
        given = {"temperature": temperature, "max_tokens": max_tokens, "stop": stop}
        with self._lock:
            script = self._scripts[min(len(self.calls), len(self._scripts) - 1)]
            self.calls.append(
                ScriptedCall(
                    model=model,
                    messages=messages,
                    stream=stream,
                    parameters={name: value for name, value in given.items() if value is not None},
                )
            )
        try:
            yield from self._follow(script)
        finally:
            with self._lock:
                self.ended += 1

    def _follow(self, script: list[Cue | type[Truncated]]) -> Exchange:
        pieces = 0
        for cue in script:
            if isinstance(cue, BaseException):
                raise _fresh(cue)
            if isinstance(cue, type):
                raise ConnectionLost("the stream ended before its finish reason", code="truncated")
            pieces += isinstance(cue, str)
            yield cue
            if isinstance(cue, Chunk) and cue.finish_reason is not None:
                return
        yield Chunk(finish_reason="stop", usage=Usage(input_tokens=1, output_tokens=pieces))


def _fresh(error: BaseException) -> BaseException:
    """A copy for each attempt: the router writes on an error where and when it happened."""
    if not isinstance(error, RouterError):
        return error
    copy = error.__class__.__new__(error.__class__, *error.args)
    copy.args = error.args
    copy.__dict__.update(error.__dict__)
    return copy
