"""Which definitions of a schema lead back to themselves."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.schema_references import WHOLE, recursive


def to(*names: str) -> dict[str, Any]:
    return {"anyOf": [{"items": {"$ref": f"#/$defs/{name}"}} for name in names]}


CASES: dict[str, tuple[dict[str, Any], set[str]]] = {
    "none": ({"type": "string"}, set()),
    "one that is plain": ({**to("A"), "$defs": {"A": {"type": "string"}}}, set()),
    "one that holds itself": ({**to("A"), "$defs": {"A": to("A")}}, {"A"}),
    "one that holds such a one": ({"$defs": {"A": to("B"), "B": to("B")}}, {"B"}),
    "two that hold each other": ({"$defs": {"A": to("B"), "B": to("A")}}, {"A", "B"}),
    "under the name of old": (
        {"definitions": {"A": {"properties": {"a": {"$ref": "#/definitions/A"}}}}},
        {"A"},
    ),
    "the whole": ({"properties": {"a": {"$ref": "#"}}}, {WHOLE}),
    "one that is not there": ({**to("B"), "$defs": {"A": to("B")}}, set()),
}


@pytest.mark.parametrize(("schema", "names"), CASES.values(), ids=CASES.keys())
def test_definitions_that_lead_back_to_themselves_are_named(
    schema: dict[str, Any], names: set[str]
) -> None:
    assert recursive(schema) == names


LETTERS = "ABCDE"


@given(st.dictionaries(st.sampled_from(LETTERS), st.sets(st.sampled_from(LETTERS))))
def test_definitions_that_are_left_can_be_put_in_an_order(links: dict[str, set[str]]) -> None:
    schema = {"$defs": {name: to(*sorted(others)) for name, others in links.items()}}
    left = {name: others & links.keys() for name, others in links.items()}
    found = recursive(schema)
    while free := [name for name, others in left.items() if not others & left.keys()]:
        for name in free:
            del left[name]
            assert name not in found
    assert found <= left.keys()
    assert bool(found) == bool(left)
