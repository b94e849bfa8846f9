"""Text-generation-inference 0.9: what it generates, and a server of its own in front of it.

`Upstream` turns the body of a request into an answer and does no I/O. `TGI` serves it bare;
`emulators.chatui.ChatUI` has one behind it.
"""

import json
import re
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from emulators.loopback import Cut, LoopbackServer, Reply, Request, compact
from emulators.script import AWKWARD_TOKENS, SLOW_TOKENS, TOKENS, Mode, Script
from emulators.validation import DEFAULT_NEW_TOKENS, Limits, Refused, deserialized, invalid

_ERROR_EVENTS: dict[Mode, tuple[int, str, str]] = {
    Mode.FIRST_ERROR: (0, "generation", "Request failed during generation: Server error: none"),
    Mode.VALIDATION: (
        0,
        "validation",
        (
            "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048."
            " Given: 2000 `inputs` tokens and 1024 `max_new_tokens`"
        ),
    ),
    Mode.OVERLOADED: (0, "overloaded", "Model is overloaded"),
    Mode.MID_ERROR: (
        3,
        "generation",
        "Request failed during generation: Server error: CUDA out of memory",
    ),
    Mode.INCOMPLETE: (3, "incomplete_generation", "Incomplete generation"),
}

_STATUS_OF = {"generation": 424, "overloaded": 429, "validation": 422, "incomplete_generation": 500}

# What follows three events, and what is raised then.
_TRUNCATED: dict[Mode, tuple[list[bytes], Callable[[], Cut] | None]] = {
    Mode.TRUNCATED: ([b'data:{"token":{"id":7,"te'], Cut),
    Mode.TRUNCATED_JSON: ([b'data:{"token":{"id":7,"te'], None),
    Mode.TRUNCATED_CLEAN: ([], None),
    Mode.CUT: ([], Cut),
    Mode.RESET: ([], partial(Cut, reset=True)),
}


def _error_body(kind: str, message: str) -> str:
    # With blanks, as the server wrote it that the captures were taken from.
    return json.dumps({"error": message, "error_type": kind})


# Status, body, content type.
_REPLIES: dict[Mode, tuple[int, str, str]] = {
    Mode.JSON_422: (
        422,
        _error_body(
            "validation",
            "Input validation error: `inputs` must have less than 1024 tokens. Given: 2000",
        ),
        "application/json",
    ),
    Mode.JSON_424: (
        424,
        _error_body("generation", "Request failed during generation: Server error: none"),
        "application/json",
    ),
    Mode.JSON_429: (429, _error_body("overloaded", "Model is overloaded"), "application/json"),
    Mode.JSON_500: (
        500,
        _error_body("incomplete_generation", "Incomplete generation"),
        "application/json",
    ),
    Mode.HTML_200: (
        200,
        '<!DOCTYPE html><html><body data-page="login"><form action="/login"></form></body></html>',
        "text/html",
    ),
    Mode.HTML_502: (
        502,
        (
            "<html><head><title>502 Bad Gateway</title></head>"
            "<body><center><h1>502 Bad Gateway</h1></center></body></html>"
        ),
        "text/html",
    ),
}


@dataclass(slots=True, eq=False)
class Generation:
    """One request as the upstream got it.

    Attributes:
        path: The endpoint.
        body: The JSON sent, or None when it is none.
        script: How it goes.
        conversation: The id of chat-ui's conversation, None for a bare TGI.
        sent: How many events have been sent.
        state: `running`, `finished` (to its planned end, an error included), or `aborted`.
        stopped: Whether chat-ui was asked to stop it; it does so at the next event.
        released: Whether it goes on where its script holds it.
    """

    path: str
    body: Any = field(repr=False)
    script: Script
    conversation: str | None = None
    sent: int = 0
    state: str = "running"
    stopped: bool = False
    released: bool = False

    @property
    def inputs(self) -> str:
        """The prompt."""
        inputs = self.body["inputs"]
        assert isinstance(inputs, str)
        return inputs

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters sent; empty when there were none."""
        parameters = self.body.get("parameters", {})
        assert isinstance(parameters, dict)
        return parameters


@dataclass(frozen=True, slots=True)
class _Text:
    """The tokens of one generation, and why they end."""

    tokens: tuple[str, ...]
    reason: str
    script: Script
    seed: int | None
    prompt: str

    @property
    def whole(self) -> str:
        """The generated text of the last event."""
        plain = self.script.eos if self.script.mode is Mode.PLAIN_EOS else ""
        return self.prompt + "".join(self.tokens) + plain

    def details(self) -> dict[str, Any]:
        count = len(self.tokens) + (self.reason == "eos_token")
        return {"finish_reason": self.reason, "generated_tokens": count, "seed": self.seed}

    def events(self) -> Iterator[dict[str, Any]]:
        """The events of the stream, details included in the last."""
        pairs = [(100 + number, text, False) for number, text in enumerate(self.tokens)]
        if self.reason == "eos_token":
            pairs.append((11, self.script.eos, self.script.mode is not Mode.PLAIN_EOS))
        for place, (number, text, special) in enumerate(pairs, start=1):
            token = {"id": number, "text": text, "logprob": -0.25, "special": special}
            last = place == len(pairs)
            yield {
                "token": token,
                "generated_text": self.whole if last else None,
                "details": self.details() if last else None,
            }


def _generate(script: Script, tokens: Iterable[str], body: dict[str, Any]) -> _Text:
    """Ends the tokens where the request's limit or a stop sequence does."""
    parameters = body.get("parameters", {})
    limit = parameters.get("max_new_tokens", DEFAULT_NEW_TOKENS)
    stops = tuple(parameters.get("stop", ()))
    taken: list[str] = []
    reason = "length" if script.mode is Mode.LENGTH else "eos_token"
    for token in tokens:
        taken.append(token)
        if stops and "".join(taken).endswith(stops):
            reason = "stop_sequence"
            break
        if len(taken) == limit:
            reason = "length"
            break
    if script.mode is Mode.EMPTY_TOKENS:
        taken = [text for token in taken for text in ("", token)]
    prompt = body["inputs"] if parameters.get("return_full_text") else ""
    return _Text(tuple(taken), reason, script, parameters.get("seed"), prompt)


def _frame(event: dict[str, Any], mode: Mode, number: int) -> bytes:
    """One event as bytes."""
    if mode is Mode.NEWER:
        token = event["token"] | {"logprob": None}
        event = {"index": number, **event, "token": token, "top_tokens": [token]}
    blank = " " if mode in (Mode.SPACE, Mode.NEWER) else ""
    before = ":\n\n" if mode is Mode.KEEPALIVE else ""
    frame = f"{before}data:{blank}{compact(event)}\n\n"
    return (frame.replace("\n", "\r\n") if mode is Mode.CRLF else frame).encode()


@dataclass(frozen=True, slots=True)
class _Plan:
    """The frames of a stream, and what is raised after the last."""

    frames: list[bytes]
    ending: Callable[[], Cut] | None = None


def _plan(text: _Text, mode: Mode, *, detailed: bool) -> _Plan:
    frames = []
    for number, event in enumerate(text.events(), start=1):
        shown = event if detailed else event | {"details": None}
        frames.append(_frame(shown, mode, number))
    if mode in _ERROR_EVENTS:
        after, kind, message = _ERROR_EVENTS[mode]
        return _Plan([*frames[:-1][:after], _error_frame(kind, message)])
    if mode in _TRUNCATED:
        rest, ending = _TRUNCATED[mode]
        return _Plan([*frames[:-1][:3], *rest], ending)
    return _Plan(frames)


def _error_frame(kind: str, message: str) -> bytes:
    return f"data:{compact({'error': message, 'error_type': kind})}\n\n".encode()


class Upstream:
    """A model behind TGI: keeps the scripts, and records the generations.

    Args:
        closing: Set when the server closes: every wait ends.
        changed: Guards the state, and is notified of its changes.
        tokens: What is generated where neither script nor mode says.
        limits: What requests are validated against.
    """

    def __init__(
        self,
        closing: threading.Event,
        changed: threading.Condition,
        tokens: Sequence[str],
        limits: Limits,
    ) -> None:
        self.generations: list[Generation] = []
        self.scripts: list[Script] = []
        self._closing = closing
        self._changed = changed
        self._tokens = tokens
        self._limits = limits

    def generate(self, path: str, raw: bytes) -> tuple[Generation, Reply]:
        """Answers a request for a generation; raises `ConnectionRefusedError` in that mode."""
        with self._changed:
            generation, reply = self._begin(path, raw)
            self._changed.notify_all()
        script = generation.script
        delay = 0.5 if script.mode is Mode.SLOW_FIRST_BYTE else 0.0
        return generation, replace(reply, delay=delay if script.delay is None else script.delay)

    def _begin(self, path: str, raw: bytes) -> tuple[Generation, Reply]:
        try:
            body = deserialized(raw)
        except Refused as error:
            generation = Generation(path, None, Script(), state="finished")
            self.generations.append(generation)
            return generation, Reply.text(error.status, error.text, "text/plain; charset=utf-8")
        generation = Generation(path, body, self._script(body["inputs"]))
        self.generations.append(generation)
        if generation.script.mode is Mode.REFUSED:
            generation.state = "aborted"
            raise ConnectionRefusedError
        if generation.script.mode in _REPLIES:
            generation.state = "finished"
            return generation, Reply.text(*_REPLIES[generation.script.mode])
        complaint = invalid(body, self._limits)
        streamed = path == "/generate_stream" or (path == "/" and body.get("stream"))
        answer = self._streamed if streamed else self._whole
        return generation, answer(generation, complaint).plus(
            ("x-compute-type", "gpu+optimized"),
            ("x-compute-characters", str(len(body["inputs"]))),
        )

    def _script(self, inputs: str) -> Script:
        """The next script, else that of the last tag in the prompt."""
        if self.scripts:
            return self.scripts.pop(0)
        modes = [mode for mode in Mode if f"[[{mode}]]" in inputs]
        return Script(max(modes, key=lambda mode: inputs.rindex(f"[[{mode}]]"), default=Mode.OK))

    def _text(self, generation: Generation) -> _Text:
        script = generation.script
        of_mode = {Mode.AWKWARD: AWKWARD_TOKENS, Mode.SLOW: SLOW_TOKENS}
        tokens = of_mode.get(script.mode, self._tokens) if script.tokens is None else script.tokens
        return _generate(script, tokens, generation.body)

    def _streamed(self, generation: Generation, complaint: str | None) -> Reply:
        if complaint:
            plan = _Plan([_error_frame("validation", f"Input validation error: {complaint}")])
        else:
            detailed = generation.parameters.get("details") is True
            plan = _plan(self._text(generation), generation.script.mode, detailed=detailed)
        headers = (
            ("content-type", "text/event-stream"),
            ("cache-control", "no-cache"),
            ("x-accel-buffering", "no"),
        )
        return Reply(200, headers, self._play(generation, plan))

    def _whole(self, generation: Generation, complaint: str | None) -> Reply:
        """The answer of `/generate`, and of `/` without a stream."""
        generation.state = "finished"
        if complaint:
            message = f"Input validation error: {complaint}"
            return Reply.json(422, {"error": message, "error_type": "validation"})
        if generation.script.mode in _ERROR_EVENTS:
            _, kind, message = _ERROR_EVENTS[generation.script.mode]
            return Reply.json(_STATUS_OF[kind], {"error": message, "error_type": kind})
        text = self._text(generation)
        answer: dict[str, Any] = {"generated_text": text.whole}
        if generation.parameters.get("details") is True:
            answer["details"] = text.details()
        reply = Reply.json(200, [answer] if generation.path == "/" else answer)
        if generation.script.mode not in _TRUNCATED:
            return reply
        half = compact(answer).encode()[:20]
        return replace(reply, body=_ended(half, _TRUNCATED[generation.script.mode][1]))

    def _play(self, generation: Generation, plan: _Plan) -> Generator[bytes, None, None]:
        state = "aborted"
        try:
            for frame in plan.frames:
                self._wait(generation)
                generation.sent += 1
                if generation.script.mode is Mode.SPLIT:
                    yield from (frame[place : place + 1] for place in range(len(frame)))
                else:
                    yield frame
            state = "finished"
            if plan.ending is not None:
                raise plan.ending()
        finally:
            with self._changed:
                generation.state = state
                self._changed.notify_all()

    def _wait(self, generation: Generation) -> None:
        def let_go() -> bool:
            return generation.released or generation.stopped or self._closing.is_set()

        if generation.script.hold_after == generation.sent:
            with self._changed:
                self._changed.wait_for(let_go)
        if generation.script.pace:
            self._closing.wait(generation.script.pace)
        if self._closing.is_set():
            raise Cut


def _ended(data: bytes, ending: Callable[[], Cut] | None) -> Generator[bytes, None, None]:
    yield data
    if ending is not None:
        raise ending()


class ScriptedServer(LoopbackServer):
    """A server in front of an `Upstream`, whose answers a test chooses.

    Attributes:
        generations: Every generation so far.
    """

    def __init__(self, tokens: Sequence[str], limits: Limits | None) -> None:
        super().__init__()
        self.upstream = Upstream(self.closing, self.changed, tokens, limits or Limits())
        self.generations = self.upstream.generations

    def script(self, mode: Mode = Mode.OK, **how: Any) -> None:
        """Says how the next generation goes that has no script yet; `how` as in `Script`."""
        with self.changed:
            self.upstream.scripts.append(Script(mode, **how))

    def release(self) -> None:
        """Lets every generation go on that is held."""
        with self.changed:
            for generation in self.generations:
                generation.released = True
            self.changed.notify_all()


class TGI(ScriptedServer):
    """A TGI without anything in front of it; it aborts a generation whose client has left.

    Args:
        tokens: What it generates where neither script nor mode says.
        limits: What it validates requests against.
        token: The bearer token that it asks for, if any.
        model: The model's id that `/info` gives.
    """

    def __init__(
        self,
        *,
        tokens: Sequence[str] = TOKENS,
        limits: Limits | None = None,
        token: str | None = None,
        model: str = "h2oai/h2ogpt-gm-oasst1-en-2048-falcon-7b-v3",
    ) -> None:
        super().__init__(tokens, limits)
        self._limits = limits or Limits()
        self._token = token
        self._model = model

    def handle(self, request: Request) -> Reply:
        """Answers as axum routes: 404 for an unknown path, 405 for a known one's other method."""
        if self._token and request.headers.get("Authorization") != f"Bearer {self._token}":
            return Reply(401)
        methods = {
            "/generate": ("POST",),
            "/generate_stream": ("POST",),
            "/": ("POST", "GET"),
            "/health": ("GET",),
            "/info": ("GET",),
        }
        if request.path not in methods:
            return Reply(404)
        if request.method not in methods[request.path]:
            return Reply(405, (("allow", ",".join(methods[request.path])),))
        if request.method == "POST":
            return self._generate(request)
        return Reply.json(200, self._info()) if request.path == "/info" else Reply()

    def _generate(self, request: Request) -> Reply:
        if not re.match(r"application/(.+\+)?json", request.headers.get("Content-Type", "")):
            text = "Expected request with `Content-Type: application/json`"
            return Reply.text(415, text, "text/plain; charset=utf-8")
        return self.upstream.generate(request.path, request.body)[1]

    def _info(self) -> dict[str, object]:
        return {
            "model_id": self._model,
            "model_sha": None,
            "model_dtype": "torch.float16",
            "model_device_type": "cuda",
            "model_pipeline_tag": "text-generation",
            "max_concurrent_requests": 128,
            "max_best_of": 2,
            "max_stop_sequences": self._limits.max_stop_sequences,
            "max_input_length": self._limits.max_input_length,
            "max_total_tokens": self._limits.max_total_tokens,
            "waiting_served_ratio": 1.2,
            "max_batch_total_tokens": 16000,
            "max_waiting_tokens": 20,
            "validation_workers": 2,
            "version": "0.9.4",
            "sha": None,
            "docker_label": None,
        }
