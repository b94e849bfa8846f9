"""Two ways to do one thing, compared by their CPU time in one interleaved run."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median


def children() -> float:
    """Seconds of CPU that the processes ended so far have used, system time included."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The router's way beside the plain one.

    Attributes:
        name: What is done.
        baseline, ours: Do it.
        times: How often in a row, for one sample.
        unit: How many of it one run of `baseline` or `ours` does.
        goal: The highest ratio that is wanted, or `None` for what is only told.
        clock: What tells the CPU time, in seconds.
    """

    name: str
    baseline: Callable[[], object]
    ours: Callable[[], object]
    times: int
    unit: int = 1
    goal: float | None = None
    clock: Callable[[], float] = time.process_time


@dataclass(frozen=True, slots=True)
class Result:
    """The samples of a comparison, in microseconds; one of each for every round."""

    comparison: Comparison
    baseline: list[float]
    ours: list[float]

    @property
    def ratio(self) -> float:
        """The median of the rounds' own ratios: neighbours in time share the machine's mood."""
        return median(ours / plain for ours, plain in zip(self.ours, self.baseline, strict=True))


def compare(comparison: Comparison, rounds: int) -> Result:
    """Measure both ways in turns; who begins changes from round to round."""
    result = Result(comparison, [], [])
    ways = [(comparison.baseline, result.baseline), (comparison.ours, result.ours)]
    for way, _ in ways:
        way()
    for _ in range(rounds):
        for way, samples in ways:
            began = comparison.clock()
            for _ in range(comparison.times):
                way()
            used = comparison.clock() - began
            samples.append(1e6 * used / (comparison.times * comparison.unit))
        ways.reverse()
    return result


HEADINGS = ("µs of CPU", "baseline", "least..most", "ours", "least..most", "ratio", "goal", "met")


def table(results: Sequence[Result]) -> str:
    """The results as text, one a line."""
    rows = [HEADINGS, *(_cells(result) for result in results)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def _cells(result: Result) -> tuple[str, ...]:
    goal = result.comparison.goal
    return (
        result.comparison.name,
        *_samples(result.baseline),
        *_samples(result.ours),
        f"{result.ratio:.2f}",
        "" if goal is None else f"{goal:.1f}",
        "" if goal is None else "yes" if result.ratio <= goal else "NO",
    )


def _samples(samples: list[float]) -> tuple[str, str]:
    return f"{median(samples):,.0f}", f"{min(samples):,.0f}..{max(samples):,.0f}"
