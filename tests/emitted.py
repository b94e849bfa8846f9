"""Holds what is emitted to its schema, and to no field more than that names."""

from __future__ import annotations

import json
from typing import Any

from jsonschema import Draft202012Validator

from router import Trace, schemas


def closed(schema: Any) -> Any:
    """The schema with nothing allowed beside what it names."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    shut = {name: closed(each) for name, each in schema.items()}
    if isinstance(schema.get("properties"), dict):
        shut["additionalProperties"] = False
    return shut


TRACE = Draft202012Validator(closed(schemas.read("trace")))
EVENT = Draft202012Validator(closed(schemas.read("event")))


def check_trace(trace: Trace | None) -> None:
    """The trace as JSON is what the schema says."""
    assert trace is not None
    TRACE.validate(json.loads(json.dumps(trace.to_dict(), allow_nan=False)))


def check_event(event: dict[str, Any]) -> None:
    """The event as JSON is what the schema says."""
    EVENT.validate(json.loads(json.dumps(event, allow_nan=False)))
