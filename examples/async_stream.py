"""Three answers at once in one thread, each streamed.

`python examples/async_stream.py` prints:

    one: 1 2 3
    two: 1 2 3
    three: 1 2 3
"""

import asyncio
from typing import Any

from router import AsyncRouter, Chunk, Exchange, Wait, provider


@provider("counter", models=["three"], wire=True)
def counter(model: str, messages: list[dict[str, Any]], stream: bool) -> Exchange:
    """Counts, with a rest before each number; a wire provider, so it blocks nobody."""
    for number in (" 1", " 2", " 3"):
        yield Wait(0.05)
        yield number
    yield Chunk(finish_reason="stop")


async def ask(r: AsyncRouter, name: str) -> str:
    """One streamed call."""
    messages = [{"role": "user", "content": name}]
    answer = await r.create_completion("counter/three", messages, stream=True)
    return f"{name}:" + "".join([text async for text in answer])


async def main() -> None:
    """Ask three times at once."""
    async with AsyncRouter([counter]) as r:
        for answer in await asyncio.gather(*(ask(r, name) for name in ("one", "two", "three"))):
            print(answer)


asyncio.run(main())
