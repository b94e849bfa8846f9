"""Gemini's generateContent."""

from __future__ import annotations

from typing import Any

from router import Usage
from router.testing.conformance import Reply, Sample

from . import CALL, TEXT, compact, events

USAGE = {"promptTokenCount": 12, "candidatesTokenCount": 7, "totalTokenCount": 19}
READ = Usage(input_tokens=12, output_tokens=7)


def reply(part: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": [part], "role": "model"}, "index": 0}
    if reason is not None:
        candidate["finishReason"] = reason
    return {"candidates": [candidate], "usageMetadata": USAGE, "modelVersion": "m"}


def refusal(status: int, word: str, message: str = "no") -> Reply:
    error = {"code": status, "message": message, "status": word}
    return Reply(status=status, json={"error": error})


CALLED = {"functionCall": {"name": "dive", "args": CALL}}

SAMPLES = (
    Sample(
        name="text",
        stream=True,
        replies=(
            events(
                *[reply({"text": text}) for text in TEXT[:-1]], reply({"text": TEXT[-1]}, "STOP")
            ),
        ),
        text="".join(TEXT),
        usage=READ,
    ),
    Sample(
        name="text",
        replies=(Reply(json=reply({"text": "".join(TEXT)}, "STOP")),),
        text="".join(TEXT),
        usage=READ,
    ),
    Sample(
        name="tool call",
        stream=True,
        replies=(events(reply(CALLED, "STOP")),),
        tool_calls=(("dive", compact(CALL)),),
        finish_reason="tool_calls",
    ),
    Sample(
        name="tool call",
        replies=(Reply(json=reply(CALLED, "STOP")),),
        tool_calls=(("dive", compact(CALL)),),
        finish_reason="tool_calls",
    ),
    Sample(
        name="key",
        replies=(refusal(400, "INVALID_ARGUMENT", "API key not valid."),),
        error="AuthError",
    ),
    Sample(name="rate", replies=(refusal(429, "RESOURCE_EXHAUSTED"),), error="RateLimited"),
    Sample(name="overloaded", replies=(refusal(503, "UNAVAILABLE"),), error="Overloaded"),
    Sample(
        name="blocked prompt",
        stream=True,
        replies=(events({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": USAGE}),),
        error="ContentFiltered",
    ),
)
