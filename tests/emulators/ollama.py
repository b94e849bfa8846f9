"""Answers of Ollama's own wire as bytes."""

import json
from typing import Any


def added(**message: Any) -> dict[str, Any]:
    """A line that adds these fields to the message."""
    return {"model": "llama3.2:latest", "message": {"role": "assistant", **message}, "done": False}


def last(reason: str | None = "stop", **fields: Any) -> dict[str, Any]:
    """The last line, with the counts and the reason."""
    counts = {"prompt_eval_count": 9, "eval_count": 3, "total_duration": 5_000_000}
    told = {} if reason is None else {"done_reason": reason}
    return {**added(content=""), "done": True, **told, **counts, **fields}


def lines(*values: Any) -> bytes:
    """A line each; a `str` stands for itself."""
    texts = [value if isinstance(value, str) else json.dumps(value) for value in values]
    return "".join(f"{text}\n" for text in texts).encode()
