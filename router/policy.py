"""How far the router goes for a call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from router.errors import ConfigError


class Policy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The limits of a call; all times in seconds.

    Attributes:
        deadline: Over the whole call: all attempts, the waits between them, the stream. `None`
            for none. 600 s is what the providers' own clients allow one request.
        attempts: The most attempts of a call, over all its targets.
        connect: For a connection, its TLS handshake included. 5 s, as the same clients have it.
        first_token: From the start of a streamed attempt to its first content.
        idle: Between two pieces of a stream.
        total: Over one attempt.
        drop_tunings: Whether a tuning parameter that a target lacks is dropped (and reported),
            or makes the target be passed over.
    """

    deadline: float | None = 600.0
    attempts: int = 6
    connect: float = 5.0
    first_token: float = 60.0
    idle: float = 60.0
    total: float = 600.0
    drop_tunings: bool = True

    def __post_init__(self) -> None:
        for name in ("connect", "first_token", "idle", "total", "deadline"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ConfigError(f"policy: {name} is a positive number of seconds, not {value}")
        if self.attempts < 1:
            raise ConfigError(f"policy: attempts is at least 1, not {self.attempts}")

    def with_changes(self, changes: Policy | Mapping[str, Any] | None) -> Policy:
        """This policy with some of its fields changed, or another one in its place.

        Raises:
            ConfigError: A field is unknown or has a value that it cannot have.
        """
        if changes is None:
            return self
        if isinstance(changes, Policy):
            return changes
        try:
            return msgspec.convert({**msgspec.structs.asdict(self), **changes}, Policy)
        except msgspec.ValidationError as error:
            raise ConfigError(f"policy: {error}") from None
