"""The record of a call: what is entered, when, and who is told."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from router import ConnectionLost, RouterError, Target, Usage
from router.answer import Answer
from router.exchange import Notes
from router.journal import Journal
from router.types import Attempt, Chunk, PassedOver, Prices


class Told:
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.entries: list[Attempt | PassedOver] = []

    def attempt_started(self, attempt: Attempt) -> None:
        self.entries.append(attempt)

    def attempt_finished(self, attempt: Attempt) -> None:
        self.entries.append(attempt)

    def passed_over(self, skipped: PassedOver) -> None:
        self.entries.append(skipped)


class Ran:
    """A run that has come so far."""

    def __init__(self, *pieces: str | Chunk, status: int | None = 200) -> None:
        self.answer, self.notes = Answer(), Notes()
        self.notes.status = status
        self.notes.request_id = "req-1"
        for piece in pieces:
            self.answer.add_text(piece) if isinstance(piece, str) else self.answer.add(piece)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def journal(told: Told) -> Journal:
    return Journal("call-1", 100.0, told)


def begin(journal: Journal, now: float, name: str = "one/model") -> None:
    provider, _, model = name.partition("/")
    fitted: Any = {"renamed": {"a": "b"}, "dropped": ("c",), "unchecked": (), "left_out": ("d",)}
    journal.begin(Target(provider, model), now, **fitted)


def test_an_attempt_is_entered_when_it_starts_and_changed_when_it_ends(
    journal: Journal, told: Told
) -> None:
    assert not journal.running
    begin(journal, 101.0)
    assert journal.running
    [attempt] = journal.trace().attempts
    assert (attempt.number, attempt.target, attempt.outcome) == (1, "one/model", "running")
    assert (attempt.started_ms, attempt.latency_ms) == (1000.0, None)
    journal.content(101.5)
    run = Ran("text", Chunk(finish_reason="stop", usage=Usage(output_tokens=1)))
    journal.end("succeeded", 103.0, run)
    assert not journal.running
    [attempt] = journal.trace().attempts
    assert (attempt.outcome, attempt.latency_ms, attempt.ttft_ms) == ("succeeded", 2000.0, 500.0)
    assert (attempt.status, attempt.request_id) == (200, "req-1")
    assert (attempt.usage, attempt.finish_reason) == (Usage(output_tokens=1), "stop")
    assert (attempt.renamed, attempt.dropped, attempt.left_out) == ({"a": "b"}, ("c",), ("d",))
    assert [getattr(each, "outcome", None) for each in told.entries] == ["running", "succeeded"]
    assert told.entries[-1] is attempt


def test_attempts_are_numbered_and_each_is_timed_by_itself(journal: Journal) -> None:
    error = ConnectionLost("cut")
    begin(journal, 100.0)
    journal.end("failed", 102.0, Ran(status=None), error)
    begin(journal, 105.0, "two/model")
    journal.end("succeeded", 106.0, Ran("text"))
    first, second = journal.trace().attempts
    assert (first.number, second.number) == (1, 2)
    assert (first.started_ms, second.started_ms) == (0.0, 5000.0)
    assert (first.latency_ms, second.latency_ms) == (2000.0, 1000.0)
    assert (first.error, first.possibly_billed) == (error, True)
    assert (second.error, second.possibly_billed) == (None, False)
    assert (journal.count, journal.errors) == (2, [error])


def test_what_a_broken_attempt_has_used_is_kept(journal: Journal) -> None:
    begin(journal, 100.0)
    run = Ran(Chunk(usage=Usage(input_tokens=5)), "half")
    journal.end("interrupted", 101.0, run, ConnectionLost("cut"))
    [attempt] = journal.trace().attempts
    assert attempt.usage == Usage(input_tokens=5)
    assert attempt.finish_reason is None


def test_an_attempt_costs_what_its_own_target_asks(journal: Journal) -> None:
    fitted: Any = {"renamed": {}, "dropped": (), "unchecked": (), "left_out": ()}
    prices = Prices(input=2.0, output=10.0)
    journal.begin(Target("one", "model"), 100.0, **fitted, prices=prices)
    used = Chunk(usage=Usage(input_tokens=500_000, output_tokens=100_000))
    journal.end("succeeded", 101.0, Ran(used))
    journal.begin(Target("two", "model"), 101.0, **fitted)
    journal.end("succeeded", 102.0, Ran(used))
    assert [each.cost_usd for each in journal.trace().attempts] == [2.0, None]


def test_what_a_broken_attempt_costs_is_unknown(journal: Journal) -> None:
    """The usage that some services tell from the beginning on was taken for that of the whole."""
    fitted: Any = {"renamed": {}, "dropped": (), "unchecked": (), "left_out": ()}
    journal.begin(Target("one", "model"), 100.0, **fitted, prices=Prices(input=2.0, output=10.0))
    begun = Chunk(usage=Usage(input_tokens=500_000, output_tokens=1))
    journal.end("interrupted", 101.0, Ran(begun, "half"), ConnectionLost("cut"))
    [attempt] = journal.trace().attempts
    assert (attempt.cost_usd, journal.trace().cost_usd) == (None, None)


def test_an_attempt_without_a_run_is_entered_all_the_same(journal: Journal) -> None:
    begin(journal, 100.0)
    journal.end("cancelled", 101.0, None)
    [attempt] = journal.trace().attempts
    assert (attempt.outcome, attempt.status, attempt.usage) == ("cancelled", None, None)


@pytest.mark.parametrize("sent", [False, True])
def test_an_attempt_that_was_sent_and_cancelled_may_have_been_billed(
    journal: Journal, sent: bool
) -> None:
    """A stream that its reader left was told as one that nobody was charged for."""
    run = Ran()
    run.notes.host = "one.example" if sent else None
    begin(journal, 100.0)
    journal.end("cancelled", 101.0, run)
    [attempt] = journal.trace().attempts
    assert attempt.possibly_billed == sent


def test_a_target_that_is_passed_over_is_told(journal: Journal, told: Told) -> None:
    skipped = PassedOver(target="one/model", reason="busy", detail="x")
    journal.passed_over(skipped)
    assert journal.trace().passed_over == (skipped,)
    assert len(told.entries) == 1


def test_a_trace_is_of_its_moment(journal: Journal) -> None:
    begin(journal, 100.0)
    before = journal.trace()
    journal.end("succeeded", 101.0, Ran("text"))
    assert [attempt.outcome for attempt in before.attempts] == ["running"]
    assert journal.trace().request_id == "call-1"


def test_a_trace_says_its_errors_in_plain_types(journal: Journal) -> None:
    begin(journal, 100.0)
    error = RouterError("broken", status=500, code="x")
    journal.end("failed", 101.0, None, error)
    plain = msgspec.json.decode(msgspec.json.encode(journal.trace().to_dict()))
    assert plain["attempts"][0]["error"] == error.to_dict()
