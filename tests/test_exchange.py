"""What a plugin may do to its host in an exchange: nothing but fail."""

import re
from typing import Any

import pytest
from calling import Caller
from routed import Kind, Routed

from router import (
    AuthError,
    BadRequest,
    Call,
    Chunk,
    Exchange,
    HttpRequest,
    PluginError,
    ProtocolError,
    Router,
    Shared,
    StreamInterrupted,
    ToolCallDelta,
    UnsupportedParameter,
    UpstreamError,
    Usage,
    Wait,
    WireProvider,
    provider,
)
from router.testing import Fault, FaultServer, ScriptedProvider

USER = [{"role": "user", "content": "hello"}]


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Caller:
    return Caller(request.param)


@pytest.fixture(params=[False, True], ids=["whole", "stream"])
def stream(request: pytest.FixtureRequest) -> bool:
    return request.param


def failing(error: BaseException) -> Any:
    """A function that raises."""

    def fail(*_: object) -> Any:
        raise error

    return fail


def steps(make: Any) -> WireProvider:
    """A wire provider that yields one step, then what it brings."""

    @provider("steps", models=["model"], wire=True)
    def steps(model: str, messages: list[Any], stream: bool) -> Exchange:
        brought = yield make()
        yield f"it brought {brought}"
        yield Chunk(finish_reason="stop")

    return steps


def sub_exchange(error: BaseException) -> Any:
    yield Wait(0)
    raise error


RAISERS = {
    "a function that is no generator": lambda error: provider("steps", models=["model"])(
        lambda model, messages, stream: failing(error)()
    ),
    "a wire function that is no generator": lambda error: provider(
        "steps", models=["model"], wire=True
    )(lambda model, messages, stream: failing(error)()),
    "a blocking step": lambda error: steps(lambda: Call(failing(error))),
    "a shared exchange": lambda error: steps(lambda: Shared("k", lambda: sub_exchange(error), 9)),
    "the start of a shared exchange": lambda error: steps(lambda: Shared("k", failing(error), 9)),
    "the age of a shared value": lambda error: steps(
        lambda: Shared("k", lambda: (yield Wait(0)), failing(error))
    ),
}


@pytest.mark.parametrize("error", [ValueError("my bug"), SystemExit(3), RecursionError()], ids=repr)
@pytest.mark.parametrize("make", RAISERS.values(), ids=RAISERS.keys())
def test_whatever_a_plugin_raises_is_an_error_of_its_attempt(call, stream, make, error):
    """These went through to the caller as they were, past the targets behind."""
    targets = ["steps/model", "second/model"]
    result = call([make(error), ScriptedProvider("second", ["fine"])], targets, stream=stream)
    assert result.completion is not None
    assert result.completion.text == "fine"
    first = result.trace.attempts[0].error
    assert isinstance(first, PluginError)
    assert first.target == "steps/model"
    assert type(error).__name__ in str(first)


def test_step_throws_what_its_function_raised_into_the_exchange(call, stream):
    """A plugin's author looks for the error of the library below, not for ours."""

    @provider("careful", models=["model"], wire=True)
    def careful(model: str, messages: list[Any], stream: bool) -> Exchange:
        try:
            yield Call(failing(FileNotFoundError("weights.bin")))
        except FileNotFoundError as error:
            yield f"there is no {error}"
        yield Chunk(finish_reason="stop")

    result = call([careful], "careful/model", stream=stream)
    assert result.completion.text == "there is no weights.bin"


def test_error_of_ours_in_a_step_stays_what_it_is(call, stream):
    result = call([steps(lambda: Call(failing(AuthError("set X_KEY"))))], "steps/model", USER)
    assert isinstance(result.error, AuthError)
    assert str(result.error) == "steps/model: set X_KEY"


@pytest.mark.parametrize(
    ("step", "told"),
    [(Wait("soon"), "TypeError"), (Shared("k", lambda: None, 9), "TypeError")],
    ids=["wait", "shared"],
)
def test_step_with_something_wrong_in_it_is_the_plugins_error(call, step, told):
    result = call([steps(lambda: step)], "steps/model")
    assert isinstance(result.error, PluginError)
    assert told in str(result.error)


def test_keyboard_interrupt_in_a_step_is_the_users():
    with pytest.raises(KeyboardInterrupt):
        Caller("sync")([steps(lambda: Call(failing(KeyboardInterrupt())))], "steps/model")


@pytest.mark.parametrize(
    ("chunk", "wrong"),
    [
        (Chunk(text=5), "text: int"),
        (Chunk(text=None), "text: NoneType"),
        (Chunk(text=b"x"), "text: bytes"),
        (Chunk(reasoning=["x"]), "reasoning: list"),
        (Chunk(refusal=True), "refusal: bool"),
        (Chunk(index="0"), "index: str"),
        (Chunk(finish_reason="done"), "finish_reason is none of content_filter, length"),
        (Chunk(usage={"input_tokens": 5}), "usage: dict"),
        (Chunk(tool_call={"id": "1"}), "tool_call: dict"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_chunk_with_something_of_a_wrong_type_is_the_plugins_error(call, stream, chunk, wrong):
    """A TypeError from the middle of the router reached the caller."""

    @provider("sloppy", models=["model"])
    def sloppy(model: str, messages: list[Any], stream: bool) -> Any:
        yield "text"
        yield chunk

    result = call([sloppy], "sloppy/model", stream=stream)
    error = result.error.cause if stream else result.error
    assert isinstance(result.error, StreamInterrupted if stream else ProtocolError)
    assert isinstance(error, ProtocolError)
    assert "the provider sloppy yielded Chunk(" in str(error)
    assert wrong in str(error)


class AskedWrongly(WireProvider):
    """Takes a response for what it is not."""

    name = "wrong"
    models = ("model",)

    def __init__(self, url: str, *, streamed: bool) -> None:
        self.url = url
        self.streamed = streamed

    def create_completion(self, model: str, messages: list[Any], stream: bool) -> Exchange:
        response = yield HttpRequest("POST", self.url, json={}, stream=self.streamed)
        if self.streamed:
            yield response.json()["text"]
        while data := (yield response):
            yield data.decode()


@pytest.mark.parametrize(
    ("streamed", "told"),
    [
        (True, "the body of a streamed response comes when it is yielded"),
        (False, "the provider wrong yielded a response that came whole, with status 200"),
    ],
)
def test_a_response_that_is_read_in_the_wrong_way_is_the_plugins_error(streamed, told):
    """It was told as broken JSON of the server, or as a connection that was cut."""
    with FaultServer() as server:
        wrong = AskedWrongly(f"{server.url}/chat/completions", streamed=streamed)
        with Router([wrong], allow=[]) as router, pytest.raises(PluginError, match=told):
            router.create_completion("wrong/model", USER)


def test_what_is_no_step_is_told_with_those_that_there_are(call, stream):
    @provider("odd", models=["model"])
    def odd(model: str, messages: list[Any], stream: bool) -> Any:
        yield b"text"

    error = call([odd], "odd/model", stream=stream).error
    assert "odd yielded bytes, which is no step of a blocking provider: str, Chunk" in str(error)


def test_chunk_with_everything_in_it_is_taken(call, stream):
    @provider("full", models=["model"])
    def full(model: str, messages: list[Any], stream: bool) -> Any:
        yield Chunk(text="a", reasoning="b", refusal="c", id="1", model="m", raw=object())
        yield Chunk(index=1, tool_call=ToolCallDelta(id="t", name="f", arguments="{}"))
        yield Chunk(finish_reason="stop", native_finish_reason="eos", usage=Usage(input_tokens=1))
        yield Chunk(index=1, finish_reason="tool_calls")

    completion = call([full], "full/model", stream=stream).completion
    assert (completion.text, completion.reasoning, completion.id) == ("a", "b", "1")
    assert completion.choices[1].tool_calls[0].name == "f"
    assert completion.usage.input_tokens == 1


def test_what_has_no_name_is_delivered_and_all_of_it_is_kept(call, stream):
    """A chunk with nothing else was withheld, and of several the last was kept."""

    @provider("odd", models=["model"])
    def odd(model: str, messages: list[Any], stream: bool) -> Any:
        yield Chunk(raw={"audio": 1})
        yield "text"
        yield Chunk(raw={"audio": 2})
        yield Chunk(finish_reason="stop", raw={"cost": 3})

    result = call([odd], "odd/model", stream=stream)
    raws = ({"audio": 1}, {"audio": 2}, {"cost": 3})
    assert (result.completion.raws, result.completion.raw) == (raws, raws[-1])
    if stream:
        assert tuple(piece.raw for piece in result.pieces if piece.raw is not None) == raws


def test_provider_that_changes_its_arguments_changes_nobody_elses(call):
    """Lists and dicts were handed to one target after another, and were the caller's own."""

    @provider("vandal", models=["model"])
    def vandal(model: str, messages: list[Any], stream: bool, *, tools: list[Any]) -> Any:
        messages[0]["cache"]["kind"] = "ruined"
        tools[0]["function"]["name"] = "ruined"
        tools.append("ruined")
        raise ValueError("after the damage")
        yield

    seen = []

    @provider("second", models=["model"])
    def second(model: str, messages: list[Any], stream: bool, *, tools: list[Any]) -> str:
        seen.extend((messages, tools))
        return "ok"

    messages = [{"role": "user", "content": "x", "cache": {"kind": "mine"}}]
    tools = [{"type": "function", "function": {"name": "mine"}}]
    result = call([vandal, second], ["vandal/model", "second/model"], messages, tools=tools)
    assert result.completion.text == "ok"
    for given_messages, given_tools in ((messages, tools), seen):
        assert given_messages == [{"role": "user", "content": "x", "cache": {"kind": "mine"}}]
        assert given_tools == [{"type": "function", "function": {"name": "mine"}}]


@pytest.mark.parametrize("where", ["a message", "a parameter"])
def test_endless_nesting_is_refused_before_anything_is_sent(call, where):
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]

    @provider("takes", models=["model"])
    def takes(model: str, messages: list[Any], stream: bool, *, tools: list[Any] = []) -> str:  # noqa: B006
        return "ok"

    extra = {"x": deep} if where == "a message" else {}
    messages = [{"role": "user", "content": "x", **extra}]
    arguments = {} if where == "a message" else {"tools": deep}
    result = call([takes], "takes/model", messages, **arguments)
    assert isinstance(result.error, BadRequest | UnsupportedParameter)
    assert re.search("more than 100 deep|nested too deeply", str(result.error))


class Wordless(WireProvider):
    """Raises an error that says nothing, or what it is given, for whatever answer comes."""

    name = "one"
    models = ("model",)

    def __init__(self, url: str, **said: Any) -> None:
        self.url = url
        self.said = said

    def create_completion(self, model: str, messages: list[Any], stream: bool) -> Any:
        yield HttpRequest("POST", f"{self.url}/chat/completions", json={"model": model})
        raise UpstreamError("no", **self.said)


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_an_error_is_told_what_its_provider_did_not_say(kind: Kind) -> None:
    said = {"provider": "p", "target": "t", "status": 418, "request_id": "r", "retry_after": 7.0}
    with FaultServer() as server:
        for fault, status in ((Fault.HTTP_400, 400), (Fault.HTTP_500, 500), (Fault.OK, None)):
            with Routed(kind, [Wordless(server.url_for(fault))], policy={"retries": 0}) as routed:
                error = routed.call("one/model").error
            found = (error.provider, error.target, error.status, error.request_id)
            assert found == ("one", "one/model", status, "req-fault")
        url = server.url_for(Fault.HTTP_500)
        with Routed(kind, [Wordless(url, **said)], policy={"retries": 0}) as routed:
            error = routed.call("one/model").error
        assert {name: getattr(error, name) for name in said} == said
