"""The command, with a plugin that is found by its entry: in this process, and in one of its own."""

import importlib.metadata
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import structlog
from click.testing import CliRunner
from distributions import install

import router
from router.cli import main

PACKAGES = Path(router.__file__).parent.parent
PAGE = Path(__file__).resolve().parent.parent / "docs" / "command-line.md"
SCRIPT = Path(sys.executable).with_name("router")
INSTALLED = SCRIPT.exists()

# Without an installation, what an installer would have written.
COMMAND = (
    [str(SCRIPT)]
    if INSTALLED
    else [sys.executable, "-P", "-c", "from router.cli import main; main(prog_name='router')"]
)

TIDE = """
import json
import signal
import threading
from typing import Annotated

from msgspec import Meta

from router import (
    TUNING,
    Chunk,
    ConnectionLost,
    Model,
    PermissionDenied,
    ToolCallDelta,
    Usage,
    provider,
)

names = ["storm", "echo", "cut", "endless", "flood", "odd", "tool", "lines"]
calm = Model(id="calm", context_window=512, description="a made-up sea")


@provider("tide", models=[calm, *names])
def tide(
    model: str,
    messages: list,
    stream: bool,
    *,
    max_tokens: int | None = None,
    temperature: Annotated[float, TUNING, Meta(ge=0, le=2, description="How rough")] = 0.5,
    words: list[str] | str | None = None,
):
    match model:
        case "calm":
            yield "The sea "
            yield "is calm."
            yield Chunk(finish_reason="stop", usage=Usage(input_tokens=5, output_tokens=6))
        case "storm":
            raise PermissionDenied("wind and rain")
        case "echo":
            given = {"max_tokens": max_tokens, "temperature": temperature, "words": words}
            yield json.dumps([messages, given])
        case "cut":
            yield "The sea"
            raise ConnectionLost("the cable broke")
        case "endless":
            # Whoever started the tests may have had it ignored.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            yield "first\\\\n"
            threading.Event().wait()
        case "flood":
            while True:
                yield "wave\\\\n"
        case "odd":
            yield "sm\\\\u00f8rrebr\\\\u00f8d \\\\ud83c"
        case "tool":
            yield Chunk(tool_call=ToolCallDelta(id="1", name="sail", arguments="{}"))
            yield Chunk(finish_reason="tool_calls")
        case "lines":
            yield "The sea.\\\\n"
""".replace("\\\\", "\\")

WRECK = 'raise SystemExit("sunk")'


@pytest.fixture(scope="module")
def sea(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the plugins `tide`, which works, and `wreck`, which does not."""
    return install(
        tmp_path_factory.mktemp("sea"),
        "tide-tables",
        modules={"tide_plugin": TIDE, "wreck_plugin": WRECK},
        plugins={"tide": "tide_plugin:tide", "wreck": "wreck_plugin:wreck"},
    )


class Done(NamedTuple):
    """What the command left."""

    code: int
    stdout: str
    stderr: str


class Shell:
    """Runs the command, in an empty folder."""

    def __init__(self, plugins: Path, folder: Path, allow: str = "tide") -> None:
        self.folder = folder
        self.environ = {
            **os.environ,
            "PYTHONUNBUFFERED": "",
            "PYTHONPATH": os.pathsep.join([str(plugins), str(PACKAGES)]),
            "ROUTER_PLUGINS_ALLOW": allow,
        }

    def __call__(self, *arguments: str, stdin: str | bytes = "", **environ: str) -> Done:
        """In this process."""
        try:
            result = CliRunner().invoke(main, arguments, input=stdin, env=environ)
        finally:
            structlog.reset_defaults()
        assert result.exception is None or isinstance(result.exception, SystemExit), (
            result.exception
        )
        return Done(result.exit_code, result.stdout, result.stderr)

    def run(self, *arguments: str, stdin: str = "") -> Done:
        """As a process of its own, to its end."""
        with self.start(*arguments, stdin=subprocess.PIPE) as process:
            stdout, stderr = process.communicate(stdin, timeout=30)
        return Done(process.returncode, stdout, stderr)

    def start(
        self, *arguments: str, stdin: int = subprocess.DEVNULL, stdout: Any = subprocess.PIPE
    ) -> subprocess.Popen[str]:
        """As a process of its own."""
        return subprocess.Popen(
            [*COMMAND, *arguments],
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            cwd=self.folder,
            env=self.environ,
        )


@pytest.fixture
def shell(sea: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.syspath_prepend(sea)
    monkeypatch.setenv("ROUTER_PLUGINS_ALLOW", "tide")
    monkeypatch.chdir(tmp_path)
    return Shell(sea, tmp_path)


def chat(shell: Shell, model: str, *arguments: str, **more: Any) -> Any:
    """What the model `echo` was given."""
    done = shell("chat", "-m", model, *arguments, **more)
    assert done.code == 0, done.stderr
    return json.loads(done.stdout)


# explain, health


def test_explain_says_where_a_call_would_go_and_sends_nothing(shell: Shell) -> None:
    models = ("-m", "tide/storm", "-m", "tide/calm")
    done = shell("explain", "Ahoy", *models, "-p", "max_new_tokens=5")
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "1. tide/storm (max_new_tokens as max_tokens)",
        "2. tide/calm (max_new_tokens as max_tokens)",
        "at worst 6 attempts, 600 s",
    ]


def test_explain_tells_a_target_that_is_passed_over(shell: Shell) -> None:
    done = shell("explain", "-m", "tide/calm", "-p", "temperature=9", "--json")
    assert done.code == 0
    explanation = json.loads(done.stdout)
    assert explanation["targets"] == []
    assert explanation["passed_over"][0]["reason"] == "value"


def test_health_asks_each_target(shell: Shell) -> None:
    done = shell("health", "-m", "tide/calm", "-m", "tide/storm")
    assert done.code == 1
    _, calm, storm = done.stdout.splitlines()
    assert re.fullmatch(r"tide/calm   answers +\d+", calm.rstrip())
    assert re.fullmatch(r"tide/storm  PermissionDenied +\d+ +wind and rain", storm)
    assert shell("health", "-m", "tide/calm").code == 0


def test_health_asks_each_target_of_a_route(shell: Shell, tmp_path: Path) -> None:
    """The names of routes meant nothing to it."""
    (tmp_path / "router.toml").write_text(
        '[routes.talk]\ntargets = ["tide/calm", "tide/storm"]\npolicy = {only = ["tide/calm"]}'
    )
    done = shell("health", "-m", "talk", "-m", "tide/calm", "--config", "router.toml")
    assert done.code == 1
    assert [line.split()[:2] for line in done.stdout.splitlines()[1:]] == [
        ["tide/calm", "answers"],
        ["tide/storm", "PermissionDenied"],
    ]


# chat


def test_chat_writes_the_answer_alone_and_a_table_beside_it(shell: Shell) -> None:
    done = shell("chat", "Ahoy", "-m", "tide/calm")
    assert (done.code, done.stdout) == (0, "The sea is calm.\n")
    label, headings, row = done.stderr.splitlines()
    assert label == "answered by tide/calm: a made-up sea"
    assert headings.split() == ["target", "outcome", "latency", "ttft", "tokens", "notes"]
    assert re.fullmatch(r"tide/calm  succeeded  [\d.]+ m?s +[\d.]+ m?s +5\+6", row)


def test_chat_goes_on_to_the_next_target_and_tells_so(shell: Shell) -> None:
    done = shell.run("chat", "Ahoy", "-m", "tide/storm", "-m", "tide/calm")
    assert (done.code, done.stdout) == (0, "The sea is calm.\n")
    log, _, _, failed, succeeded = done.stderr.splitlines()
    assert "attempt_failed" in log
    assert "error='wind and rain'" in log
    assert failed.startswith("tide/storm  failed")
    assert failed.endswith("wind and rain")
    assert succeeded.startswith("tide/calm   succeeded")


def test_chat_ends_by_1_when_all_targets_failed(shell: Shell) -> None:
    done = shell.run("chat", "Ahoy", "-m", "tide/storm")
    assert (done.code, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1] == "Error: tide/storm: wind and rain"


def test_chat_ends_by_1_when_the_answer_breaks_off(shell: Shell) -> None:
    done = shell("chat", "Ahoy", "-m", "tide/cut")
    assert (done.code, done.stdout) == (1, "The sea\n")
    assert "broke off after 7 characters: the cable broke" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["-m", "tide/calm", "-p", "temperatur=1"], "did you mean temperature?"),
        (["-m", "tide/calm", "-p", "temperature=3"], "temperature expects float (ge=0, le=2)"),
        (["-m", "tide/clam"], "did you mean calm"),
        (["-m", "tied/calm"], "no provider serves 'tied/calm'"),
        (["-m", "tide/calm", "--config", "nowhere.toml"], "nowhere.toml: cannot be read"),
    ],
)
def test_a_call_that_is_refused_ends_by_2(
    shell: Shell, arguments: Sequence[str], told: str
) -> None:
    done = shell("chat", "Ahoy", *arguments)
    assert (done.code, done.stdout) == (2, "")
    assert told in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "stdin", "told"),
    [
        (["Ahoy"], "", "Missing option '-m'"),
        (["Ahoy", "-m", "x/y", "-p", "temperature"], "", "is not NAME=VALUE"),
        (["Ahoy", "-m", "x/y", "-p", "max-tokens=3"], "", "is not NAME=VALUE"),
        (["Ahoy", "-m", "x/y", "-p", "model=3"], "", "model is not a parameter of a target"),
        (["Ahoy", "-m", "x/y", "-p", "policy=3"], "", "policy is not a parameter of a target"),
        (["-m", "x/y"], " \n", "no prompt"),
        (["-m", "x/y"], b"\xff", "standard input is no UTF-8 text"),
        (["Ahoy", "-m", "x/y", "--log", "loud"], "", "Invalid value for '--log'"),
    ],
)
def test_bad_usage_ends_by_2(
    shell: Shell, arguments: Sequence[str], stdin: str | bytes, told: str
) -> None:
    done = shell("chat", *arguments, stdin=stdin)
    assert (done.code, done.stdout) == (2, "")
    assert told in done.stderr


def test_the_prompt_comes_from_standard_input(shell: Shell) -> None:
    messages, _ = chat(shell, "tide/echo", stdin="Ahoy,\nsailor ☸\n")
    assert messages == [{"role": "user", "content": "Ahoy,\nsailor ☸"}]


def test_standard_input_stands_before_the_prompt(shell: Shell) -> None:
    done = shell.run("chat", "Say it shorter", "-m", "tide/echo", stdin="  Ahoy, sailor ☸\n")
    messages, _ = json.loads(done.stdout)
    assert messages == [{"role": "user", "content": "  Ahoy, sailor ☸\n\nSay it shorter"}]


def test_a_system_message_goes_first(shell: Shell) -> None:
    messages, _ = chat(shell, "tide/echo", "Ahoy", "--system", "Be brief")
    assert messages == [
        {"role": "system", "content": "Be brief"},
        {"role": "user", "content": "Ahoy"},
    ]


@pytest.mark.parametrize(
    ("given", "arrived"),
    [
        ('words=["a", "b"]', ["a", "b"]),
        ("words=a=b", "a=b"),
        ("words=", ""),
        ("words=[a", "[a"),
        ("words=NaN", "NaN"),
        ("words=null", None),
        ('words="3"', "3"),
    ],
)
def test_a_parameter_is_json_or_else_text(shell: Shell, given: str, arrived: object) -> None:
    _, parameters = chat(shell, "tide/echo", "Ahoy", "-p", given)
    assert parameters["words"] == arrived


def test_parameters_arrive(shell: Shell) -> None:
    _, given = chat(
        shell,
        "tide/echo",
        "Ahoy",
        "-p",
        "max_new_tokens=7",
        "-p",
        "temperature=0.25",
        "-p",
        "words=salt and wind",
    )
    assert given == {"max_tokens": 7, "temperature": 0.25, "words": "salt and wind"}


def test_json_has_the_whole_of_it(shell: Shell) -> None:
    done = shell("chat", "Ahoy", "-m", "tide/storm", "-m", "tide/calm", "--json")
    assert done.code == 0
    answer = json.loads(done.stdout)
    assert answer["text"] == "The sea is calm."
    assert (answer["target"], answer["model"]) == ("tide/calm", "calm")
    assert answer["finish_reason"] == "stop"
    assert (answer["usage"]["input_tokens"], answer["usage"]["output_tokens"]) == (5, 6)
    assert answer["error"] is None
    failed, succeeded = answer["attempts"]
    assert (failed["outcome"], failed["error"]["type"]) == ("failed", "PermissionDenied")
    assert failed["error"]["message"] == "wind and rain"
    assert (succeeded["outcome"], succeeded["error"]) == ("succeeded", None)
    assert succeeded["ttft_ms"] <= succeeded["latency_ms"]
    (log,) = done.stderr.splitlines()
    assert "attempt_failed" in log


@pytest.mark.parametrize(
    ("model", "code", "error", "partial"),
    [
        ("tide/storm", 1, "PermissionDenied", None),
        ("tide/cut", 1, "StreamInterrupted", "The sea"),
        ("tide/clam", 2, "ModelNotFound", None),
    ],
)
def test_json_tells_a_failure_too(
    shell: Shell, model: str, code: int, error: str, partial: str | None
) -> None:
    done = shell("chat", "Ahoy", "-m", model, "--json")
    answer = json.loads(done.stdout)
    assert done.code == code
    assert (answer["text"], answer["partial"]) == (None, partial)
    assert answer["error"]["type"] == error
    assert len(answer["attempts"]) == (1 if code == 1 else 0)


def test_an_answer_that_is_a_tool_call_is_pointed_to(shell: Shell) -> None:
    done = shell("chat", "Ahoy", "-m", "tide/tool")
    assert (done.code, done.stdout) == (0, "")
    assert "the model asks for 1 tool calls: see --json" in done.stderr


def test_a_whole_answer_is_as_a_streamed_one(shell: Shell) -> None:
    done = shell("chat", "Ahoy", "-m", "tide/calm", "--no-stream")
    assert (done.code, done.stdout) == (0, "The sea is calm.\n")


def test_an_answer_that_ends_its_line_gets_no_other(shell: Shell) -> None:
    assert shell("chat", "Ahoy", "-m", "tide/lines").stdout == "The sea.\n"


def test_an_answer_is_written_though_it_is_no_unicode(shell: Shell) -> None:
    """Half a surrogate pair, as JSON may bring it."""
    done = shell("chat", "Ahoy", "-m", "tide/odd")
    assert (done.code, done.stdout) == (0, "sm\u00f8rrebr\u00f8d \\ud83c\n")


def test_the_log_may_be_json(shell: Shell) -> None:
    done = shell.run("chat", "Ahoy", "-m", "tide/storm", "-v", "-v", "--log", "json")
    assert done.code == 1
    events = [json.loads(line)["event"] for line in done.stderr.splitlines()]
    assert events == ["attempt_started", "attempt_failed", "completion_failed"]


def test_a_configuration_is_named_by_option_or_environment(shell: Shell) -> None:
    path = shell.folder / "sea.toml"
    path.write_text('[routes.talk]\ntargets = ["tide/calm"]')
    by_option = shell("chat", "Ahoy", "-m", "talk", "--config", "sea.toml")
    by_variable = shell("chat", "Ahoy", "-m", "talk", ROUTER_CONFIG=str(path))
    assert by_option.stdout == by_variable.stdout == "The sea is calm.\n"


def test_a_configuration_in_the_working_directory_is_not_read(shell: Shell) -> None:
    (shell.folder / "router.toml").write_text("[router\n")
    assert shell("chat", "Ahoy", "-m", "tide/calm").code == 0


def test_an_interrupted_call_ends_by_130(shell: Shell) -> None:
    with shell.start("chat", "Ahoy", "-m", "tide/endless") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "first\n", "pieces are written as they come"
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=30)
    assert (process.returncode, rest) == (130, "")
    assert "Traceback" not in errors


LISTINGS = [["models", "--json"], ["models"], ["models", "--help"]]


@pytest.mark.parametrize("arguments", [["chat", "Ahoy", "-m", "tide/flood"], *LISTINGS])
def test_a_reader_that_goes_away_is_no_error(shell: Shell, arguments: Sequence[str]) -> None:
    """A table and a page of help lay in Python's buffer, and failed when nobody was there."""
    with shell.start(*arguments) as process:
        assert process.stdout is not None
        if "chat" in arguments:
            assert process.stdout.readline() == "wave\n"
        process.stdout.close()
        assert process.stderr is not None
        errors = process.stderr.read()
        assert process.wait(timeout=30) == 141
    assert errors == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("arguments", [["chat", "Ahoy", "-m", "tide/calm"], *LISTINGS])
def test_output_that_cannot_be_written_is_told_in_a_line(
    shell: Shell, arguments: Sequence[str]
) -> None:
    """It was a traceback."""
    with Path("/dev/full").open("w") as full, shell.start(*arguments, stdout=full) as process:
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert errors == "Error: the output cannot be written: No space left on device\n"


@pytest.mark.parametrize("closed", ["1", "2"])
@pytest.mark.parametrize(
    ("arguments", "code"), [("models", 0), ("chat Ahoy -m tide/calm", 0), ("params nosuch", 2)]
)
def test_a_stream_that_is_closed_from_the_start_is_no_error(
    shell: Shell, arguments: str, code: int, closed: str
) -> None:
    """`router models >&-` ended by an AttributeError."""
    command = ["sh", "-c", f'exec "$@" {closed}>&-', "sh", *COMMAND, *arguments.split()]
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", cwd=shell.folder, env=shell.environ
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr


# What there is


def test_models_are_listed_in_columns(shell: Shell) -> None:
    done = shell("models")
    headings, calm, *others = done.stdout.splitlines()
    assert (done.code, done.stderr) == (0, "")
    column = headings.index("description")
    assert calm.startswith("tide/calm ")
    assert calm[headings.index("context") :].startswith("512 ")
    assert calm[column:] == "a made-up sea"
    assert [line.strip() for line in others] == [
        f"tide/{name}"
        for name in ("storm", "echo", "cut", "endless", "flood", "odd", "tool", "lines")
    ]


def test_models_as_json(shell: Shell) -> None:
    calm, *_ = json.loads(shell("models", "tide", "--json").stdout)
    assert (calm["provider"], calm["id"], calm["context_window"]) == ("tide", "calm", 512)


def test_models_of_an_unknown_provider_end_by_2(shell: Shell) -> None:
    done = shell("models", "tied")
    assert (done.code, done.stdout) == (2, "")
    assert "did you mean tide?" in done.stderr


def test_params_of_all_are_a_line_each(shell: Shell) -> None:
    assert shell("params").stdout == (
        "tide: tide_plugin supports: (model: str, messages: list, stream: bool, max_tokens: int, "
        "temperature: float, words: list | str)\n"
    )


def test_params_of_one_are_a_table(shell: Shell) -> None:
    _, _, headings, *rows = shell("params", "tide/calm").stdout.splitlines()
    assert headings.split() == ["parameter", "type", "default", "bounds", "kind", "description"]
    assert [re.split(r" {2,}", row) for row in rows] == [
        ["max_tokens", "int", "feature"],
        ["temperature", "float", "0.5", "ge=0, le=2", "tuning", "How rough"],
        ["words", "list | str", "feature"],
    ]


def test_params_as_json(shell: Shell) -> None:
    (tide,) = json.loads(shell("params", "--json").stdout)
    assert tide["name"] == "tide"
    assert tide["supports"].startswith("tide_plugin supports: (model: str,")
    assert tide["parameters"][1] == {
        "name": "temperature",
        "type": "float",
        "required": False,
        "default": 0.5,
        "bounds": {"ge": 0, "le": 2},
        "kind": "tuning",
        "description": "How rough",
    }
    assert tide["json_schema"]["properties"]["temperature"]["maximum"] == 2


def test_plugins_are_listed_with_what_became_of_them(shell: Shell) -> None:
    done = shell("plugins", "--json", ROUTER_PLUGINS_ALLOW="tide,wreck")
    found = {info["name"]: info for info in json.loads(done.stdout)}
    assert done.code == 0
    assert (found["tide"]["status"], found["tide"]["distribution"]) == ("loaded", "tide-tables")
    assert (found["wreck"]["status"], found["wreck"]["reason"]) == ("failed", "SystemExit: sunk")
    assert "plugin_failed" in done.stderr
    rows = shell("plugins", ROUTER_PLUGINS_ALLOW="tide,wreck").stdout.splitlines()
    columns = [re.split(r" {2,}", row) for row in rows]
    assert ["tide", "loaded", "tide-tables", "1.0", "tide"] in columns
    assert ["wreck", "failed", "tide-tables", "1.0", "SystemExit: sunk"] in columns


def test_doctor_ends_by_1_when_something_is_broken(shell: Shell) -> None:
    done = shell("doctor", "--json", ROUTER_PLUGINS_ALLOW="tide,wreck")
    findings = json.loads(done.stdout)["findings"]
    assert (done.code, done.stderr) == (1, "")
    assert {
        "status": "broken",
        "check": "plugins",
        "detail": "wreck (tide-tables 1.0) failed: SystemExit: sunk",
    } in findings
    assert "wreck (tide-tables 1.0) is blocked: not on the allow list" in shell("doctor").stdout


@pytest.mark.parametrize("arguments", [["models"], ["params", "tide"], ["plugins"], ["--help"]])
def test_listing_imports_nothing_costly(shell: Shell, arguments: Sequence[str]) -> None:
    """It is to stay under half a second of CPU; requests alone takes a fifth."""
    program = (
        "import sys\n"
        "from router.cli import main\n"
        f"main({arguments!r}, standalone_mode=False)\n"
        "print(*sorted(sys.modules), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=shell.folder,
        env=shell.environ,
    )
    loaded = set(done.stderr.split())
    assert "router.cli" in loaded
    assert not loaded & {"requests", "urllib3", "aiohttp", "xllamacpp"}


# Modules of the application's own


@pytest.mark.skipif(not INSTALLED, reason="not installed, so there is no script")
def test_the_command_is_immune_to_modules_in_the_working_directory(shell: Shell, sea: Path) -> None:
    (shell.folder / "router.py").write_text("raise SystemExit('the wrong router')")
    (shell.folder / "providers").mkdir()
    (shell.folder / "providers" / "__init__.py").write_text("raise SystemExit('the wrong one')")
    shell.environ["PYTHONPATH"] = str(sea)
    done = shell.run("chat", "Ahoy", "-m", "tide/calm")
    assert (done.code, done.stdout) == (0, "The sea is calm.\n")
    told = shell.run("doctor")
    assert told.code == 1
    for name in ("router.py", "providers"):
        assert f"{shell.folder / name} hides the installed" in told.stdout


@pytest.mark.skipif(not INSTALLED, reason="not installed, so there is no version")
def test_the_version_is_the_distribution_s(shell: Shell) -> None:
    assert importlib.metadata.version("pluggable-router") in shell.run("--version").stdout


# conformance


def test_conformance_has_a_row_for_each_check(shell: Shell) -> None:
    done = shell("conformance", "tide")
    assert (done.code, done.stderr) == (0, "")
    rows = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
    assert rows[:4] == [
        ["status", "check", "detail"],
        ["passed", "contract"],
        ["passed", "parameters"],
        ["skipped", "answers", "there are no samples"],
    ]


def test_conformance_takes_samples_from_a_file(shell: Shell) -> None:
    calm = {"name": "calm", "model": "calm", "text": "The sea is calm."}
    (shell.folder / "samples.json").write_text(json.dumps([calm]))
    done = shell("conformance", "tide", "--samples", "samples.json", "--json")
    findings = {each["check"]: each for each in json.loads(done.stdout)["findings"]}
    assert findings["answers"]["status"] == "passed"
    assert findings["cancellation"]["status"] == "passed"
    assert findings["splits"]["details"] == ["a blocking provider does its own I/O"]
    (shell.folder / "samples.json").write_text(json.dumps([{**calm, "text": "It storms."}]))
    done = shell("conformance", "tide", "--samples", "samples.json")
    assert done.code == 1
    assert "text is 'The sea is calm.', not 'It storms.'" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nosuch"], 2, "no plugin that is installed is called 'nosuch'"),
        (["wreck"], 1, "wreck"),
        (["tide", "--samples", "nosuch.json"], 2, "nosuch.json: No such file"),
        (["tide", "--setting", "depth"], 2, "'depth' is not NAME=VALUE"),
        (["tide", "--setting", "depth=5"], 2, "depth: no such setting"),
    ],
)
def test_conformance_says_what_is_wrong_with_its_arguments(
    shell: Shell, arguments: list[str], code: int, said: str
) -> None:
    done = shell("conformance", *arguments)
    assert (done.code, done.stdout) == (code, "")
    assert said in done.stderr


def test_conformance_imports_nothing_that_is_blocked(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROUTER_PLUGINS_BLOCK", "tide")
    done = shell("conformance", "tide")
    assert done.code == 1
    assert "on the block list" in done.stderr


# The page


def test_the_page_names_every_command_and_option() -> None:
    page = PAGE.read_text()
    for name, command in main.commands.items():
        assert f"## router {name}" in page
        for parameter in command.params:
            for option in parameter.opts:
                if option.startswith("-"):
                    assert f"`{option}" in page, f"{name} {option}"
