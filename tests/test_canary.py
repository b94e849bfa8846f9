"""A key and a prompt that would be known again, through every fault and mistake: nowhere shown.

Not the logs of anybody, no text or pickle of an error, no repr, and no traceback with the locals of
its frames, as reporters of errors capture them. The frames of the tests are the caller's own.
"""

from __future__ import annotations

import io
import json
import logging
import pickle
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from emitted import check_event
from routed import Kind, Routed, service

from router import PluginContext, PluginError, Router, RouterError, Timeout, WireProvider
from router.secret import Secret
from router.testing import Fault, FaultServer, Scene
from router.testing.wire import EVENTS, JSON, event, framed, opened, whole
from router.transport.settings import TransportSettings

KEY = "sk-canary-5e0a11c7"
PROMPT = "prompt-canary-77b2e9"
ANSWER = "answer-canary-93c1d0"
MESSAGES = [{"role": "user", "content": PROMPT}]
TESTS = Path(__file__).parent

LIMITS = {"connect": 0.1, "first_token": 0.1, "idle": 0.1, "total": 0.1, "retries": 0}
POLICY = {**LIMITS, "deadline": 5.0}
PATIENT = {"retries": 0, "deadline": 30.0}
"""For what is about the answer: a limit that is reached would hide it."""


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


class Logged(io.StringIO):
    """All that is logged by anybody; ours comes by way of structlog, and as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[dict[str, Any]] = []

    def keep(self, _: Any, __: str, event: dict[str, Any]) -> str:
        self.events.append(dict(event))
        self.write(repr(event))
        return ""


@pytest.fixture
def logged() -> Iterator[Logged]:
    text = Logged()
    handler, root = logging.StreamHandler(text), logging.getLogger()
    handler.setFormatter(Everything())
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    structlog.configure(processors=[text.keep])
    yield text
    structlog.reset_defaults()
    root.removeHandler(handler)
    root.setLevel(level)


class Everything(logging.Formatter):
    """A record with all that hangs on it."""

    def format(self, record: logging.LogRecord) -> str:
        return f"{super().format(record)} {vars(record)!r}"


def shown_of_error(error: BaseException) -> Iterator[str]:
    """All that an error shows, in whatever way it is looked at."""
    yield str(error)
    yield repr(error)
    yield repr(vars(error))
    yield repr(pickle.dumps(error))
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    yield from shown_of_traceback(told)
    if isinstance(error, RouterError):
        yield json.dumps(error.to_dict())
        for attempt in error.attempts:
            if attempt.error is not None and attempt.error is not error:
                yield from shown_of_error(attempt.error)
        if error.trace is not None:
            yield from shown_of_trace(error.trace)
    for inner in getattr(error, "exceptions", ()):
        yield from shown_of_error(inner)


def shown_of_traceback(told: traceback.TracebackException) -> Iterator[str]:
    yield "".join(told.format_exception_only())
    for frame in told.stack:
        if TESTS not in Path(frame.filename).parents:
            yield f"{frame.filename}:{frame.name} {frame.locals}"
    for other in (told.__cause__, told.__context__, *(told.exceptions or ())):
        if other is not None:
            yield from shown_of_traceback(other)


def shown_of_trace(trace: Any) -> Iterator[str]:
    yield str(trace)
    yield repr(trace)
    yield json.dumps(trace.to_dict())
    yield repr(pickle.dumps(trace))


def shown_of_router(router: Any) -> Iterator[str]:
    yield repr(router)
    yield repr(router.providers())
    yield repr([vars(each) for each in router.providers()])
    yield repr(router.plugins)
    yield repr(router.health())
    yield repr(vars(router))
    yield repr(router.explain("one/m", MESSAGES))


def assert_unseen(shown: Iterator[str], *markers: str) -> None:
    looked_at = 0
    for text in shown:
        looked_at += 1
        for marker in markers or (KEY, PROMPT):
            assert marker not in text, text[:500]
    assert looked_at


SMALL = {"size": 2**20}
FAULTS = [fault(**SMALL) if "size" in fault.parameters else fault() for fault in Fault]


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("case", FAULTS, ids=lambda case: case.text)
def test_no_fault_shows_a_key_or_a_prompt(
    server: FaultServer, logged: Logged, case: Any, kind: Kind
) -> None:
    settings = {"policy": POLICY, "verify": str(server.authority)}
    with Routed(kind, [service("one", server.url_for(case), KEY)], **settings) as routed:
        result = routed.call("one/m", stream=kind == "async", messages=MESSAGES)
        assert_unseen(shown_of_router(routed.router))
    if result.error is not None:
        assert_unseen(shown_of_error(result.error))
    if result.completion is not None:
        assert_unseen(shown_of_trace(result.completion.trace))
        assert_unseen(iter([repr(result.completion)]))
    assert_unseen(iter([logged.getvalue()]))
    assert logged.events[-1]["event"].startswith("completion_")
    for event_ in logged.events:
        check_event(event_)


# -- a server that repeats what it was sent


def repeated(scene: Scene) -> str:
    return "; ".join(f"{name}: {value}" for name, value in scene.request.headers)


def refused(status: int) -> Callable[[Scene], Iterator[bytes]]:
    def play(scene: Scene) -> Iterator[bytes]:
        body = {"error": {"message": repeated(scene), "type": "x", "code": repeated(scene)}}
        yield whole(status, JSON, json.dumps(body).encode(), ("x-request-id", repeated(scene)))

    play.__name__ = f"refused_{status}"
    return play


def as_text(scene: Scene) -> Iterator[bytes]:
    yield whole(500, "text/plain", repeated(scene).encode())


def as_page(scene: Scene) -> Iterator[bytes]:
    yield whole(200, "text/html", f"<html>{repeated(scene)}</html>".encode())


def as_broken_json(scene: Scene) -> Iterator[bytes]:
    yield whole(200, JSON, f'{{"{repeated(scene)}'.encode())


def as_error_event(scene: Scene) -> Iterator[bytes]:
    told = json.dumps({"error": {"message": repeated(scene), "code": repeated(scene)}})
    yield opened(EVENTS) + framed(event(told.encode()))


def as_broken_event(scene: Scene) -> Iterator[bytes]:
    yield opened(EVENTS) + framed(event(f'{{"{repeated(scene)}'.encode()))


ECHOES = [
    *(refused(status) for status in (400, 401, 403, 404, 422, 429, 500, 503)),
    *(as_text, as_page, as_broken_json, as_error_event, as_broken_event),
]


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("play", ECHOES, ids=lambda play: play.__name__)
def test_a_server_that_repeats_the_key_is_not_repeated(
    server: FaultServer, logged: Logged, play: Any, kind: Kind
) -> None:
    server.script(play)
    with Routed(kind, [service("one", server.url, KEY)], policy=PATIENT) as routed:
        result = routed.call("one/m", stream=True, messages=MESSAGES)
        assert_unseen(shown_of_router(routed.router))
    assert result.error is not None
    assert not isinstance(result.error, Timeout)
    assert_unseen(shown_of_error(result.error))
    assert_unseen(iter([logged.getvalue()]))


def said(form: str, body: object) -> Callable[[Scene], Iterator[bytes]]:
    def play(scene: Scene) -> Iterator[bytes]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        yield whole(200, form, data) if form == JSON else opened(EVENTS) + framed(event(data))

    return play


def choice(**fields: object) -> dict[str, object]:
    return {"choices": [{"index": 0, **fields}]}


TEXT = {"role": "assistant", "content": ANSWER}
UNREADABLE = {
    "text": ANSWER.encode(),
    "cut": json.dumps(choice(message=TEXT)).encode()[:-4],
    "a str": ANSWER,
    "a list": [ANSWER],
    "no choice": {"choices": [ANSWER]},
    "a number": choice(message=TEXT, delta=TEXT, finish_reason=7),
    "an object": choice(message={"content": {"x": ANSWER}}, delta={"content": {"x": ANSWER}}),
    "a call": choice(message={"tool_calls": [ANSWER]}, delta={"tool_calls": [ANSWER]}),
}


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("name", UNREADABLE)
def test_an_answer_that_cannot_be_read_is_in_no_error(
    server: FaultServer, logged: Logged, name: str, stream: bool, kind: Kind
) -> None:
    server.script(said(EVENTS if stream else JSON, UNREADABLE[name]))
    with Routed(kind, [service("one", server.url, KEY)], policy=PATIENT) as routed:
        error = routed.call("one/m", stream=stream, messages=MESSAGES).error
    assert error is not None
    assert not isinstance(error, Timeout)
    told = [str(error), repr(error), json.dumps(error.to_dict()), logged.getvalue()]
    assert_unseen(iter(told), ANSWER, PROMPT, KEY)


def test_a_key_that_is_cut_with_the_text_around_it_is_hidden_as_well(server: FaultServer) -> None:
    """What an error shows of a body ends somewhere, and in the middle of a key it was shown."""
    begun = KEY[:12]
    for length in (200 - len(begun), 180, 190):

        def play(scene: Scene, length: int = length) -> Iterator[bytes]:
            yield whole(500, "text/plain", ("x" * length + KEY + "y" * 300).encode())

        server.script(play)
        with Routed("sync", [service("one", server.url, KEY)], policy=PATIENT) as routed:
            error = routed.call("one/m").error
        assert error is not None
        assert error.message.count("x") == length
        assert_unseen(shown_of_error(error), begun[:8])


# -- mistakes, before anything is sent


def from_file(folder: Path) -> Router:
    path = folder / "router.toml"
    path.write_text(f'[providers.openai]\nkey = "{KEY}"\nwrong = 1\n[router]\norder = ["nobody"]\n')
    path.chmod(0o600)
    return Router.from_config(path)


@pytest.mark.parametrize(
    "settings",
    [
        {"key": KEY, "wrong": 1},
        {"key": f"{KEY}\n\nx"},
        {"key": KEY, "base_url": "nowhere"},
        {"key": KEY, "headers": 3},
    ],
    ids=["unknown", "malformed", "url", "type"],
)
def test_a_wrong_setting_does_not_show_the_key_beside_it(settings: dict[str, Any]) -> None:
    with pytest.raises(RouterError) as caught:
        Router(settings={"openai": settings}, allow=["openai"])
    assert_unseen(shown_of_error(caught.value))


@pytest.mark.parametrize(
    "wrong",
    [{"routes": {"a": ["nobody/m"]}}, {"order": 5}, {"order": ["nobody"]}, {"policy": {"x": 1}}],
    ids=str,
)
def test_a_wrong_argument_does_not_show_the_keys_of_the_settings(wrong: dict[str, Any]) -> None:
    with pytest.raises(RouterError) as caught:
        Router(settings={"openai": {"key": KEY}}, **wrong)
    assert_unseen(shown_of_error(caught.value))


def test_a_plugin_that_shows_its_context_shows_no_key() -> None:
    """As one that logs what it is called with does."""
    assert_unseen(iter([repr(PluginContext(name="one", settings={"key": KEY}))]))


def test_a_wrong_file_does_not_show_the_key_in_it(tmp_path: Path) -> None:
    with pytest.raises(RouterError) as caught:
        from_file(tmp_path)
    assert_unseen(shown_of_error(caught.value))


WRONG_CALLS: dict[str, dict[str, Any]] = {
    "role": {"messages": [*MESSAGES, {"role": PROMPT, "content": PROMPT}]},
    "content": {"messages": [{"role": "user", "content": [PROMPT]}]},
    "part": {"messages": [{"role": "user", "content": [{"type": "text", "text": [PROMPT]}]}]},
    "call": {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": [PROMPT]}}]}]},
    "half": {"messages": [{"role": "user", "content": f"{PROMPT}\ud800"}]},
    "messages": {"messages": PROMPT},
    "model": {"model": "nobody/m"},
    "unknown": {"nosuch": PROMPT},
    "value": {"temperature": PROMPT},
    "headers": {"extra_headers": {"x": f"{KEY}\n"}},
    "body": {"extra_body": {"x": {KEY: object()}}},
    "policy": {"policy": {"never": ("one",)}},
    "window": {"messages": [{"role": "user", "content": PROMPT * 9_000}], "model": "small/m"},
}


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("name", WRONG_CALLS)
def test_a_wrong_call_shows_neither_its_prompt_nor_its_headers(
    server: FaultServer, logged: Logged, name: str, kind: Kind
) -> None:
    with Routed(kind, [service("one", server.url, KEY)]) as routed:
        arguments = {"model": "one/m", "messages": MESSAGES, **WRONG_CALLS[name]}
        error = call_wrongly(routed, arguments)
        assert_unseen(shown_of_error(error))
        if name in ("role", "content", "messages", "model", "unknown"):
            with pytest.raises(RouterError) as caught:
                routed.router.explain(**arguments)
            assert_unseen(shown_of_error(caught.value))
    assert_unseen(iter([logged.getvalue()]))


def call_wrongly(routed: Routed, arguments: dict[str, Any]) -> RouterError:
    with pytest.raises(RouterError) as caught:
        routed.run(routed.router.create_completion, **arguments)
    return caught.value


# -- what has no call


def test_a_secret_leaves_the_process_in_no_form() -> None:
    provider = service("one", "http://127.0.0.1:9/v1", KEY)
    with pytest.raises(TypeError) as caught:
        pickle.dumps(provider)
    assert_unseen(shown_of_traceback(traceback.TracebackException.from_exception(caught.value)))
    assert KEY not in f"{Secret(KEY)} {Secret(KEY)!r} {Secret(KEY):>40} {[Secret(KEY)]}"


def test_the_password_of_a_proxy_is_not_shown() -> None:
    settings = TransportSettings(proxies={"https": f"http://user:{KEY}@proxy.example"})
    assert KEY not in repr(settings)


def test_a_plugins_own_frames_are_kept_for_its_author() -> None:
    class Bug(WireProvider):
        name = "one"
        models = ("m",)

        def create_completion(self, model: str, messages: list[Any], stream: bool) -> Any:
            yield "text"
            raise ValueError("a bug")

    with Routed("sync", [Bug()]) as routed:
        error = routed.call("one/m", messages=MESSAGES).error
    assert isinstance(error, PluginError)
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    assert told.__cause__ is not None
    assert told.__cause__.stack[-1].name == "create_completion"
    assert "messages" in (told.__cause__.stack[-1].locals or {})
