"""Anthropic's messages."""

from __future__ import annotations

from typing import Any

from router import Usage
from router.testing.conformance import Reply, Sample

from . import CALL, TEXT, compact, events

READ = Usage(input_tokens=12, output_tokens=7)


def stream(block: dict[str, Any], reason: str, *deltas: dict[str, Any]) -> Reply:
    usage = {"input_tokens": 12, "output_tokens": 1}
    message = {"id": "m1", "type": "message", "model": "m", "content": [], "usage": usage}
    return events(
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "ping"},
        *[{"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas],
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": reason, "stop_sequence": None},
            "usage": {"output_tokens": 7},
        },
        {"type": "message_stop"},
        named=True,
    )


def whole(block: dict[str, Any], reason: str) -> Reply:
    usage = {"input_tokens": 12, "output_tokens": 7}
    message = {"id": "m1", "type": "message", "model": "m", "role": "assistant", "usage": usage}
    return Reply(json={**message, "content": [block], "stop_reason": reason})


def refusal(status: int, kind: str, message: str = "no") -> Reply:
    body = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "r1"}
    return Reply(status=status, json=body)


ARGUMENTS = compact(CALL)
TOOL = {"type": "tool_use", "id": "t1", "name": "dive"}

SAMPLES = (
    Sample(
        name="text",
        stream=True,
        replies=(
            stream(
                {"type": "text", "text": ""},
                "end_turn",
                *[{"type": "text_delta", "text": text} for text in TEXT],
            ),
        ),
        text="".join(TEXT),
        usage=READ,
    ),
    Sample(
        name="text",
        replies=(whole({"type": "text", "text": "".join(TEXT)}, "end_turn"),),
        text="".join(TEXT),
        usage=READ,
    ),
    Sample(
        name="tool call",
        stream=True,
        replies=(
            stream(
                {**TOOL, "input": {}},
                "tool_use",
                {"type": "input_json_delta", "partial_json": ARGUMENTS[:7]},
                {"type": "input_json_delta", "partial_json": ARGUMENTS[7:]},
            ),
        ),
        tool_calls=(("dive", ARGUMENTS),),
        finish_reason="tool_calls",
    ),
    Sample(
        name="tool call",
        replies=(whole({**TOOL, "input": CALL}, "tool_use"),),
        tool_calls=(("dive", ARGUMENTS),),
        finish_reason="tool_calls",
    ),
    Sample(name="key", replies=(refusal(401, "authentication_error"),), error="AuthError"),
    Sample(name="rate", replies=(refusal(429, "rate_limit_error"),), error="RateLimited"),
    Sample(name="overloaded", replies=(refusal(529, "overloaded_error"),), error="Overloaded"),
    Sample(
        name="overflow",
        replies=(refusal(400, "invalid_request_error", "prompt is too long: 9 > 8"),),
        error="ContextOverflow",
    ),
    Sample(
        name="overloaded mid-way",
        stream=True,
        replies=(
            events(
                {"type": "ping"},
                {"type": "error", "error": {"type": "overloaded_error", "message": "later"}},
                named=True,
            ),
        ),
        error="Overloaded",
    ),
)
