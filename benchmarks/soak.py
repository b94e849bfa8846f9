"""A quarter of an hour of calls and faults: `python -m benchmarks.soak`, or `make soak`.

Both routers at once, whole answers and streams, some left early; every kind of fault in turn.
Prints memory, descriptors and threads as they go; they should not grow after the first minute.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.faults import FAULTS, POLICY
from router import AsyncRouter, Router, RouterError, StreamInterrupted
from router.testing import Fault, FaultServer

SECONDS = 900.0
RATE = 50.0
"""Calls a second of each router."""

EVERY = 15.0
"""Seconds between two lines."""

MESSAGES = [{"role": "user", "content": "Write one sentence about the sea."}]


class Counts:
    """Calls by how they ended; a stream that breaks after its first content is interrupted."""

    def __init__(self) -> None:
        self.answered = 0
        self.failed = 0
        self.interrupted = 0
        self.left = 0


def settings(server: FaultServer, healthy: FaultServer) -> dict[str, Any]:
    """A target for faults, chosen by model name, and a healthy one."""
    return {"vllm": {"base_url": server.url}, "llama.cpp": {"base_url": healthy.url}}


def models() -> itertools.cycle[list[str]]:
    """The targets of call after call: each fault in turn, then a healthy target."""
    faults = [fault for fault in FAULTS if fault != "refused"]
    texts = [*faults, "cut_reset;chunks=3", "stall;chunks=3", "ok"]
    return itertools.cycle([[f"vllm/{text}", "llama.cpp/model"] for text in texts])


def sync_calls(router: Router, until: float, counts: Counts) -> None:
    """Calls in a thread of its own."""
    for number, model in enumerate(models()):
        if time.monotonic() >= until:
            return
        try:
            if number % 3 == 0:
                router.create_completion(model, MESSAGES)
                counts.answered += 1
            else:
                with router.create_completion(model, MESSAGES, stream=True) as stream:
                    for piece, _ in enumerate(stream):
                        if number % 3 == 2 and piece == 1:
                            counts.left += 1
                            break
                    else:
                        counts.answered += 1
        except StreamInterrupted:
            counts.interrupted += 1
        except RouterError:
            counts.failed += 1
        time.sleep(1 / RATE)


async def async_calls(router: AsyncRouter, until: float, counts: Counts) -> None:
    """Calls as tasks, at a fixed rate."""

    async def call(number: int, model: list[str]) -> None:
        try:
            if number % 3 == 0:
                await router.create_completion(model, MESSAGES)
                counts.answered += 1
                return
            async with await router.create_completion(model, MESSAGES, stream=True) as stream:
                async for _ in stream:
                    if number % 3 == 2:
                        counts.left += 1
                        return
            counts.answered += 1
        except StreamInterrupted:
            counts.interrupted += 1
        except RouterError:
            counts.failed += 1

    async with asyncio.TaskGroup() as group:
        for number, model in enumerate(models()):
            if time.monotonic() >= until:
                return
            group.create_task(call(number, model))
            await asyncio.sleep(1 / RATE)


def line(began: float, counts: dict[str, Counts]) -> str:
    """Where the process stands."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    megabytes = pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    told = "  ".join(
        f"{name} {each.answered} answered {each.left} left {each.interrupted} interrupted "
        f"{each.failed} failed"
        for name, each in counts.items()
    )
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    return (
        f"{time.monotonic() - began:6.0f} s {megabytes:8.1f} MB {descriptors:5} descriptors "
        f"{threading.active_count():4} threads  {told}"
    )


async def main_async(seconds: float) -> None:
    """Run both routers for so long, and print."""
    began = time.monotonic()
    until = began + seconds
    counts = {"sync": Counts(), "async": Counts()}
    with FaultServer(keep=0) as server, FaultServer(Fault.OK, keep=0) as healthy:
        given = {"settings": settings(server, healthy), "policy": POLICY}
        with Router(**given) as router:
            async with AsyncRouter(**given) as other:
                thread = threading.Thread(target=sync_calls, args=(router, until, counts["sync"]))
                thread.start()
                calls = asyncio.create_task(async_calls(other, until, counts["async"]))
                while time.monotonic() < until:
                    await asyncio.sleep(min(EVERY, max(0.0, until - time.monotonic())))
                    sys.stdout.write(line(began, counts) + "\n")
                    sys.stdout.flush()
                await calls
                await asyncio.to_thread(thread.join)
    sys.stdout.write(f"closed: {line(began, counts)}\n")


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    asyncio.run(main_async(parser.parse_args().seconds))


if __name__ == "__main__":
    main()
