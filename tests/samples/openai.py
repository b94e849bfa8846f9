"""OpenAI's chat completions, as all services send them that speak this wire."""

from __future__ import annotations

from typing import Any

from router import Usage
from router.testing.conformance import Reply, Sample

from . import CALL, TEXT, compact, events

USAGE = {"prompt_tokens": 12, "completion_tokens": 7, "total_tokens": 19}
READ = Usage(input_tokens=12, output_tokens=7)


def chunk(finish: str | None = None, **delta: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c1", "object": "chat.completion.chunk", "model": "m", "choices": [choice]}


def whole(finish: str, **message: Any) -> Reply:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    return Reply(json={"id": "c1", "model": "m", "choices": [choice], "usage": USAGE})


def refusal(status: int, code: str) -> Reply:
    return Reply(status=status, json={"error": {"message": f"it is {code}", "code": code}})


LAST = ({"id": "c1", "model": "m", "choices": [], "usage": USAGE}, "[DONE]")
ARGUMENTS = compact(CALL)
BEGUN = {"index": 0, "id": "t1", "type": "function", "function": {"name": "dive", "arguments": ""}}


def piece(arguments: str) -> dict[str, Any]:
    return chunk(tool_calls=[{"index": 0, "function": {"arguments": arguments}}])


SAMPLES = (
    Sample(
        name="text",
        stream=True,
        replies=(events(*[chunk(content=text) for text in TEXT], chunk("stop"), *LAST),),
        text="".join(TEXT),
        usage=READ,
        end='"finish_reason":"stop"}]}',
    ),
    Sample(
        name="text",
        replies=(whole("stop", content="".join(TEXT)),),
        text="".join(TEXT),
        usage=READ,
    ),
    Sample(
        name="tool call",
        stream=True,
        replies=(
            events(
                chunk(tool_calls=[BEGUN]),
                piece(ARGUMENTS[:7]),
                piece(ARGUMENTS[7:]),
                chunk("tool_calls"),
                *LAST,
            ),
        ),
        tool_calls=(("dive", ARGUMENTS),),
        finish_reason="tool_calls",
        end='"finish_reason":"tool_calls"}]}',
    ),
    Sample(
        name="tool call",
        replies=(
            whole(
                "tool_calls",
                tool_calls=[{**BEGUN, "function": {"name": "dive", "arguments": ARGUMENTS}}],
            ),
        ),
        tool_calls=(("dive", ARGUMENTS),),
        finish_reason="tool_calls",
    ),
    Sample(name="key", replies=(refusal(401, "invalid_api_key"),), error="AuthError"),
    Sample(name="rate", replies=(refusal(429, "rate_limit_exceeded"),), error="RateLimited"),
    # Not insufficient_quota, by which Alibaba means a rate.
    Sample(
        name="quota", replies=(refusal(429, "credit_balance_exhausted"),), error="QuotaExhausted"
    ),
    Sample(
        name="overflow",
        stream=True,
        replies=(refusal(400, "context_length_exceeded"),),
        error="ContextOverflow",
        code="context_length_exceeded",
    ),
    Sample(
        name="failure mid-way",
        stream=True,
        replies=(
            events(
                chunk(content="The"),
                {"error": {"message": "out of memory", "type": "server_error"}},
            ),
        ),
        error="UpstreamError",
    ),
)
