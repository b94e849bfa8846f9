"""What a caller passes to the public methods, checked against their annotations."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar, get_type_hints

import msgspec
from msgspec import Struct

from router.errors import ConfigError
from router.parameters import Parameter, read_parameter

P = ParamSpec("P")
T = TypeVar("T")


def checked(function: Callable[P, T]) -> Callable[P, T]:
    """Have a method refuse arguments that its annotations do not allow.

    What is left out, too much or unknown is left to Python, which says so.

    Raises:
        ConfigError: From the method: says which argument, what it expects and what came.
    """
    parameters = inspect.signature(function).parameters

    @functools.cache
    def expected() -> dict[str, Parameter]:  # at the first call: annotations may look ahead
        hints = get_type_hints(function, include_extras=True)
        return {n: read_parameter(p, hints[n]) for n, p in parameters.items() if n in hints}

    @functools.wraps(function)
    def checking(*args: P.args, **kwargs: P.kwargs) -> T:
        given = {**dict(zip(parameters, args, strict=False)), **kwargs}
        for name, parameter in expected().items():
            value = given.get(name, parameter.default)
            complaint = None if value is parameter.default else parameter.misfit(value)
            if complaint is not None:
                raise ConfigError(complaint)
        return function(*args, **kwargs)

    return checking


def check_fields(struct: Struct) -> None:
    """Check the types of a struct's fields, which it does not do when it is made.

    Raises:
        ConfigError: Says which field, what it expects and what came.
    """
    try:
        msgspec.convert(msgspec.structs.asdict(struct), type(struct))
    except msgspec.ValidationError as error:
        raise ConfigError(f"{type(struct).__name__}: {error}") from None
