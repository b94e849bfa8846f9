"""What becomes of a schema that goes out on Anthropic's wire."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pydantic
import pytest

from providers.anthropic_schema import closed
from router import UnsupportedParameter
from router.structured import response_format_of

TEXT = {"type": "string"}
CASES: dict[str, tuple[Any, Any]] = {
    "plain": (TEXT, TEXT),
    "an object that says nothing of other keys": (
        {"type": "object", "properties": {"a": TEXT}, "required": ["a"]},
        {
            "type": "object",
            "properties": {"a": TEXT},
            "required": ["a"],
            "additionalProperties": False,
        },
    ),
    "limits of a number": (
        {"type": "integer", "minimum": 0, "maximum": 9},
        {"type": "integer", "description": '{"minimum": 0, "maximum": 9}'},
    ),
    "a limit beside a description": (
        {"type": "string", "maxLength": 9, "description": "A name."},
        {"type": "string", "description": 'A name.\n\n{"maxLength": 9}'},
    ),
    "formats": (
        {"anyOf": [{**TEXT, "format": "date"}, {**TEXT, "format": "binary"}]},
        {"anyOf": [{**TEXT, "format": "date"}, {**TEXT, "description": '{"format": "binary"}'}]},
    ),
    "a list that may not be empty": (
        {"type": "array", "items": {"type": "number", "multipleOf": 2}, "minItems": 1},
        {
            "type": "array",
            "items": {"type": "number", "description": '{"multipleOf": 2}'},
            "minItems": 1,
        },
    ),
    "a longer list": (
        {"type": "array", "items": TEXT, "minItems": 2},
        {"type": "array", "items": TEXT, "description": '{"minItems": 2}'},
    ),
    "one of several": ({"oneOf": [TEXT, {"type": "null"}]}, {"anyOf": [TEXT, {"type": "null"}]}),
    "definitions": (
        {"$schema": "x", "$ref": "#/$defs/A", "$defs": {"A": {**TEXT, "minLength": 1}}},
        {"$ref": "#/$defs/A", "$defs": {"A": {**TEXT, "description": '{"minLength": 1}'}}},
    ),
    "properties that are called as limits are": (
        {"type": "object", "properties": {"minimum": TEXT}, "additionalProperties": False},
        {"type": "object", "properties": {"minimum": TEXT}, "additionalProperties": False},
    ),
}


@pytest.mark.parametrize(("given", "sent"), CASES.values(), ids=CASES.keys())
def test_schema_is_fitted_to_what_the_service_takes(given: Any, sent: Any) -> None:
    assert closed(given) == sent
    assert closed(sent) == sent


HELD = {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}}
REFUSED: dict[str, Any] = {
    "no schema": 7,
    "a value of any type": {"type": "object", "properties": {"a": {}}},
    "an object without properties": {"type": "object"},
    "keys of any name": {"type": "object", "additionalProperties": TEXT},
    "keys of any name beside others": {"properties": {"a": TEXT}, "additionalProperties": {}},
    "one that holds itself": {**HELD, "$defs": {"A": HELD}},
}


@pytest.mark.parametrize("given", REFUSED.values(), ids=REFUSED.keys())
def test_schema_that_cannot_be_fitted_lets_another_target_try(given: Any) -> None:
    with pytest.raises(UnsupportedParameter, match="takes no schema that"):
        closed(given)


class Street(pydantic.BaseModel):
    name: Annotated[str, pydantic.Field(min_length=1)]
    number: int | None = None


class Person(pydantic.BaseModel):
    kind: Literal["person"]
    age: Annotated[int, pydantic.Field(ge=0, le=150)]
    streets: list[Street] = []


def test_class_is_fitted_and_refers_to_its_parts() -> None:
    form, _ = response_format_of(Person)
    schema = closed(form["json_schema"]["schema"])
    assert schema["properties"]["streets"]["items"] == {"$ref": "#/$defs/Street"}
    assert schema["properties"]["kind"]["enum"] == ["person"]
    assert "minLength" not in schema["$defs"]["Street"]["properties"]["name"]
    assert schema["required"] == ["kind", "age", "streets"]
