"""What providers sent, replayed over a socket: our request, and what we make of their answer."""

from collections import Counter

import pytest
from conftest import SHARED
from recorded import harness

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
    if recording.streaming and replay.result.completion is not None:
        assert replay.result.text == replay.result.completion.text
    tally.replayed.add(file)
