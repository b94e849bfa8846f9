"""Two targets in order: the first is overloaded, the second answers.

`python examples/fallback.py` prints:

    Calm and wide.
    1. busy/model failed: the server is at its limit
    2. calm/model succeeded
"""

from collections.abc import Iterator
from typing import Any

from router import Overloaded, Router, provider


@provider("busy", models=["model"])
def busy(model: str, messages: list[dict[str, Any]], stream: bool) -> Iterator[str]:
    """Stands for a service that has too much to do."""
    raise Overloaded("the server is at its limit")


@provider("calm", models=["model"])
def calm(model: str, messages: list[dict[str, Any]], stream: bool) -> Iterator[str]:
    """Stands for one that answers."""
    yield from ("Calm ", "and ", "wide.")


with Router([busy, calm]) as r:
    answer = r.create_completion(
        model=["busy/model", "calm/model"],
        messages=[{"role": "user", "content": "Write one sentence about the sea."}],
        stream=True,
    )
    for text in answer:
        print(text, end="", flush=True)
    print()
    for attempt in answer.trace.attempts:
        why = f": {attempt.error.args[0]}" if attempt.error else ""
        print(f"{attempt.number}. {attempt.target} {attempt.outcome}{why}")
