"""The schemas of Anthropic's wire: what of JSON Schema its service takes, and holds a model to.

By its guide to structured outputs: objects are closed, nothing refers to itself, and limits of
numbers, lengths and counts are refused. A limit is told in the description, as Anthropic's own
clients tell it.
"""

from __future__ import annotations

import json
from typing import Any

from router import UnsupportedParameter

from .schema_references import DEFINITIONS, recursive

Schema = dict[str, Any]

TAKEN = frozenset(
    {"$ref", "type", "enum", "const", "required", "title", "description", "additionalProperties"}
)
"""What goes out as it is."""

KINDS = frozenset({"$ref", "type", "enum", "const", "anyOf", "allOf"})
"""Keys of which a schema has one that says what it describes."""

NAMED = ("properties", *DEFINITIONS)
"""Keys whose values are schemas by name."""

LISTED = ("anyOf", "allOf")
"""Keys whose values are lists of schemas."""

FORMATS = frozenset(
    {
        *("date-time", "time", "date", "duration", "email", "hostname"),
        *("uri", "ipv4", "ipv6", "uuid"),
    }
)
"""The formats of texts that it takes."""

LEAST_ITEMS = (0, 1)
"""The values of `minItems` that it takes."""


def closed(schema: Any) -> Any:
    """A schema in the form that the service takes.

    Raises:
        UnsupportedParameter: It refers to itself, or leaves open what is in it: the wire has no
            form for that.
    """
    if isinstance(schema, dict) and recursive(schema):
        raise UnsupportedParameter("takes no schema that refers to itself")
    return _closed(schema)


def _closed(schema: Any) -> Schema:
    if not isinstance(schema, dict) or _is_open(schema):
        raise UnsupportedParameter("takes no schema that leaves keys or types open")
    made: Schema = {}
    told: Schema = {}
    for key, value in schema.items():
        name = "anyOf" if key == "oneOf" else key
        if name in NAMED:
            made[name] = {each: _closed(inner) for each, inner in value.items()}
        elif name in LISTED:
            made[name] = [_closed(inner) for inner in value]
        elif name == "items":
            made[name] = _closed(value)
        elif _is_taken(name, value):
            made[name] = value
        elif not name.startswith("$"):
            told[name] = value
    if "properties" in made:
        made["additionalProperties"] = False
    if told:
        limits = json.dumps(told, ensure_ascii=False)
        made["description"] = "\n\n".join(filter(None, [schema.get("description"), limits]))
    return made


def _is_taken(key: str, value: Any) -> bool:
    if key == "format":
        return value in FORMATS
    return key in TAKEN or (key == "minItems" and value in LEAST_ITEMS)


def _is_open(schema: Schema) -> bool:
    """Whether it allows keys that it does not name, or values of any type."""
    if not schema.keys() & (KINDS | {"oneOf", "properties"}):
        return True
    unnamed = schema.get("additionalProperties", "properties" not in schema)
    return unnamed is not False and (schema.get("type") == "object" or "properties" in schema)
