"""Structured output: a class as the form of the answer, and the answer as one of its objects."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from router.errors import BadRequest

NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]")
"""What the OpenAI API refuses in the name of a schema: `Box[int]` has some of it."""


def response_format_of(wanted: Any) -> tuple[Any, type | None]:
    """A `response_format` as the OpenAI API has it, and the class that the answer is parsed into.

    Args:
        wanted: A dict of that API, which comes back as it is; or a pydantic model, a msgspec
            Struct, a dataclass or a TypedDict.

    Raises:
        BadRequest: It is none of these, or has a field that JSON has no form for.
    """
    if isinstance(wanted, Mapping):
        return wanted, None
    if not isinstance(wanted, type):
        raise BadRequest(
            "response_format is a dict, a pydantic model, a msgspec Struct, a dataclass or a "
            f"TypedDict, not {type(wanted).__name__}"
        )
    schema = _close(_schema(wanted))
    name = NOT_IN_NAMES.sub("_", wanted.__name__)
    named = {"name": name, "schema": schema, "strict": _is_strict(schema)}
    return {"type": "json_schema", "json_schema": named}, wanted


def parse(text: str, kind: type) -> Any:
    """An answer's text as an object of a class.

    Raises:
        ValueError: It is no JSON, or not of the class's form; says where.
    """
    if (validate := getattr(kind, "model_validate_json", None)) is not None:
        return validate(text)
    try:
        return msgspec.json.decode(text.encode(), type=kind)
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from None


def _schema(kind: type) -> dict[str, Any]:
    if (of_pydantic := getattr(kind, "model_json_schema", None)) is not None:
        schema: dict[str, Any] = of_pydantic()
        if (reference := schema.pop("$ref", None)) is not None:  # it holds itself
            schema |= schema["$defs"][reference.removeprefix("#/$defs/")]
        return schema
    known = issubclass(kind, msgspec.Struct) or dataclasses.is_dataclass(kind)
    if not known and not hasattr(kind, "__total__"):
        raise BadRequest(f"response_format: {kind.__name__} is no class that describes its fields")
    try:
        (schema,), definitions = msgspec.json.schema_components(
            [kind], ref_template="#/$defs/{name}"
        )
    except TypeError as error:
        raise BadRequest(f"response_format: {error}") from None
    root = definitions.get(kind.__name__, schema)
    reference = f'"#/$defs/{kind.__name__}"'.encode()
    if reference not in msgspec.json.encode(definitions):  # it does not hold itself
        definitions.pop(kind.__name__, None)
    return {**root, "$defs": definitions} if definitions else root


_NAMED_SCHEMAS = ("properties", "$defs")
"""Keys whose values are schemas by name: the names may be any word, `default` too."""


def _close(schema: Any) -> Any:
    """The schema as `strict` asks for it: every object closed, all its properties required.

    What had a default is then always there, which an object of the class can live with. Of what
    pydantic says besides, `strict` takes no `oneOf`, and nothing beside a `$ref`. A `const` is
    an `enum` of one, which more services know.
    """
    if isinstance(schema, list):
        return [_close(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _NAMED_SCHEMAS:
            closed[key] = {name: _close(each) for name, each in value.items()}
        elif key == "const":
            closed["enum"] = [value]
        elif key not in ("default", "discriminator"):
            closed["anyOf" if key == "oneOf" else key] = _close(value)
    if "properties" in closed:
        closed["additionalProperties"] = False
        closed["required"] = list(closed["properties"])
    if "$ref" in closed and len(closed) > 1:
        closed["anyOf"] = [{"$ref": closed.pop("$ref")}]
    if "enum" in closed and all(isinstance(each, str) for each in closed["enum"]):
        closed["type"] = "string"  # msgspec leaves it out
    return closed


_KINDS = frozenset({"type", "anyOf", "$ref"})
"""Keys of which a schema has one that says what it describes."""

_STRICT = _KINDS | {
    *("$defs", "properties", "required", "additionalProperties", "items", "enum"),
    *("title", "description", "pattern", "format", "minItems", "maxItems"),
    *("multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
}
"""What the OpenAI API takes in a strict schema, by its guide to structured outputs; it refuses all
else. Of `minLength` the guide says nothing, and users report that it is refused."""

_STRICT_FORMATS = (
    *("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"),
    None,
)
"""The values of `format` that it takes, by the same guide; `None` where there is none."""


def _is_strict(schema: Any) -> bool:
    """Whether the OpenAI API takes a closed schema as `strict`."""
    if not isinstance(schema, dict):
        return False
    is_open = schema.get("type") == "object" and schema.get("additionalProperties") is not False
    if is_open or not schema.keys() <= _STRICT or not schema.keys() & _KINDS:
        return False
    if schema.get("format") not in _STRICT_FORMATS:
        return False
    inner = [*schema.get("anyOf", ()), *([schema["items"]] if "items" in schema else ())]
    inner += [each for key in _NAMED_SCHEMAS for each in schema.get(key, {}).values()]
    return all(_is_strict(each) for each in inner)
