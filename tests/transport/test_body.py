"""A request's body and headers, as they go on the wire."""

from __future__ import annotations

from typing import Any

import pytest
from emulators.loopback import LoopbackServer, Reply, Request
from routed import Kind, Routed

from router import BadRequest, HttpRequest, Secret, WireProvider
from router.transport.body import USER_AGENT, encode, wire_headers

FORM = "application/x-www-form-urlencoded"


class Answering(LoopbackServer):
    def handle(self, request: Request) -> Reply:
        return Reply.text(200, "ok")


class Asking(WireProvider):
    """Sends one request."""

    name = "one"
    models = ("m",)

    def __init__(self, request: HttpRequest) -> None:
        self.request = request

    def create_completion(self, model: str, messages: list[Any], stream: bool) -> Any:
        response = yield self.request
        yield response.body.decode()


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


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize(
    ("method", "given", "body", "framing"),
    [
        ("GET", {}, b"", {}),
        ("POST", {}, b"", {"content-length": "0"}),
        ("DELETE", {}, b"", {"content-length": "0"}),
        ("POST", {"json": 1}, b"1", {"content-length": "1", "content-type": "application/json"}),
        ("POST", {"content": b"x" * 100_000}, b"x" * 100_000, {"content-length": "100000"}),
    ],
    ids=["get", "post", "delete", "json", "long"],
)
def test_both_transports_send_the_same_request(
    kind: Kind, method: str, given: dict[str, Any], body: bytes, framing: dict[str, str]
) -> None:
    """One wrote headers in Latin-1, the other told the type of a body of which nothing was said."""
    with Answering() as server:
        request = HttpRequest(method, f"{server.url}/a%2Fb?c=%20", {"X-Own": "ö→"}, **given)
        with Routed(kind, [Asking(request)]) as routed:
            result = routed.call("one/m")
        assert result.completion is not None
        [came] = server.requests
    assert (came.method, came.path, came.query, came.body) == (method, "/a%2Fb", "c=%20", body)
    headers = {
        name.lower(): value.encode("latin-1").decode() for name, value in came.headers.items()
    }
    assert headers == {
        "host": server.url.partition("//")[2],
        "user-agent": USER_AGENT,
        "accept": "*/*",
        "accept-encoding": "gzip, deflate",
        "x-own": "ö→",
        **framing,
    }
