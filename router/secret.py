"""Keys: checked when they are loaded, and never shown; nor are prompts, where they are handled."""

from __future__ import annotations

import functools
import hashlib
import re
import traceback
from collections.abc import Callable
from typing import NoReturn, ParamSpec, TypeVar

from msgspec import Struct

from router.errors import ConfigError, RouterError

LEAST_SHOWN = 8
"""Characters of a key's beginning that are hidden too: fewer say whose it is (`sk-proj-`)."""

P = ParamSpec("P")
T = TypeVar("T")


class Unshown(Struct, frozen=True):
    """A struct that holds keys or prompts, and shows none of its fields."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


def forgetful(function: Callable[P, T]) -> Callable[P, T]:
    """Have the errors of a function leave its locals behind, and those of what it calls.

    Who reports errors may show the locals of their frames, keys and prompts among them.
    """

    @functools.wraps(function)
    def forgetting(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except RouterError as error:
            each: BaseException | None = error
            while each is not None:  # what it was made from as well, even where that is not told
                traceback.clear_frames(each.__traceback__)
                each = each.__context__
            raise
        finally:
            del args, kwargs

    return forgetting


class Secret:
    """A key or token that no repr, log, copy of the settings or traceback shows.

    It shows as `secret#a1b2c3`, six digits of its SHA-256, so that two can be told apart.

    Args:
        value: The key; white space around it is dropped.
        source: Where it came from, for the error: a variable's or a file's name.

    Raises:
        ConfigError: It is no str, is empty, or holds control characters or others than ASCII, which
            no header may carry. The message does not hold the value.
    """

    __slots__ = ("_shown", "_value")

    def __init__(self, value: str, source: str = "the key") -> None:
        if not isinstance(value, str):
            raise ConfigError(f"{source} is a str, not {type(value).__name__}")
        value = value.strip()
        if not value:
            raise ConfigError(f"{source} is empty")
        if not value.isascii() or not value.isprintable():
            raise ConfigError(f"{source} holds characters that no HTTP header may carry")
        self._value = value
        self._shown = f"secret#{hashlib.sha256(value.encode()).hexdigest()[:6]}"

    def reveal(self) -> str:
        """The key itself, for the transport alone."""
        return self._value

    def hidden_in(self, text: str) -> str:
        """The text with this shown in place of the key, or of a beginning where it was cut.

        A shorter key is what a server of one's own is given that wants none, `x` or `none`: it is
        hidden as a word, since parts of other words say nothing of it.
        """
        if self._value[:LEAST_SHOWN] not in text:
            return text
        if len(self._value) < LEAST_SHOWN:
            return re.sub(rf"(?<!\w){re.escape(self._value)}(?!\w)", repr(self), text)
        lengths = range(len(self._value), LEAST_SHOWN - 1, -1)
        beginnings = "|".join(re.escape(self._value[:length]) for length in lengths)
        return re.sub(beginnings, repr(self), text)

    def __repr__(self) -> str:
        return self._shown

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
