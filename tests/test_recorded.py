"""What providers sent, replayed over a socket: our request, and what we make of their answer."""

from collections import Counter
from itertools import count

import pytest
from conftest import SHARED
from emulators.chat import Played, split
from hypothesis import given
from hypothesis import strategies as st
from recorded import harness

from router.messages import check_messages
from router.parameters import read_signature

RECORDINGS = {recording.file: recording for recording in harness.recordings(SHARED)}
WIRES = {file: wire for file, each in RECORDINGS.items() if (wire := harness.wire_of(each))}

pytestmark = pytest.mark.skipif(not RECORDINGS, reason=f"no recorded traffic at {SHARED}")


class Tally:
    """Prints how many files were replayed, when all tests have run."""

    def __init__(self) -> None:
        self.replayed: set[str] = set()

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        by_provider = Counter(RECORDINGS[file].provider for file in self.replayed)
        counts = ", ".join(f"{name} {count}" for name, count in sorted(by_provider.items()))
        terminalreporter.write_line(
            f"recorded files replayed: {len(self.replayed)} of {len(RECORDINGS)} ({counts})"
        )


@pytest.fixture(scope="module")
def tally(pytestconfig: pytest.Config) -> Tally:
    tally = Tally()
    pytestconfig.pluginmanager.register(tally)
    return tally


def test_recorded_file_is_replayed_or_listed():
    loose = [
        file
        for file, recording in RECORDINGS.items()
        if file not in WIRES and harness.reason_against(recording) is None
    ]
    assert not loose, f"neither replayed nor listed with a reason: {loose}"


def test_recorded_file_that_is_listed_exists():
    assert harness.OTHER_FILES.keys() <= RECORDINGS.keys()


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("file", WIRES)
def test_recorded_traffic_means_the_same(file, kind, tally):
    wire, recording = WIRES[file], RECORDINGS[file]
    replay = harness.replay(wire, recording, kind)
    assert len(replay.requests) == 1, replay.result.error
    if recording.request is not None:
        assert not harness.unexplained(wire, recording, replay.requests[0])
    assert replay.meaning == wire.meaning(recording)
    assert replay.result.trace is not None
    [attempt] = replay.result.trace.attempts
    limits = {name: value for name, value in recording.headers.items() if "limit" in name}
    assert attempt.rate_limits == limits
    if (request_id := recording.headers.get("x-request-id")) is not None:
        assert attempt.request_id == request_id
    if recording.streaming and replay.result.completion is not None:
        assert replay.result.text == replay.result.completion.text
    tally.replayed.add(file)


def play(file, cuts=()):
    """The provider's own steps, with the recorded body in these pieces."""
    recording = RECORDINGS[file]
    provider = WIRES[file].provider(recording, "http://127.0.0.1:9")
    provider.new_id = map(str, count()).__next__
    messages = harness.QUESTION
    if read_signature(provider.create_completion, provider.name).typed_messages:
        messages = check_messages(messages)
    return Played(
        provider,
        split(recording.body, cuts),
        status=recording.status,
        headers=recording.headers,
        stream=recording.streaming,
        model=recording.model,
        messages=messages,
    )


@given(data=st.data())
def test_recorded_answer_does_not_depend_on_how_it_is_split(data):
    file = data.draw(st.sampled_from(sorted(WIRES)))
    cuts = data.draw(st.lists(st.integers(0), max_size=20))
    whole, pieces = play(file), play(file, cuts)
    assert pieces.pieces == whole.pieces
    assert str(pieces.error) == str(whole.error)
