"""What a JSON Schema refers to: the definitions that lead back to themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

DEFINITIONS = ("$defs", "definitions")
"""Where a schema keeps what it refers to by name."""


WHOLE = "#"
"""The name of the whole, among what is referred to."""


def references(schema: Any) -> Iterator[str]:
    """The names of the definitions that a schema refers to, or `WHOLE`."""
    if isinstance(schema, list):
        for each in schema:
            yield from references(each)
    elif isinstance(schema, dict):
        for key, value in schema.items():
            if key == "$ref" and isinstance(value, str):
                yield value.rpartition("/")[2]
            elif key not in DEFINITIONS:
                yield from references(value)


def recursive(schema: Mapping[str, Any]) -> frozenset[str]:
    """The names of a schema's definitions that refer to themselves, by others or at once."""
    named: dict[str, Any] = {WHOLE: schema}
    for place in DEFINITIONS:
        named |= schema.get(place, {})
    direct = {name: set(references(inner)) & named.keys() for name, inner in named.items()}
    return frozenset(name for name in named if name in _reached(name, direct))


def _reached(start: str, direct: Mapping[str, set[str]]) -> set[str]:
    reached: set[str] = set()
    waiting = [start]
    while waiting:
        new = direct[waiting.pop()] - reached
        reached |= new
        waiting += new
    return reached
