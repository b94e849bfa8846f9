"""Samples for the conformance kit, made up for each wire: what its server would answer.

A module for each wire, named like that of the provider, has `SAMPLES`. Each wire has an answer in
text and one that calls a tool, both streamed and whole, and refusals.
"""

from __future__ import annotations

import json
from typing import Any

from router.testing.conformance import Reply

TEXT = ("The sea", " keeps", " no 🌊 secrets.")
"""The pieces of the answer."""

CALL = {"place": "Café", "depth": 20}
"""The arguments of the tool call."""


def events(*values: dict[str, Any] | str, named: bool = False) -> Reply:
    """Server-sent events; `named` ones have their `type` as the event's name."""
    lines = []
    for value in values:
        if named and isinstance(value, dict):
            lines.append(f"event: {value['type']}\n")
        data = value if isinstance(value, str) else compact(value)
        lines.append(f"data: {data}\n\n")
    return Reply(headers={"content-type": "text/event-stream"}, text="".join(lines))


def json_lines(*values: dict[str, Any]) -> Reply:
    """A line of JSON for each."""
    text = "".join(f"{compact(value)}\n" for value in values)
    return Reply(headers={"content-type": "application/x-ndjson"}, text=text)


def compact(value: Any) -> str:
    """JSON as servers write it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
