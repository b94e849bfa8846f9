"""The schemas of traces and events: valid themselves, complete, and true of what is emitted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, get_args

import msgspec
import pytest
import structlog
from calling import Caller
from emitted import check_event, check_trace
from jsonschema import Draft202012Validator, ValidationError

from router import (
    BadRequest,
    ConnectionLost,
    Model,
    RateLimited,
    RouterError,
    Trace,
    UpstreamError,
    Usage,
    schemas,
)
from router.errors import Phase
from router.events import EVENTS
from router.testing import ScriptedProvider
from router.types import Attempt, FinishReason, PassedOver


@pytest.mark.parametrize("name", ["trace", "event"])
def test_a_schema_is_one_and_has_a_version(name: Any) -> None:
    schema = schemas.read(name)
    Draft202012Validator.check_schema(schema)
    assert re.fullmatch(rf"urn:pluggable-router:{name}:\d+\.\d+", schema["$id"])


def properties(part: str) -> set[str]:
    schema = schemas.read("trace")
    part_of = schema["$defs"][part] if part else schema
    assert set(part_of["required"]) == set(part_of["properties"])
    return set(part_of["properties"])


@pytest.mark.parametrize(
    ("part", "struct"),
    [("", Trace), ("attempt", Attempt), ("usage", Usage), ("passed_over", PassedOver)],
)
def test_the_schema_of_a_trace_has_every_field(part: str, struct: type[msgspec.Struct]) -> None:
    assert properties(part) == set(struct.__struct_fields__)


def test_the_schema_of_a_trace_has_every_field_of_an_error() -> None:
    assert properties("error") == set(RouterError("x").to_dict())


def test_the_schema_of_a_trace_has_every_word() -> None:
    attempt = schemas.read("trace")["$defs"]["attempt"]["properties"]
    assert attempt["finish_reason"]["enum"] == [*get_args(FinishReason), None]
    error = schemas.read("trace")["$defs"]["error"]["properties"]
    assert error["phase"]["enum"] == [*get_args(Phase), None]
    types = {field.name: field.type for field in msgspec.structs.fields(Attempt)}
    assert attempt["outcome"]["enum"] == list(get_args(types["outcome"]))


def test_the_schema_of_events_has_every_event() -> None:
    schema = schemas.read("event")
    listed = [each["$ref"].rpartition("/")[2] for each in schema["oneOf"]]
    assert listed == list(EVENTS)
    assert set(schema["$defs"]) == {*EVENTS, "fields"}
    used = {name for event in EVENTS for name in schema["$defs"][event]["properties"]}
    assert used == {"event", *schema["$defs"]["fields"]}, "a field of no event"


@pytest.mark.parametrize(
    "wrong",
    [
        {"event": "nosuch"},
        {"event": "close_failed", "provider": "a"},
        {"event": "close_failed", "provider": "a", "error_type": "b", "prompt": "c"},
        {"event": "cleanup_failed", "status": "200"},
    ],
)
def test_an_event_that_is_not_as_the_schema_says_is_found_out(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        check_event(wrong)


# -- what is emitted; every fault of the matrix and every event have their tests beside those


@pytest.fixture
def events() -> Iterator[list[dict[str, Any]]]:
    kept: list[dict[str, Any]] = []

    def keep(_: Any, __: str, event: dict[str, Any]) -> str:
        kept.append(dict(event))
        return ""

    structlog.configure(processors=[keep])
    yield kept
    structlog.reset_defaults()


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    "scripts",
    [
        [["text"]],
        [[UpstreamError("broken", status=500, code="x")], ["text"]],
        [[RateLimited("slow down", retry_after=300.0)]],
        [["half", ConnectionLost("cut")]],
        [[BadRequest("wrong")]],
        [[ValueError("a bug")]],
    ],
    ids=["answered", "retried", "limited", "cut", "refused", "buggy"],
)
def test_whatever_becomes_of_a_call_is_told_as_the_schemas_say(
    events: list[dict[str, Any]], kind: Any, stream: bool, scripts: Any
) -> None:
    one = ScriptedProvider("one", *scripts)
    small = ScriptedProvider("small", models=[Model(id="model", context_window=1)])
    result = Caller(kind)(
        [one, small, ScriptedProvider("never")],
        ["small/model", "never/model", "one/model"],
        [{"role": "user", "content": "word " * 20}],
        stream=stream,
        policy={"never": ("never",), "retries": 1},
        temperature=1.0,
        max_tokens=5,
    )
    check_trace(result.trace)
    assert result.trace is not None
    assert [each.reason for each in result.trace.passed_over] == ["context", "constraint"]
    for event in events:
        check_event(event)
    told = {event["event"] for event in events}
    assert {"attempt_started", "target_passed_over"} <= told
    assert told & {"completion_succeeded", "completion_failed"}


def test_a_trace_of_a_call_that_goes_on_is_as_the_schema_says() -> None:
    attempt = Attempt(
        number=1, target="a/b", provider="a", model="b", outcome="running", started_ms=0.0
    )
    check_trace(Trace(request_id="x", attempts=(attempt,)))
