"""Print what the router costs beside what it stands on; see docs/performance.md."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import structlog

from benchmarks import asynchronous, blocking, fresh, upstream
from benchmarks.measure import Comparison, Result, compare, table
from router.logging import configure

ROUNDS = 41
FRESH_ROUNDS = 21


def main() -> None:
    """Measure everything, in about two minutes."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    # requests looks through the whole environment for proxies at each call, and for a .netrc at
    # home: a large one would make the baseline dear.
    for name in os.environ.keys() - {"HOME", "PATH"}:
        del os.environ[name]
    results = [compare(comparison, FRESH_ROUNDS) for comparison in fresh.comparisons()]
    # Health is measured at hosts, so what is broken is on one of its own.
    with (
        upstream.running() as url,
        upstream.running() as broken,
        asyncio.Runner() as runner,
        ExitStack() as stack,
    ):
        calls = [*blocking.comparisons(url, broken), *asynchronous.comparisons(url, runner, stack)]
        results += [compare(comparison, rounds) for comparison in calls]
        results += _with_logs(calls, rounds)
    print(table(results))


def _with_logs(calls: list[Comparison], rounds: int) -> list[Result]:
    """The same again, each event written as a line of JSON, to nowhere."""
    with Path(os.devnull).open("w") as nowhere:
        configure("json", stream=nowhere)
        try:
            return [
                compare(replace(each, name=f"{each.name}, JSON logs"), rounds) for each in calls
            ]
        finally:
            structlog.reset_defaults()


if __name__ == "__main__":
    main()
