"""Keys: checked when they are loaded, and never shown."""

from __future__ import annotations

import hashlib
from typing import NoReturn

from router.errors import ConfigError


class Secret:
    """A key or token that no repr, log, copy of the settings or traceback shows.

    It shows as `secret#a1b2c3`, six digits of its SHA-256, so that two can be told apart.

    Args:
        value: The key; white space around it is dropped.
        source: Where it came from, for the error: a variable's or a file's name.

    Raises:
        ConfigError: It is empty, or holds control characters or others than ASCII, which no
            header may carry. The message does not hold the value.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str, source: str = "the key") -> None:
        value = value.strip()
        if not value:
            raise ConfigError(f"{source} is empty")
        if not value.isascii() or not value.isprintable():
            raise ConfigError(f"{source} holds characters that no HTTP header may carry")
        self._value = value

    def reveal(self) -> str:
        """The key itself, for the transport alone."""
        return self._value

    def __repr__(self) -> str:
        return f"secret#{hashlib.sha256(self._value.encode()).hexdigest()[:6]}"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and header_value(other) == header_value(self)

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled or copied into another process")


class Bearer(Secret):
    """A secret that goes into a header behind a scheme: `Authorization: Bearer ...`."""

    __slots__ = ("_scheme",)

    def __init__(self, value: str, source: str = "the key", scheme: str = "Bearer") -> None:
        super().__init__(value, source)
        self._scheme = scheme

    def header(self) -> str:
        """The header's value, for the transport alone."""
        return f"{self._scheme} {self._value}"


def header_value(value: str | Secret) -> str:
    """A header's value as it goes on the wire."""
    if isinstance(value, Bearer):
        return value.header()
    return value.reveal() if isinstance(value, Secret) else value
