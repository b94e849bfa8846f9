"""The example plugin as a stranger has it: built, installed without a network, found, routed to."""

import importlib.util
import json
import subprocess
import sys
import sysconfig
import threading
import venv
from collections.abc import Generator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from emulators.loopback import Cut, LoopbackServer, Reply, Request, compact

from router import JSONLines

REPOSITORY = Path(__file__).resolve().parent.parent
EXAMPLE = REPOSITORY / "examples" / "ollama_native"
PIP = [sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check", "--no-input"]

SIGNATURE = (
    "router_ollama_native supports: (model: str, messages: list, stream: bool, "
    "temperature: float, num_predict: int)"
)
PIECES = ["The", " sky", " is", " blue."]


class OllamaServer(LoopbackServer):
    """Ollama's chat.

    Attributes:
        seen: What the model `patient` waits for after its first piece.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen = threading.Event()

    def handle(self, request: Request) -> Reply:
        model = request.json()["model"]
        if model == "nope":
            return Reply.json(404, {"error": "model 'nope' not found"})
        body = answer(model, self.seen)
        return Reply(200, (("content-type", "application/x-ndjson"),), body, chunked=True)


def answer(model: str, seen: threading.Event) -> Generator[bytes, None, None]:
    """The lines of an answer, of which a model of that name makes something."""
    first, *rest = PIECES
    yield line({"message": {"role": "assistant", "content": first}, "done": False})
    if model == "patient":
        assert seen.wait(20), "the first piece was not passed on before the rest had come"
    if model == "failing":
        yield line({"error": "an error was encountered while running the model"})
        return
    if model == "cut":
        raise Cut
    for piece in rest:
        yield line({"message": {"role": "assistant", "content": piece}, "done": False})
    last = {"message": {"role": "assistant", "content": ""}, "done": True}
    yield line({**last, "done_reason": "length" if model == "long" else "stop", "eval_count": 4})


def line(value: object) -> bytes:
    return compact(value).encode() + b"\n"


@pytest.fixture
def server():
    with OllamaServer() as server:
        yield server


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a new environment with the plugin's wheel in it.

    What the wheel depends on is lent by the environment of the tests, since there is no network to
    get it from; pip holds the wheel's requirements against it all the same.
    """
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("hatchling, which builds the example, is not installed: make test has it")
    try:
        distribution("pluggable-router")
    except PackageNotFoundError:
        pytest.skip("pluggable-router is on the path, not installed: make test installs it")
    work = tmp_path_factory.mktemp("plugin")
    build = [
        "wheel",
        "--no-index",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        work / "dist",
    ]
    subprocess.run([*PIP, *build, EXAMPLE], check=True, capture_output=True)
    venv.create(work / "venv", symlinks=True)
    bases = {"base": str(work / "venv"), "platbase": str(work / "venv")}
    lent = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    site = Path(sysconfig.get_path("purelib", "venv", bases))
    site.joinpath("lent.pth").write_text(
        "".join(f"import site; site.addsitedir({folder!r})\n" for folder in sorted(lent))
    )
    python = Path(sysconfig.get_path("scripts", "venv", bases)) / "python"
    install = ["install", "--no-index", "--find-links", work / "dist", "router-ollama-native"]
    subprocess.run([*PIP, "--python", python, *install], check=True, capture_output=True)
    return python


def run(python: Path, server: OllamaServer, program: str) -> subprocess.Popen[str]:
    """Start a program in that environment, away from the repository, with a router `r`."""
    settings = {name: {"base_url": server.url} for name in ("ollama-native", "ollama-requests")}
    head = f"""
import asyncio, json
from router import *
SETTINGS = {settings!r}
ASK = [{{"role": "user", "content": "Why is the sky blue?"}}]
"""
    return subprocess.Popen(
        [python, "-I", "-c", head + program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=python.parent,
    )


def output(process: subprocess.Popen[str]) -> object:
    """What it printed last, as JSON; fails with its errors when it failed."""
    out, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    return json.loads(out.splitlines()[-1])


def test_plugin_is_listed_with_its_distribution_and_loaded_alone_when_it_is_named(python, server):
    found = output(
        run(
            python,
            server,
            """
def ours(r):
    mine = [p for p in r.plugins if p.distribution == "router-ollama-native"]
    return {p.name: [p.status, p.distribution, p.version] for p in mine}
r = Router()
before = ours(r)
line = str(r.parameters("ollama-native"))
print(json.dumps([before, ours(r), line]))
""",
        )
    )
    available = ["available", "router-ollama-native", "1.0.0"]
    loaded = ["loaded", "router-ollama-native", "1.0.0"]
    assert found == [
        {"ollama-native": available, "ollama-requests": available},
        {"ollama-native": loaded, "ollama-requests": available},
        SIGNATURE,
    ]


@pytest.mark.parametrize("provider", ["ollama-native", "ollama-requests"])
def test_plugin_streams_as_the_server_does(python, server, provider):
    process = run(
        python,
        server,
        f"""
with Router(settings=SETTINGS) as r:
    for text in r.create_completion("{provider}/patient", ASK, stream=True):
        print(json.dumps(text), flush=True)
""",
    )
    assert process.stdout is not None
    pieces = [json.loads(process.stdout.readline())]
    server.seen.set()
    rest, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    assert [*pieces, *map(json.loads, rest.splitlines())] == PIECES


def test_plugin_runs_in_the_async_router_and_its_parameters_go_by_common_names(python, server):
    text, renamed, reason, tokens = output(
        run(
            python,
            server,
            """
async def main():
    async with AsyncRouter(settings=SETTINGS) as r:
        return await r.create_completion("ollama-native/long", ASK, max_tokens=4, temperature=0)
answer = asyncio.run(main())
renamed = answer.trace.attempts[0].renamed
print(json.dumps([answer.text, renamed, answer.finish_reason, answer.usage.output_tokens]))
""",
        )
    )
    assert text == "".join(PIECES)
    assert renamed == {"max_tokens": "num_predict"}
    assert (reason, tokens) == ("length", 4)
    assert server.requests[0].json()["options"] == {"temperature": 0, "num_predict": 4}


def test_errors_of_the_plugin_are_typed_and_the_next_target_answers(python, server):
    attempts, text = output(
        run(
            python,
            server,
            """
models = ["native/nope", "native/failing", "native/cut", "requests/any"]
with Router(settings=SETTINGS) as r:
    answer = r.create_completion([f"ollama-{m}" for m in models], ASK)
tried = answer.trace.attempts
rows = [[a.target, type(a.error).__name__, a.error and a.error.status] for a in tried]
print(json.dumps([rows, answer.text]))
""",
        )
    )
    assert attempts == [
        ["ollama-native/nope", "ModelNotFound", 404],
        ["ollama-native/failing", "UpstreamError", None],
        ["ollama-native/cut", "ConnectionLost", None],
        ["ollama-requests/any", "NoneType", None],
    ]
    assert text == "".join(PIECES)


def test_one_failed_target_raises_its_own_error_with_the_servers_words(python, server):
    kind, words, target = output(
        run(
            python,
            server,
            """
with Router(settings=SETTINGS) as r:
    try:
        r.create_completion("ollama-native/nope", ASK)
    except ModelNotFound as error:
        print(json.dumps([type(error).__name__, error.message, error.target]))
""",
        )
    )
    assert (kind, target) == ("ModelNotFound", "ollama-native/nope")
    assert "model 'nope' not found" in words


def test_emulated_stream_has_the_shape_of_a_recorded_one(shared):
    """The server above is ours; this holds it against what Ollama sent."""
    cassette = shared / "cassettes" / "ollama" / "openllmetry--ollama-streaming-chat-legacy.0.json"
    recorded = list(JSONLines().feed(json.loads(cassette.read_text())["response"]["body"].encode()))
    emulated = list(JSONLines().feed(b"".join(answer("any", threading.Event()))))
    for ours, theirs in ((emulated[0], recorded[0]), (emulated[-1], recorded[-1])):
        assert ours.keys() <= theirs.keys()
        assert ours["message"].keys() == theirs["message"].keys()
