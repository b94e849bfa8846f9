"""Recorded traffic, replayed over a loopback socket through both routers.

Each recording is one request and its response, as a real provider answered it. The router is asked
for the *neutral call* that the recorded request means; a server on 127.0.0.1 answers with the
recorded response, cut at random places. Then the request that came must mean what the recorded one
means, and the completion what the recorded response means.

What is particular to a wire stands in a module of its own, `tests/recorded/<wire>.py`, which has
what `Wire` below lists:

    HEADERS = ("anthropic-version",)          # request headers that mean something, lower case

    def provider(recording, origin):          # our provider, at http://127.0.0.1:port
        return Anthropic(base_url=f"{origin}/v1", key="a-made-up-key")

    def neutral(body, recording):             # what the recorded request means
        return messages, parameters           # as they go to `Router.create_completion`

    def canonical(body):                      # what can be written in two ways, written in one
        return body

    def differences(recording):               # where what we send differs, and why
        return {"url": "...", "messages.*.name": "the wire ignores it"}

    def meaning(recording):                   # read plainly from `recording.body`, not by the codec
        return Meaning(text=..., ...)         # or, for an error, its class: ContextOverflow

- `provider` gets the real path behind `origin`, so that a wrong one shows as a difference of `url`.
- `neutral` is given the request's JSON. It returns messages as dicts of the OpenAI API (or
  `Message`s) and a dict of parameters under their common names; what has no common name goes into
  `extra_body`. Model and `stream` are the recording's. It is not called where no request was
  recorded (`recording.request is None`).
- `canonical` is applied to the recorded body and to ours (to a copy each). Only rewritings that
  change no meaning belong here, such as a text for a list of one text part.
- `differences` maps patterns to reasons. A difference is a place in the canonical body, written
  with dots (`messages.0.content.1.text`), or `url` (path and query), or `headers.<name>`; patterns
  are those of `fnmatch`. A pattern that matches nothing fails the test like a difference that
  nothing matches.
- `meaning` speaks of the first choice. Fields of a `Meaning` that the wire cannot have stay empty.
  Of the usage it has the counts alone.
"""

from __future__ import annotations

import base64
import csv
import json
import random
from collections.abc import Generator, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol, cast
from urllib.parse import urlsplit

from calling import Caller, Kind, Result
from emulators.loopback import LoopbackServer, Reply, Request
from msgspec import Struct, field, structs

from router import Clock, Completion, Provider, RouterError, Target, Usage

WIRES = {
    "chat.completions": "openai",
    "messages": "anthropic",
    "generateContent": "gemini",
    "streamGenerateContent": "gemini",
    "v2.chat": "cohere",
    "ollama.chat": "ollama",
}
"""The endpoints that are replayed, with the module of their wire."""

OTHER_PROVIDERS = {
    "bedrock": "Bedrock comes later",
}

OTHER_ENDPOINTS = {
    "completions": "text completions are no chat",
    "count_tokens": "counts tokens, completes nothing",
    "embeddings": "embeddings come later",
    "models": "a list of models, completes nothing",
    "rerank": "ranks documents, completes nothing",
    "responses": "the Responses API comes later",
}

OTHER_FILES: dict[str, str] = {}
"""Single files that cannot be replayed, with the reason."""

QUESTION = [{"role": "user", "content": "Go on."}]
"""What is asked where no request was recorded."""

CUTS = 40
"""Into how many pieces, about, a response is cut; half as many places are inside a character."""

# What the server says itself, or what would not be true of the replayed body.
_CONNECTION_HEADERS = frozenset(
    {"connection", "content-encoding", "content-length", "date", "keep-alive", "transfer-encoding"}
)


class Recording(Struct, frozen=True, kw_only=True):
    """One recorded interaction.

    Attributes:
        file: Its path under `cassettes/`, which names it.
        model: As the manifest has it, or a made-up one.
        request: The request's JSON, or `None` where none was recorded.
        url: The request's, or "".
        request_headers: The request's, names in lower case.
        headers: The response's, names in lower case.
        body: The response's.
    """

    file: str
    provider: str
    endpoint: str
    model: str
    streaming: bool
    features: tuple[str, ...]
    request: Any
    url: str
    request_headers: dict[str, str]
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The response's body as JSON."""
        return json.loads(self.body)

    def events(self) -> list[Any]:
        """The JSON of the response's `data:` lines (of all its lines, for JSON lines)."""
        lines = (line.removeprefix("data:").strip() for line in self.body.decode().splitlines())
        return [json.loads(line) for line in lines if line.startswith(("{", "[{"))]

    @property
    def path(self) -> str:
        """Path and query of the request's URL."""
        parts = urlsplit(self.url)
        return f"{parts.path}?{parts.query}" if parts.query else parts.path


class Meaning(Struct, frozen=True, kw_only=True):
    """What an answer says, whatever the wire it came over.

    Attributes:
        tool_calls: Name and arguments of each; arguments that are JSON as their value.
        seals: What has to be sent back of reasoning and tool calls: signatures and sealed data.
        citations: The URL of each, or its title, or the document's number.
    """

    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    tool_calls: tuple[tuple[str, Any], ...] = ()
    finish_reason: str | None = None
    usage: Usage | None = None
    seals: tuple[str, ...] = ()
    citations: tuple[str, ...] = ()

    @classmethod
    def of(cls, completion: Completion) -> Meaning:
        """The meaning of what a codec made of an answer."""
        choice = completion.choices[0]
        blocks = choice.reasoning_blocks
        seals = [seal for block in blocks for seal in (block.signature, block.data)]
        seals += [call.signature for call in choice.tool_calls]
        sources = (cited.url or cited.title or cited.document for cited in choice.citations)
        return cls(
            text=choice.text,
            reasoning=choice.reasoning,
            refusal=choice.refusal,
            tool_calls=tuple((call.name, value_of(call.arguments)) for call in choice.tool_calls),
            finish_reason=choice.finish_reason,
            usage=completion.usage and structs.replace(completion.usage, priced_otherwise=False),
            seals=tuple(seal for seal in seals if seal),
            citations=tuple(source or "" for source in sources),
        )


class Wire(Protocol):
    """What a wire's module has; see the module's description."""

    HEADERS: tuple[str, ...]

    def provider(self, recording: Recording, origin: str) -> Provider: ...
    def neutral(
        self, body: dict[str, Any], recording: Recording
    ) -> tuple[list[Any], dict[str, Any]]: ...
    def canonical(self, body: dict[str, Any]) -> dict[str, Any]: ...
    def differences(self, recording: Recording) -> Mapping[str, str]: ...
    def meaning(self, recording: Recording) -> Meaning | type[RouterError]: ...


class Replay(Struct, kw_only=True):
    """What became of a replayed recording: the requests that came, and the call's result."""

    requests: list[Request] = field(default_factory=list)
    result: Result

    @property
    def meaning(self) -> Meaning | type[RouterError]:
        """That of the answer, or the class of the error that the attempt failed with."""
        if self.result.completion is not None:
            return Meaning.of(self.result.completion)
        assert self.result.trace is not None
        attempts = self.result.trace.attempts
        return type(cast(RouterError, attempts[-1].error if attempts else self.result.error))


def value_of(arguments: str) -> Any:
    """The JSON value of a tool call's arguments, or the text where it is none."""
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments


def recordings(shared: Path) -> list[Recording]:
    """All of a folder's recordings; none where it has no manifest."""
    folder = shared / "cassettes"
    if not (folder / "MANIFEST.tsv").is_file():
        return []
    with (folder / "MANIFEST.tsv").open(encoding="utf-8") as manifest:
        rows = list(csv.DictReader(manifest, delimiter="\t"))
    return [_read(folder, row) for row in rows]


def _read(folder: Path, row: dict[str, str]) -> Recording:
    recorded = json.loads((folder / row["file"]).read_text(encoding="utf-8"))
    request, response = recorded["request"] or {}, recorded["response"]
    return Recording(
        file=row["file"],
        provider=row["provider"],
        endpoint=row["endpoint"],
        model=row["model"] or "some-model",
        streaming=row["streaming"] == "yes",
        features=tuple(filter(None, row["features"].split(","))),
        request=json.loads(request["body"]) if request.get("body") else None,
        url=request.get("url", ""),
        request_headers=_lowered(request.get("headers")),
        status=response["status"],
        headers=_lowered(response.get("headers")),
        body=_bytes(response),
    )


def _bytes(message: Mapping[str, str]) -> bytes:
    if "body_base64" in message:
        return base64.b64decode(message["body_base64"])
    return message["body"].encode()


def _lowered(headers: Mapping[str, str] | None) -> dict[str, str]:
    return {name.lower(): value for name, value in (headers or {}).items()}


def reason_against(recording: Recording) -> str | None:
    """Why a recording is not replayed, or `None` where it is to be."""
    return (
        OTHER_FILES.get(recording.file)
        or OTHER_PROVIDERS.get(recording.provider)
        or OTHER_ENDPOINTS.get(recording.endpoint)
    )


def wire_of(recording: Recording) -> Wire | None:
    """The module of the recording's wire; `None` where there is none, or none is wanted."""
    name = WIRES.get(recording.endpoint)
    if name is None or reason_against(recording) or find_spec(f"recorded.{name}") is None:
        return None
    return cast(Wire, import_module(f"recorded.{name}"))


class Server(LoopbackServer):
    """Answers every request with one recorded response, cut into these pieces."""

    def __init__(self, recording: Recording, pieces: Iterable[bytes]) -> None:
        super().__init__()
        self._recording = recording
        self._pieces = list(pieces)

    def handle(self, request: Request) -> Reply:
        headers = tuple(
            (name, value)
            for name, value in self._recording.headers.items()
            if name not in _CONNECTION_HEADERS
        )
        return Reply(self._recording.status, headers, _each(self._pieces))


def _each(pieces: list[bytes]) -> Generator[bytes, None, None]:
    yield from pieces


def cut(body: bytes, seed: str) -> list[bytes]:
    """The body in pieces that end at random places, those inside UTF-8 characters among them."""
    draw = random.Random(seed)
    places = {draw.randrange(len(body) + 1) for _ in range(CUTS)} if body else set()
    inside = [place for place, byte in enumerate(body) if byte & 0xC0 == 0x80]
    places |= set(draw.sample(inside, min(len(inside), CUTS // 2)))
    return [body[start:end] for start, end in pairwise([0, *sorted(places), len(body)])]


def replay(wire: Wire, recording: Recording, kind: Kind) -> Replay:
    """The neutral call of a recording through a router, answered by what was recorded."""
    messages: list[Any] = QUESTION
    parameters: dict[str, Any] = {}
    if recording.request is not None:
        messages, parameters = wire.neutral(_copy(recording.request), recording)
    with Server(recording, cut(recording.body, f"{recording.file} {kind}")) as server:
        provider = wire.provider(recording, server.url)
        result = Caller(kind)(
            [provider],
            Target(provider.name, recording.model),
            messages,
            stream=recording.streaming,
            router={"clock": Clock()},
            policy={"attempts": 1},
            **parameters,
        )
        return Replay(requests=server.requests, result=result)


def changes(wire: Wire, recording: Recording, request: Request) -> dict[str, tuple[Any, Any]]:
    """Where a request that came differs from the recorded one: both values by place."""
    found = dict(
        _unequal(wire.canonical(_copy(recording.request)), wire.canonical(request.json()), "")
    )
    sent_url = f"{request.path}?{request.query}" if request.query else request.path
    if sent_url != recording.path:
        found["url"] = (recording.path, sent_url)
    for name in wire.HEADERS:
        pair = (recording.request_headers.get(name), request.headers.get(name))
        if pair[0] != pair[1]:
            found[f"headers.{name}"] = pair
    return found


def unexplained(wire: Wire, recording: Recording, request: Request) -> list[str]:
    """The differences that the wire's module does not list, and those listed that are none."""
    found = changes(wire, recording, request)
    listed = wire.differences(recording)
    faults = [
        f"{place}: recorded {values[0]!r:.200}, sent {values[1]!r:.200}"
        for place, values in found.items()
        if not any(fnmatchcase(place, pattern) for pattern in listed)
    ]
    faults += [
        f"{pattern}: listed ({reason}), and there is none"
        for pattern, reason in listed.items()
        if not any(fnmatchcase(place, pattern) for place in found)
    ]
    return faults


class Absent:
    """What stands for a value that is not there."""

    def __repr__(self) -> str:
        return "nothing"


ABSENT = Absent()


def _unequal(recorded: Any, sent: Any, place: str) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """The places where two JSON values differ, the deepest that both have."""
    prefix = f"{place}." if place else ""
    if isinstance(recorded, dict) and isinstance(sent, dict):
        for key in {**recorded, **sent}:
            pair = recorded.get(key, ABSENT), sent.get(key, ABSENT)
            yield from _unequal(*pair, f"{prefix}{key}")
    elif isinstance(recorded, list) and isinstance(sent, list) and len(recorded) == len(sent):
        for number, pair in enumerate(zip(recorded, sent, strict=True)):
            yield from _unequal(*pair, f"{prefix}{number}")
    elif recorded != sent or isinstance(recorded, bool) != isinstance(sent, bool):
        yield place, (recorded, sent)


def _copy(body: Any) -> Any:
    return json.loads(json.dumps(body))
