"""The values of a call: plain, sendable, nobody else's."""

import json
import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router import BadRequest, Text
from router.values import MAX_NESTING, copied, plain, unsendable

TEXT = st.text(st.characters(), max_size=5)  # halves of characters too
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(TEXT | st.integers(), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(ANYTHING)
def test_plain_value_is_written_as_json_or_refused(value):
    try:
        made = plain(value, "here")
    except BadRequest as error:
        told = str(error)
    else:
        assert msgspec.json.decode(msgspec.json.encode(made)) == made
        told = json.dumps(made, allow_nan=False)
    assert told.encode()  # it can be printed


@given(ANYTHING.filter(lambda value: unsendable(value) is None))
def test_sendable_value_holds_no_half_character_and_no_infinity(value):
    assert json.dumps(value, default=repr, ensure_ascii=False, allow_nan=False).encode()


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("\ud800", "half of a character"),
        ({"\udfff": 1}, "half of a character"),
        ([("x", math.inf)], "a number that is not finite"),
        ({"a": -math.inf}, "a number that is not finite"),
        (Text(text="\ud800"), "half of a character"),
        (Text(text="x", extra={"a": math.nan}), "a number that is not finite"),
    ],
)
def test_unsendable_value_is_found_wherever_it_lies(value, why):
    assert unsendable(value).startswith(why)
    with pytest.raises(BadRequest):
        plain({"deep": [value]}, "here")


def test_own_objects_of_a_provider_are_no_concern():
    assert unsendable({"grammar": object(), "raw": b"\xff"}) is None


def test_generators_tuples_and_models_are_made_plain():
    class Model:
        def model_dump(self, *, exclude_none):
            return {"x": (1, 2), "dropped": not exclude_none}

    made = plain({"a": (each for each in "bc"), "d": Model()}, "here")
    assert made == {"a": ["b", "c"], "d": {"x": [1, 2], "dropped": False}}


@pytest.mark.parametrize("make", [copied, lambda value: plain(value, "here")])
def test_what_lies_too_deep_is_refused(make):
    value = []
    for _ in range(MAX_NESTING + 1):
        value = [value]
    with pytest.raises(BadRequest, match=f"more than {MAX_NESTING} deep"):
        make(value)
