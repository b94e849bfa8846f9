"""Asking the providers which models they serve, and keeping what they answered."""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from router.contract import HttpRequest
from router.errors import ConfigError, ProtocolError, RouterError
from router.exchange import Notes
from router.foreign import translate
from router.limit import Limit
from router.policy import Policy
from router.types import Model

if TYPE_CHECKING:
    from router.clock import Clock
    from router.plugins import Registered
    from router.transport.blocking import BlockingTransport

REFRESH_POLICY = Policy(deadline=30.0, total=30.0)
"""The limits of asking one provider, in seconds."""


class Refreshed(Struct, frozen=True, kw_only=True):
    """What came of asking one provider.

    Attributes:
        provider: Its name.
        models: What it serves; empty where it could not be asked.
        error: Why not, or `None`.
    """

    provider: str
    models: tuple[Model, ...] = ()
    error: RouterError | None = None


class ModelCache:
    """What providers said they serve, one file each in a folder.

    Args:
        folder: Where; it is made when something is kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    def default(cls, environ: Mapping[str, str] | None = None) -> ModelCache:
        """The user's own, below `$XDG_CACHE_HOME` or `~/.cache`."""
        environ = os.environ if environ is None else environ
        base = environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
        return cls(Path(base) / "pluggable-router" / "models")

    def keep(self, provider: str, models: tuple[Model, ...]) -> None:
        """Keep what a provider said."""
        self._folder.mkdir(parents=True, exist_ok=True)
        part = self._folder / f"{provider}.part"
        part.write_bytes(msgspec.json.encode(models))
        part.replace(self._folder / f"{provider}.json")

    def read(self, provider: str) -> tuple[Model, ...]:
        """What is kept of a provider; nothing where the file is missing or broken."""
        try:
            content = (self._folder / f"{provider}.json").read_bytes()
            return msgspec.json.decode(content, type=tuple[Model, ...])
        except (OSError, msgspec.MsgspecError):
            return ()


def ask(registered: Registered, transport: BlockingTransport, clock: Clock) -> Refreshed:
    """Ask one provider which models it serves; its failure is told, not raised."""
    start = registered.provider.list_models
    name = registered.name
    if start is None:
        error: RouterError = ConfigError(f"{name} has no list of models to be asked for")
        return Refreshed(provider=name, error=error)
    notes = Notes()
    try:
        return Refreshed(provider=name, models=tuple(_drive(start(), transport, clock, notes)))
    except Exception as raised:  # noqa: BLE001  # whatever a plugin raises is contained
        error = translate(raised)
        notes.locate(error, name, name)
        return Refreshed(provider=name, error=notes.complete(error, clock.epoch()))


def _drive(
    steps: Generator[Any, Any, list[Model]],
    transport: BlockingTransport,
    clock: Clock,
    notes: Notes,
) -> list[Model]:
    from router.transport.sockets import Exchange

    limit = Limit(REFRESH_POLICY, clock.now(), None, first_token=False, idle=False)
    try:
        step = next(steps)
        while True:
            if not isinstance(step, HttpRequest) or step.stream:
                raise ProtocolError("a list of models is asked for by whole requests alone")
            notes.sends(step)
            try:
                response = transport.send(step, Exchange(limit))
            except RouterError as error:
                step = steps.throw(error)
            else:
                notes.received(response)
                step = steps.send(response)
    except StopIteration as stop:
        models: list[Model] = stop.value
        return models
    finally:
        steps.close()
