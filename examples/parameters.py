"""What a provider takes is read from its signature, and a call is checked against it.

`python examples/parameters.py` prints:

    __main__ supports: (model: str, messages: list, stream: bool, max_new_tokens: int, mood: str)
    ok! {'max_tokens': 'max_new_tokens'}
    no target of this call takes 'mod': did you mean mood? they take max_new_tokens,
    mood; what is too new for that goes into extra_body
    echo/echo: max_new_tokens expects int (ge=1), not int (Expected `int` >= 1)
"""

import textwrap
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from msgspec import Meta

from router import TUNING, Router, UnsupportedParameter, provider

MESSAGES = [{"role": "user", "content": "ok"}]


@provider("echo", models=["echo"])
def echo(
    model: str,
    messages: list[dict[str, Any]],
    stream: bool,
    *,
    max_new_tokens: Annotated[int, Meta(ge=1)] = 100,
    mood: Annotated[Literal["calm", "loud"], TUNING] = "calm",
) -> Iterator[str]:
    """Says what it was told."""
    yield messages[-1]["content"] + ("!" if mood == "loud" else ".")


with Router([echo]) as r:
    print(r.parameters("echo"))
    answer = r.create_completion("echo/echo", MESSAGES, max_tokens=5, mood="loud")
    print(answer, dict(answer.trace.attempts[0].renamed))
    for wrong in ({"mod": "loud"}, {"max_tokens": 0}):
        try:
            r.create_completion("echo/echo", MESSAGES, **wrong)
        except UnsupportedParameter as error:
            print(textwrap.fill(str(error), 80))
