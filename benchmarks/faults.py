"""What a broken primary costs: `python -m benchmarks.faults`, or `make bench-faults`.

Two targets on two servers of their own processes. The first is broken in one way for all of the
calls, the second is healthy; then both are broken. The calls come at a fixed rate, however slow
the answers, so that nothing is hidden by waiting. All parameters are fixed here, beforehand.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from contextlib import ExitStack
from typing import Any

from benchmarks.servers import fault_server
from router import AsyncRouter, RouterError
from router.budget import FLOOR, SHARE
from router.types import Trace

CALLS = 10_000
RATE = 250.0
"""Calls a second: of which a fifth is five times the budget's floor, and two cores serve it."""

POLICY = {"deadline": 15.0, "connect": 1.0, "first_token": 0.5, "idle": 1.0, "total": 5.0}

FAULTS = (
    "refused",
    "reset",
    "eof",
    "silence",
    "trickled_headers",
    "silence_after_headers",
    "cut_reset;chunks=0",
    "stall;chunks=0",
    "html_200",
    "truncated_json",
    "http_429",
    "http_500",
    "http_503",
    "error_first",
    "insufficient_quota",
)
"""Fifteen ways to be broken before the first content: what a fallback can hide."""

OUTAGE = ("refused", "http_500", "http_503", "reset")


class Tally:
    """What the calls of one run came to."""

    def __init__(self) -> None:
        self.answered = 0
        self.failed: dict[str, int] = {}
        self.attempts = 0
        self.latencies: list[float] = []

    def add(self, trace: Trace | None, seconds: float, error: RouterError | None) -> None:
        """One call has ended."""
        self.latencies.append(1000 * seconds)
        self.attempts += len(trace.attempts) if trace else 0
        if error is None:
            self.answered += 1
        else:
            self.failed[type(error).__name__] = self.failed.get(type(error).__name__, 0) + 1

    def row(self, name: str, calls: int) -> str:
        """One line of the table."""
        points = statistics.quantiles(self.latencies, n=1000)
        told = " ".join(f"{kind}:{count}" for kind, count in sorted(self.failed.items()))
        return (
            f"{name:24}{self.answered:9}{self.attempts / calls:10.3f}"
            f"{points[499]:9.1f}{points[989]:9.1f}{max(self.latencies):9.1f}  {told}"
        )


async def run(urls: list[str], calls: int) -> Tally:
    """Make the calls through one router, at the fixed rate."""
    names = ["vllm", "llama.cpp"]
    settings: dict[str, Any] = {
        name: {"base_url": url} for name, url in zip(names, urls, strict=True)
    }
    tally = Tally()
    async with AsyncRouter(settings=settings, policy=POLICY) as router:

        async def call() -> None:
            began = time.perf_counter()
            trace, failure = None, None
            try:
                stream = await router.create_completion(
                    [f"{name}/model" for name in names],
                    [{"role": "user", "content": "Write one sentence about the sea."}],
                    stream=True,
                )
                async for _ in stream:
                    pass
                trace = stream.completion.trace
            except RouterError as error:
                trace, failure = error.trace, error
            tally.add(trace, time.perf_counter() - began, failure)

        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(calls):
                late = began + number / RATE - time.perf_counter()
                if late > 0:
                    await asyncio.sleep(late)
                group.create_task(call())
    return tally


def measure(name: str, first: str, second: str, calls: int) -> Tally:
    """One row: the first target with a fault, the second with another or none."""
    with ExitStack() as servers:
        urls = [
            "http://127.0.0.1:9/v1"
            if fault == "refused"
            else servers.enter_context(fault_server(fault))
            for fault in (first, second)
        ]
        tally = asyncio.run(run(urls, calls))
    sys.stdout.write(tally.row(name, calls) + "\n")
    sys.stdout.flush()
    return tally


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=CALLS)
    calls = parser.parse_args().calls
    sys.stdout.write(
        f"{calls} streamed calls a row at {RATE:g}/s; budget {SHARE:.0%} of requests, "
        f"at least {FLOOR:g}/s; limits {POLICY}\n\n"
        f"{'first target':24}{'answered':>9}{'attempts':>10}"
        f"{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}\n"
    )
    measure("healthy", "ok", "ok", calls)
    for fault in FAULTS:
        measure(fault, fault, "ok", calls)
    sys.stdout.write("\nboth targets\n")
    for fault in OUTAGE:
        measure(fault, fault, fault, calls)


if __name__ == "__main__":
    main()
