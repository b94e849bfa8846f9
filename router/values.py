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


def plain(value: Any, where: str) -> Any:
    """The value as dicts and lists made anew, of what JSON has a form for.

    A model of pydantic's or of `router.chat` is its dict; a Struct of the router's stays.

    Args:
        value: A message, a part of one, a body.
        where: What it is called in an error; never what it holds.

    Raises:
        BadRequest: It holds something that JSON has no form for; says where, and its type.
    """
    try:
        return _plain(value, 0)
    except _Unfit as unfit:
        told = f"{where}{unfit.place} {unfit.why}"
    raise BadRequest(told)  # out here, where it has no context, whose frames hold the value


class _Unfit(Exception):
    """What JSON has no form for. Its place is told from the inside out, once it is needed."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why
        self.place = ""

    def within(self, place: str) -> _Unfit:
        self.place = f"{place}{self.place}"
        return self


def _plain(value: Any, depth: int) -> Any:
    if isinstance(value, str) and value.isascii():  # as nearly everything is
        return value
    if depth > MAX_NESTING:
        raise BadRequest(f"dicts and lists more than {MAX_NESTING} deep in each other")
    if not isinstance(value, _FINAL) and callable(dump := getattr(value, "model_dump", None)):
        value = dump(exclude_none=True)
    if isinstance(value, _MAPPINGS):
        made = {}
        for key, inner in value.items():
            try:
                made[_key(key)] = _plain(inner, depth + 1)
            except _Unfit as unfit:
                raise unfit.within(_under(key)) from None
        return made
    if isinstance(value, _LISTS):
        listed = []
        for number, inner in enumerate(value):
            try:
                listed.append(_plain(inner, depth + 1))
            except _Unfit as unfit:
                raise unfit.within(f"[{number}]") from None
        return listed
    if (fault := unsendable(value)) is not None:
        raise _Unfit(f"holds {fault}")
    if not isinstance(value, _SCALARS):
        raise _Unfit(f"is {_a(value)}, which JSON has no form for")
    return value


_FINAL = (dict, list, str, int, float, type)
_LISTS = (list, tuple, Iterator)
_MAPPINGS = (dict, Mapping)  # the first is nearly every one, and the second is slow to ask
_SCALARS = (str, int, float, Struct, type(None))


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
    if value is None or isinstance(value, int):
        return None
    if isinstance(value, _MAPPINGS):
        inner: Iterator[Any] = iter([*value, *value.values()])
    elif isinstance(value, (list, tuple)):
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


def _key(key: Any) -> str:
    if isinstance(key, str) and (key.isascii() or _is_encodable(key)):
        return key
    raise _Unfit(f"is under a key that is no text, but {_a(key)}")


def _under(key: Any) -> str:
    """The name of what stands under a key; one that is no plain word may be the caller's secret."""
    is_word = isinstance(key, str) and key.isascii() and key.isidentifier()
    return f".{key[:40]}" if is_word else "[...]"


def _a(value: Any) -> str:
    return f"of the type {type(value).__name__}"
