"""The JSON Schemas of what the router tells: traces, and log events.

`$id` ends in the version. Its second number grows when a field or an event is added, its first one
when what was said before is no longer so.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any, Literal

import msgspec


def read(name: Literal["trace", "event"]) -> dict[str, Any]:
    """A schema (draft 2020-12): of `Trace.to_dict()`, or of a log event with its fields."""
    text = (files(__name__) / f"{name}.json").read_bytes()
    return msgspec.json.decode(text, type=dict[str, Any])
