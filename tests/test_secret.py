import copy
import hashlib
import json
import logging
import pickle
import traceback

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router import Bearer, ConfigError, HttpRequest, Secret
from router.secret import header_value

KEY = "sk-canary-0123456789"
KEYS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=60)


@given(KEYS)
def test_secret_shows_nothing_of_its_key_but_a_digest(key):
    secret = Secret(key)
    digest = hashlib.sha256(key.encode()).hexdigest()[:6]
    for shown in (repr(secret), str(secret), f"{secret}", f"{secret:>20}".strip()):
        assert shown == f"secret#{digest}"


def test_secret_is_not_in_what_holds_it():
    request = HttpRequest("POST", "http://127.0.0.1/", {"Authorization": Bearer(KEY)})
    for holder in (request, request.headers, [Secret(KEY)], {"key": Secret(KEY)}):
        assert KEY not in repr(holder)


def test_a_key_that_is_a_mere_word_is_hidden_as_one():
    """Servers that want no key are given `x` or `none`, and their errors could not be read."""
    told = "no such model; x is none of next, exact"
    assert Secret("x").hidden_in(told) == told.replace("x is", f"{Secret('x')} is")
    assert Secret("none").hidden_in("nonesuch, key=none") == f"nonesuch, key={Secret('none')}"


def test_secret_is_not_in_a_traceback_with_local_variables():
    def fail(key: Secret):
        raise RuntimeError("no")

    try:
        fail(Bearer(KEY))
    except RuntimeError as error:
        told = traceback.TracebackException.from_exception(error, capture_locals=True)
    lines = "".join(told.format())
    assert "secret#" in lines
    assert KEY not in lines


def test_secret_is_not_in_a_log(caplog):
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("application").warning("calling with %s and %r", Secret(KEY), Bearer(KEY))
    assert KEY not in caplog.text


@pytest.mark.parametrize("kind", [Secret, Bearer])
@pytest.mark.parametrize(
    "leave",
    [pickle.dumps, copy.copy, copy.deepcopy, json.dumps, msgspec.json.encode, vars],
    ids=lambda way: way.__qualname__,
)
def test_secret_leaves_by_no_way_but_its_own(kind, leave):
    with pytest.raises(TypeError) as caught:
        leave(kind(KEY))
    assert KEY not in str(caught.value)


@given(KEYS, st.sampled_from(["", " ", "\n", "\t \r\n"]), st.sampled_from(["", " ", "\n"]))
def test_secret_reveals_the_key_without_the_white_space_around_it(key, before, after):
    assert Secret(before + key + after).reveal() == key


@pytest.mark.parametrize(
    "value",
    [
        "",
        "  \n",
        f"{KEY}\r\nX-Evil: 1",
        f"{KEY}\x00",
        f"{KEY}\x7f",
        f"{KEY}\u00e9",
        f"{KEY}\u2028x",
    ],
    ids=["empty", "blank", "line feed", "zero", "delete", "accent", "line separator"],
)
@pytest.mark.parametrize("kind", [Secret, Bearer])
def test_secret_refuses_what_no_header_may_carry_without_showing_it(kind, value):
    with pytest.raises(ConfigError, match=r"^OPENAI_API_KEY ") as caught:
        kind(value, "OPENAI_API_KEY")
    assert KEY not in str(caught.value)


def test_secrets_are_equal_when_they_go_on_the_wire_alike():
    """Two of one key were equal whatever their schemes."""
    assert Secret(KEY) == Secret(f" {KEY} ")
    assert hash(Secret(KEY)) == hash(Secret(f" {KEY} "))
    assert len({Secret(KEY), Secret(KEY), Secret("another")}) == 2
    assert Secret(KEY) != KEY
    assert Bearer(KEY) == Bearer(KEY)
    assert Bearer(KEY) != Bearer(KEY, scheme="Api-Key")
    assert Bearer(KEY) != Secret(KEY)


def test_header_value_is_what_goes_on_the_wire():
    assert header_value("plain") == "plain"
    assert header_value(Secret(KEY)) == KEY
    assert header_value(Bearer(KEY)) == f"Bearer {KEY}"
    assert header_value(Bearer(KEY, scheme="Api-Key")) == f"Api-Key {KEY}"
