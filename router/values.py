"""The values of a call: what JSON can carry, made anew so that nobody shares them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from router.errors import BadRequest

MAX_NESTING = 100
"""How deep the dicts and lists of a call may lie in each other: no schema comes near it, and
Python's own limit, a thousand frames, is not reached by what walks through them."""


def copied(value: Any, depth: int = 0) -> Any:
    """The same, its dicts and lists made anew, however deep: a provider may change its copy.

    Raises:
        BadRequest: They lie deeper in each other than `MAX_NESTING`.
    """
    if depth > MAX_NESTING:
        raise BadRequest(f"dicts and lists more than {MAX_NESTING} deep in each other")
    if isinstance(value, dict):
        return {key: copied(inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, list):
        return [copied(inner, depth + 1) for inner in value]
    return value


def plain(value: Any, where: str, depth: int = 0) -> Any:
    """The value as dicts and lists made anew, of what JSON has a form for.

    A model of pydantic's or of `router.chat` is its dict; a Struct of the router's stays.

    Args:
        value: A message, a part of one, a body.
        where: What it is called in an error; never what it holds.
        depth: How deep it lies in the whole.

    Raises:
        BadRequest: It holds something that JSON has no form for; says where, and its type.
    """
    if depth > MAX_NESTING:
        raise BadRequest(f"{where}: dicts and lists more than {MAX_NESTING} deep in each other")
    if callable(dump := getattr(value, "model_dump", None)) and not isinstance(value, type):
        value = dump(exclude_none=True)
    if isinstance(value, Mapping):
        return {_key(key, where): plain(value[key], _under(where, key), depth + 1) for key in value}
    if isinstance(value, list | tuple | Iterator):
        return [plain(each, f"{where}[{i}]", depth + 1) for i, each in enumerate(value)]
    if (fault := unsendable(value)) is not None:
        raise BadRequest(f"{where} holds {fault}")
    if not isinstance(value, str | int | float | Struct | None):
        raise BadRequest(f"{where} is {_a(value)}, which JSON has no form for")
    return value


def unsendable(value: Any) -> str | None:
    """What in a value no wire can carry, or `None`.

    Looks into dicts, lists, tuples and Structs; any other object is its provider's own business.
    """
    if isinstance(value, str):
        if value.isascii() or _is_encodable(value):
            return None
        return "half of a character (a lone surrogate), which no wire can carry"
    if isinstance(value, float):
        return None if math.isfinite(value) else "a number that is not finite, which JSON lacks"
    if isinstance(value, Mapping):
        inner: Iterator[Any] = iter([*value, *value.values()])
    elif isinstance(value, list | tuple):
        inner = iter(value)
    elif isinstance(value, Struct):
        inner = (getattr(value, name) for name in value.__struct_fields__)
    else:
        return None
    return next((fault for each in inner if (fault := unsendable(each)) is not None), None)


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _key(key: Any, where: str) -> str:
    if isinstance(key, str) and unsendable(key) is None:
        return key
    raise BadRequest(f"{where} has a key that is no text, but {_a(key)}")


def _under(where: str, key: Any) -> str:
    """The name of what stands under a key; one that is no plain word may be the caller's secret."""
    is_word = isinstance(key, str) and key.isascii() and key.isidentifier()
    return f"{where}.{key[:40]}" if is_word else f"{where}[...]"


def _a(value: Any) -> str:
    return f"of the type {type(value).__name__}"
