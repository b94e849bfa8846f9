"""Cohere's chat, version 2."""

from __future__ import annotations

from typing import Any

from router import Usage
from router.testing.conformance import Reply, Sample

from . import CALL, TEXT, compact, events

TOKENS = {"tokens": {"input_tokens": 12, "output_tokens": 7}}
READ = Usage(input_tokens=12, output_tokens=7)


def event(kind: str, index: int = 0, **message: Any) -> dict[str, Any]:
    return {"type": kind, "index": index, "delta": {"message": message}}


def stream(reason: str, *pieces: dict[str, Any]) -> Reply:
    return events(
        {"type": "message-start", "id": "c1", "delta": {"message": {"role": "assistant"}}},
        *pieces,
        {"type": "message-end", "delta": {"finish_reason": reason, "usage": TOKENS}},
        named=True,
    )


def whole(reason: str, **message: Any) -> Reply:
    answer = {"id": "c1", "finish_reason": reason, "usage": TOKENS}
    return Reply(json={**answer, "message": {"role": "assistant", **message}})


ARGUMENTS = compact(CALL)
TOOL = {"id": "t1", "type": "function", "function": {"name": "dive", "arguments": ""}}

SAMPLES = (
    Sample(
        name="text",
        stream=True,
        replies=(
            stream(
                "COMPLETE",
                event("content-start", content={"type": "text", "text": ""}),
                *[event("content-delta", content={"text": text}) for text in TEXT],
                {"type": "content-end", "index": 0},
            ),
        ),
        text="".join(TEXT),
        usage=READ,
    ),
    Sample(
        name="text",
        replies=(whole("COMPLETE", content=[{"type": "text", "text": "".join(TEXT)}]),),
        text="".join(TEXT),
        usage=READ,
    ),
    Sample(
        name="tool call",
        stream=True,
        replies=(
            stream(
                "TOOL_CALL",
                event("tool-plan-delta", tool_plan="I dive."),
                event("tool-call-start", tool_calls=TOOL),
                event("tool-call-delta", tool_calls={"function": {"arguments": ARGUMENTS[:7]}}),
                event("tool-call-delta", tool_calls={"function": {"arguments": ARGUMENTS[7:]}}),
                {"type": "tool-call-end", "index": 0},
            ),
        ),
        tool_calls=(("dive", ARGUMENTS),),
        finish_reason="tool_calls",
        reasoning="I dive.",
    ),
    Sample(
        name="tool call",
        replies=(
            whole(
                "TOOL_CALL",
                tool_plan="I dive.",
                tool_calls=[{**TOOL, "function": {"name": "dive", "arguments": ARGUMENTS}}],
            ),
        ),
        tool_calls=(("dive", ARGUMENTS),),
        finish_reason="tool_calls",
        reasoning="I dive.",
    ),
    Sample(
        name="key",
        replies=(Reply(status=401, json={"id": "r1", "message": "invalid api token"}),),
        error="AuthError",
    ),
    Sample(
        name="rate",
        replies=(Reply(status=429, json={"id": "r1", "message": "40 calls / minute"}),),
        error="RateLimited",
    ),
    Sample(
        name="quota",
        replies=(Reply(status=429, json={"id": "r1", "message": "1000 calls / month"}),),
        error="QuotaExhausted",
    ),
    Sample(name="failure mid-way", stream=True, replies=(stream("ERROR"),), error="UpstreamError"),
)
