"""A plugin that watches: it counts tokens by target, and never gets in a call's way.

`python examples/observer.py` prints:

    {'short/model': 12, 'long/model': 340}
    a hook of 'broken' raised 3 times; nobody noticed
"""

from collections import Counter

from router import Attempt, Chunk, Router, Usage, hookimpl
from router.testing import ScriptedProvider


class Meter:
    """Counts the output tokens of every attempt."""

    name = "meter"

    def __init__(self) -> None:
        self.tokens: Counter[str] = Counter()

    @hookimpl
    def attempt_finished(self, attempt: Attempt) -> None:
        """Called when an attempt has ended, well or not."""
        if attempt.usage is not None:
            self.tokens[attempt.target] += attempt.usage.output_tokens or 0


class Broken:
    """Raises whenever it is called."""

    name = "broken"

    @hookimpl
    def attempt_finished(self) -> None:
        """An implementation leaves out the arguments that it does not need."""
        raise RuntimeError("the disk is full")


def saying(text: str, tokens: int) -> list[str | Chunk]:
    """A script of an answer that used so many tokens."""
    return [text, Chunk(finish_reason="stop", usage=Usage(input_tokens=5, output_tokens=tokens))]


meter = Meter()
short = ScriptedProvider("short", saying("Yes.", 6))
long = ScriptedProvider("long", saying("Well, ...", 340))
with Router([short, long, meter, Broken()]) as r:
    for model in ("short/model", "long/model", "short/model"):
        r.create_completion(model, [{"role": "user", "content": "Is it so?"}])
    print(dict(meter.tokens))
    for plugin in r.plugins:
        if plugin.hook_errors:
            print(f"a hook of {plugin.name!r} raised {plugin.hook_errors} times; nobody noticed")
