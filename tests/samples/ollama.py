"""Ollama's own wire: lines of JSON."""

from __future__ import annotations

from typing import Any

from router import Usage
from router.testing.conformance import Reply, Sample

from . import CALL, TEXT, compact, json_lines

READ = Usage(input_tokens=12, output_tokens=7)
LAST = {"done": True, "done_reason": "stop", "prompt_eval_count": 12, "eval_count": 7}


def line(**message: Any) -> dict[str, Any]:
    return {"model": "m", "message": {"role": "assistant", **message}, "done": False}


CALLED = [{"id": "t1", "function": {"name": "dive", "arguments": CALL}}]
END = {**line(content=""), **LAST}

SAMPLES = (
    Sample(
        name="text",
        stream=True,
        replies=(json_lines(*[line(content=text) for text in TEXT], END),),
        text="".join(TEXT),
        usage=READ,
    ),
    Sample(
        name="text",
        replies=(Reply(json={**line(content="".join(TEXT)), **LAST}),),
        text="".join(TEXT),
        usage=READ,
    ),
    Sample(
        name="tool call",
        stream=True,
        replies=(json_lines(line(content="", tool_calls=CALLED), END),),
        tool_calls=(("dive", compact(CALL)),),
        finish_reason="tool_calls",
    ),
    Sample(
        name="tool call",
        replies=(Reply(json={**line(content="", tool_calls=CALLED), **LAST}),),
        tool_calls=(("dive", compact(CALL)),),
        finish_reason="tool_calls",
    ),
    Sample(
        name="unknown model",
        replies=(Reply(status=404, json={"error": "model 'm' not found"}),),
        error="ModelNotFound",
    ),
    Sample(
        name="failure mid-way",
        stream=True,
        replies=(json_lines(line(content="The"), {"error": "the runner has terminated"}),),
        error="UpstreamError",
    ),
)
