import io
import json
import logging
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import pytest
import structlog
from distributions import install
from emitted import check_event
from emulators.loopback import LoopbackServer, Reply, Request

import router
import router.events
import router.logging
from router import (
    TUNING,
    Bearer,
    Chunk,
    Cleanup,
    HttpRequest,
    PermissionDenied,
    Provider,
    Router,
    RouterError,
    Secret,
    WireProvider,
    error_for_status,
    provider,
)
from router.events import EVENTS
from router.hookspecs import hookimpl

PAGE = Path(__file__).resolve().parent.parent / "docs" / "logging.md"

PROMPT = "prompt-canary-41c7"
KEY = "sk-canary-9b02"
USER = [{"role": "user", "content": PROMPT}]


@pytest.fixture(autouse=True)
def unconfigured() -> Iterator[None]:
    """Logging as a process has it that has configured none."""
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


class Log:
    """A structlog configuration of the application's own: it keeps what comes."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def __call__(self, logger: Any, level: str, event: dict[str, Any]) -> str:
        self.events.append({**event, "level": level})
        raise structlog.DropEvent

    def of(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == name]


@pytest.fixture
def log() -> Log:
    kept = Log()
    structlog.configure(processors=[kept])
    return kept


# What calls for each event


@provider("calm", models=["sea"])
def calm(
    model: str,
    messages: list[Any],
    stream: bool,
    *,
    max_new_tokens: int | None = None,
    temperature: Annotated[float | None, TUNING] = None,
) -> Iterator[str]:
    yield "The sea "
    yield "is calm."


@provider("storm", models=["sea"])
def storm(
    model: str, messages: list[Any], stream: bool, *, max_tokens: int | None = None
) -> Iterator[str]:
    raise PermissionDenied("wind and rain", code="weather")


class Litter(WireProvider):
    """Leaves something behind that cannot be cleaned up."""

    name = "litter"
    models = ("sea",)

    def create_completion(self, model: str, messages: list[Any], stream: bool) -> Iterator[Any]:
        yield Cleanup(self.clean)
        yield "done"
        yield Chunk(finish_reason="stop")

    def clean(self) -> HttpRequest:
        raise OSError("the tide is out")


class Stuck(Provider):
    name = "stuck"
    models = ("sea",)

    def create_completion(self, model: str, messages: list[Any], stream: bool) -> str:
        return "done"

    def close(self) -> None:
        raise OSError("the door does not close")


class Broken:
    """An observer that raises."""

    @hookimpl
    def attempt_started(self) -> None:
        raise ValueError(PROMPT)


class Echo(LoopbackServer):
    """Repeats the key and refuses it."""

    def handle(self, request: Request) -> Reply:
        return Reply.json(403, {"error": f"refused: {request.headers['Authorization']}"})


class Keyed(WireProvider):
    """A service whose errors repeat the key that it was sent."""

    name = "keyed"
    models = ("sea",)

    def __init__(self, base_url: str, key: Secret) -> None:
        self._base_url = base_url
        self._key = key

    def create_completion(self, model: str, messages: list[Any], stream: bool) -> Iterator[Any]:
        headers = {"Authorization": self._key}
        response = yield HttpRequest("POST", self._base_url, headers, json={"messages": messages})
        raise error_for_status(response.status, response.excerpt)


def call(*targets: str, plugins: list[Any] | None = None, **parameters: Any) -> None:
    with Router(plugins or [calm, storm]) as r, suppress(RouterError):
        r.create_completion([f"{target}/sea" for target in targets], USER, **parameters)


def cancel() -> None:
    with Router([calm]) as r, r.create_completion("calm/sea", USER, stream=True) as answer:
        assert next(iter(answer)) == "The sea "


def load_broken(folder: Path) -> None:
    install(folder, "wrecks", modules={"wreck": "raise OSError"}, plugins={"wreck": "wreck:it"})
    sys.path.insert(0, str(folder))
    try:
        with Router(allow=["wreck"]) as r:
            r.models()
    finally:
        sys.path.remove(str(folder))


def refuse_key(_: Path) -> None:
    with Echo() as server:
        call("keyed", plugins=[Keyed(server.url, Bearer(KEY))])


SCENARIOS: dict[str, Callable[[Path], None]] = {
    "attempt_started": lambda _: call("calm", max_tokens=9, temperature=1.0),
    "attempt_failed": lambda _: call("storm", "calm"),
    "attempt_succeeded": lambda _: call("calm", stream=False),
    "target_passed_over": lambda _: call("storm", "calm", max_new_tokens=9, temperature="hot"),
    "completion_succeeded": lambda _: call("calm", "storm"),
    "completion_failed": refuse_key,
    "completion_cancelled": lambda _: cancel(),
    "plugin_failed": load_broken,
    "hook_failed": lambda _: call("calm", plugins=[calm, Broken()]),
    "cleanup_failed": lambda _: call("litter", plugins=[Litter()]),
    "close_failed": lambda _: call("stuck", plugins=[Stuck()]),
}
"""For each event, something that brings it about."""


@pytest.mark.parametrize("event", EVENTS)
def test_each_event_is_emitted_at_its_level(log: Log, event: str, tmp_path: Path) -> None:
    SCENARIOS[event](tmp_path)
    levels = {found["level"] for found in log.of(event)}
    assert levels == {EVENTS[event].partition(":")[0]}


def everything(log: Log, folder: Path) -> list[dict[str, Any]]:
    for scenario in SCENARIOS.values():
        scenario(folder)
    assert {event["event"] for event in log.events} == EVENTS.keys()
    return log.events


def test_no_event_holds_a_prompt_or_a_key(log: Log, tmp_path: Path) -> None:
    told = repr(everything(log, tmp_path))
    assert PROMPT not in told
    assert KEY not in told
    assert f"refused: Bearer {Secret(KEY)!r}" in told, "what the server said is told, less the key"


def test_every_event_is_as_its_schema_says(log: Log, tmp_path: Path) -> None:
    for event in everything(log, tmp_path):
        check_event({name: value for name, value in event.items() if name != "level"})


def test_fields_are_flat_and_say_something(log: Log, tmp_path: Path) -> None:
    for event in everything(log, tmp_path):
        for name, value in event.items():
            inner = value.values() if isinstance(value, dict) else value
            flat = inner if isinstance(value, dict | list) else [value]
            assert all(isinstance(each, str | int | float) for each in flat), (name, value)


def test_an_attempt_is_told_in_fields(log: Log) -> None:
    call("calm", "storm", max_tokens=9)
    (event,) = log.of("completion_succeeded")
    assert len(event.pop("request_id")) == 32
    for name in ("latency_ms", "total_ms"):
        assert 0 <= event.pop(name) < 60_000
    assert event == {
        "event": "completion_succeeded",
        "level": "info",
        "target": "calm/sea",
        "provider": "calm",
        "model": "sea",
        "attempt": 1,
        "attempts": 1,
        "outcome": "succeeded",
        "renamed": {"max_tokens": "max_new_tokens"},
    }


def test_a_failure_is_told_in_fields(log: Log) -> None:
    call("storm")
    failed, ended = log.of("attempt_failed") + log.of("completion_failed")
    for event in (failed, ended):
        assert (event["error_type"], event["error"]) == ("PermissionDenied", "wind and rain")
        assert event["code"] == "weather"
        assert event["request_id"] == failed["request_id"]
    assert (failed["target"], failed["attempt"], failed["outcome"]) == ("storm/sea", 1, "failed")
    assert ended["attempts"] == 1


# Where events go

SILENT = """
from router import PermissionDenied, Router, RouterError, provider

@provider("storm", models=["sea"])
def storm(model: str, messages: list, stream: bool):
    raise PermissionDenied("wind and rain")

with Router([storm]) as r:
    try:
        r.create_completion("storm/sea", [{"role": "user", "content": "Hello"}])
    except RouterError:
        pass
"""


def python(program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
        env={"PYTHONPATH": str(Path(router.__file__).parent.parent)},
    )


def test_nothing_is_printed_while_nobody_has_configured_logging(tmp_path: Path) -> None:
    """An unconfigured structlog prints to stdout, an unconfigured logging warns on stderr."""
    done = python(SILENT, tmp_path)
    assert (done.stdout, done.stderr) == ("", "")


def test_the_application_s_logging_is_honoured(tmp_path: Path) -> None:
    configured = (
        "import logging\nlogging.basicConfig(format='%(levelname)s %(name)s %(message)s')\n"
    )
    done = python(configured + SILENT, tmp_path)
    first, second = done.stderr.splitlines()
    assert first.startswith("WARNING router attempt_failed request_id=")
    assert "error='wind and rain'" in first
    assert second.startswith("ERROR router completion_failed request_id=")
    assert done.stdout == ""


def test_a_record_of_the_standard_logging_has_the_fields(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="router"):
        call("storm", "calm")
    started, failed, *_ = caplog.records
    assert (started.levelname, failed.levelname) == ("DEBUG", "WARNING")
    fields = vars(failed)["router"]
    assert (fields["target"], fields["error"]) == ("storm/sea", "wind and rain")
    assert failed.getMessage().startswith("attempt_failed request_id=")
    assert PROMPT not in str([vars(record) for record in caplog.records])


def test_structlog_on_top_of_logging_is_honoured(caplog: pytest.LogCaptureFixture) -> None:
    structlog.configure(
        processors=[structlog.stdlib.add_logger_name, structlog.processors.JSONRenderer()],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    with caplog.at_level(logging.INFO, logger="router"):
        call("calm")
    (record,) = (each for each in caplog.records if "completion_succeeded" in each.message)
    assert (record.name, json.loads(record.message)["logger"]) == ("router", "router")


def test_configuring_after_the_router_is_made_is_early_enough() -> None:
    with Router([calm]) as r:
        kept = Log()
        structlog.configure(processors=[kept])
        r.create_completion("calm/sea", USER)
    assert kept.of("completion_succeeded")


def test_what_structlog_would_drop_is_not_put_together() -> None:
    """Two of a call's three events are debug: they cost a third of what logging does."""
    log = router.events.Log()
    router.logging.configure("json", stream=io.StringIO())
    assert (log.hears("debug"), log.hears("info")) == (False, True)
    router.logging.configure("json", level="debug", stream=io.StringIO())
    assert log.hears("debug")


def test_a_logger_that_cannot_say_what_it_keeps_is_told_all() -> None:
    told = structlog.testing.CapturingLogger()
    structlog.configure(
        processors=[lambda logger, level, event: str(event["event"])],
        logger_factory=lambda *_: told,
        wrapper_class=structlog.BoundLogger,
    )
    call("calm")
    events = ["attempt_started", "attempt_succeeded", "completion_succeeded"]
    assert [each.args[0] for each in told.calls] == events


def test_a_sink_that_raises_breaks_no_call() -> None:
    def broken(logger: Any, level: str, event: Any) -> Any:
        raise OSError("the disk is full")

    structlog.configure(processors=[broken])
    with Router([calm]) as r:
        assert r.create_completion("calm/sea", USER).text == "The sea is calm."


# For those who have no configuration


def test_configure_json_writes_an_object_a_line() -> None:
    stream = io.StringIO()
    router.logging.configure("json", stream=stream)
    structlog.contextvars.bind_contextvars(shift="night")
    call("storm", "calm")
    failed, succeeded = map(json.loads, stream.getvalue().splitlines())
    assert (failed["event"], failed["level"]) == ("attempt_failed", "warning")
    assert (succeeded["event"], succeeded["level"]) == ("completion_succeeded", "info")
    assert (failed["shift"], failed["error_type"]) == ("night", "PermissionDenied")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", failed["timestamp"])


@pytest.mark.parametrize(
    ("level", "written"),
    [
        ("debug", ["attempt_started", "attempt_failed", "completion_failed"]),
        ("warning", ["attempt_failed", "completion_failed"]),
        ("error", ["completion_failed"]),
    ],
)
def test_configure_writes_from_its_level_on(level: Any, written: list[str]) -> None:
    stream = io.StringIO()
    router.logging.configure("json", level=level, stream=stream)
    call("storm")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == written


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_configure_console_colours_terminals_alone() -> None:
    lines = []
    for stream in (io.StringIO(), Terminal()):
        router.logging.configure("console", stream=stream)
        call("storm", "calm")
        lines.append(stream.getvalue().splitlines()[0])
    plain, coloured = lines
    assert re.search(r"Z \[warning +\] attempt_failed +request_id=\w+ target=storm/sea", plain)
    assert "\x1b[" in coloured
    assert "\x1b[" not in plain


def test_configure_writes_to_standard_error_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    router.logging.configure()
    call("calm")
    written = capsys.readouterr()
    assert written.out == ""
    assert "completion_succeeded" in written.err


# The page


def test_the_page_has_every_event_with_its_level_and_meaning() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.+) \|$", PAGE.read_text(), re.MULTILINE)
    documented = {event: f"{level}: {meaning}" for event, level, meaning in rows if event in EVENTS}
    assert documented == EVENTS


def test_the_page_has_every_field(log: Log, tmp_path: Path) -> None:
    names = {name for event in everything(log, tmp_path) for name in event}
    _, _, fields = PAGE.read_text().partition("## Fields")
    assert names - {"event", "level"} <= set(re.findall(r"`(\w+)`", fields))
