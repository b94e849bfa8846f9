"""A request's body and headers, as they go on the wire."""

from __future__ import annotations

from typing import Any

import pytest

from router import BadRequest, HttpRequest, Secret
from router.transport.body import USER_AGENT, encode, wire_headers

FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("given", "body"),
    [
        ({"json": {"a": ["ö", None]}}, ('{"a":["ö",null]}'.encode(), "application/json")),
        ({"json": []}, (b"[]", "application/json")),
        ({"form": {"a b": "ö&"}}, (b"a+b=%C3%B6%26", FORM)),
        ({"form": {}}, (b"", FORM)),
        ({"content": b"\xff"}, (b"\xff", None)),
        ({"content": b""}, (b"", None)),
        ({}, (None, None)),
    ],
)
def test_a_body_is_json_a_form_or_bytes(
    given: dict[str, Any], body: tuple[bytes | None, str | None]
) -> None:
    assert encode(HttpRequest("POST", "http://host/", **given)) == body


def test_a_body_that_json_has_no_form_for_is_a_bad_request() -> None:
    with pytest.raises(BadRequest, match=r"cannot be written as JSON: .*object"):
        encode(HttpRequest("POST", "http://host/", json={"a": object()}))


def test_headers_of_a_request_replace_ours_whatever_their_case() -> None:
    headers = {"user-agent": "mine", "CONTENT-TYPE": "text/csv", "X-Key": Secret("sk-canary-1")}
    assert wire_headers(HttpRequest("POST", "http://host/", headers), "application/json") == {
        "Accept": "*/*",
        "Accept-Encoding": "gzip, deflate",
        "user-agent": "mine",
        "CONTENT-TYPE": "text/csv",
        "X-Key": "sk-canary-1",
    }


def test_a_header_goes_out_once_however_it_is_spelt_and_a_length_is_the_transports_own() -> None:
    headers = {"authorization": "mine", "AUTHORIZATION": "theirs", "content-length": "7"}
    sent = wire_headers(HttpRequest("POST", "http://host/", headers, content=b"body"), None)
    assert [value for name, value in sent.items() if name.lower() == "authorization"] == ["theirs"]
    assert "content-length" not in sent


def test_a_stream_is_not_compressed() -> None:
    assert wire_headers(HttpRequest("GET", "http://host/", stream=True), "text/csv") == {
        "User-Agent": USER_AGENT,
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        "Content-Type": "text/csv",
    }
    assert "Content-Type" not in wire_headers(HttpRequest("GET", "http://host/"), None)
