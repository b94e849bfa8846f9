"""What is compared does the same, and the table says what came out."""

from importlib.metadata import entry_points

import pytest

pytest.importorskip("benchmarks", reason="the benchmarks lie beside the sources alone")

from benchmarks import blocking, upstream
from benchmarks.measure import Comparison, Result, compare, table


def test_both_ways_bring_the_same_text() -> None:
    if "openai" not in {entry.name for entry in entry_points(group="router.plugins")}:
        pytest.skip("no router finds openai: the package is not installed")
    with upstream.running() as url, upstream.running() as broken:
        for each in blocking.comparisons(url, broken):
            text = each.ours()
            assert text, each.name
            assert each.baseline() == text, each.name


def test_ways_are_measured_in_turns_and_what_a_run_costs_is_counted() -> None:
    seconds = 0.0
    order: list[str] = []

    def way(name: str, cost: float) -> None:
        nonlocal seconds
        seconds += cost
        order.append(name)

    comparison = Comparison(
        name="work",
        baseline=lambda: way("plain", 8.0),
        ours=lambda: way("ours", 4.0),
        times=2,
        unit=4,
        clock=lambda: seconds,
    )
    result = compare(comparison, rounds=2)
    assert "".join(name[0] for name in order) == "po" + "ppoo" + "oopp"
    assert (result.baseline, result.ours) == ([2e6, 2e6], [1e6, 1e6])
    assert result.ratio == 0.5


@pytest.mark.parametrize(
    ("goal", "cells"), [(2.0, "2.00 2.0 yes"), (1.9, "2.00 1.9 NO"), (None, "2.00")]
)
def test_a_row_says_whether_its_goal_is_met(goal: float | None, cells: str) -> None:
    comparison = Comparison(name="a call", baseline=list, ours=list, times=1, goal=goal)
    heading, row = table([Result(comparison, [10.0, 30.0, 20.0], [20.0, 60.0, 40.0])]).splitlines()
    assert heading.split()[0] == "µs"
    assert row.split() == ["a", "call", "20", "10..30", "40", "20..60", *cells.split()]
