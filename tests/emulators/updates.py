"""What chat-ui v0.7 sends in place of the upstream's bytes: its progress, in lines of JSON."""

import json
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from emulators.loopback import Cut, LeftOpen, Reply, compact
from emulators.tgi import Generation

PADDING = b" " * 4096  # pushes the last line through proxies that buffer


class UpstreamFailed(Exception):
    """What chat-ui's client of the upstream throws; its message reaches the browser."""


@dataclass(slots=True)
class _Last:
    """The last message: the user's until the first token has come."""

    text: str
    answered: bool = False


def updates(
    ask: Callable[[], tuple[Generation, Reply]],
    store: Callable[[str, bool], None],
    *,
    prompt: str,
    title: str | None,
) -> Generator[bytes, None, None]:
    """Tells the progress of one message, and leaves the connection open.

    Args:
        ask: Sends the prompt to the upstream.
        store: Is given the text of the last message, and whether that is the answer.
        prompt: The user's message.
        title: The title that a new conversation has got.
    """
    last = _Last(prompt)
    yield _line(type="status", status="started")
    if title is not None:
        yield _line(type="status", status="title", message=title)
    try:
        yield from _tokens(ask, last)
    except UpstreamFailed as error:
        yield _line(type="status", status="error", message=str(error))
    finally:
        store(last.text, last.answered)
    yield _line(type="finalAnswer", text=last.text)
    yield PADDING
    raise LeftOpen


def _line(**update: str) -> bytes:
    return f"{compact(update)}\n".encode()


def _tokens(ask: Callable[[], tuple[Generation, Reply]], last: _Last) -> Iterator[bytes]:
    """The visible tokens; the one that comes with the generated text is not among them."""
    try:
        generation, reply = ask()
    except ConnectionRefusedError as error:
        raise UpstreamFailed("fetch failed") from error
    for event in _events(reply):
        token, text = event["token"], event["generated_text"]
        if text:
            last.text = text
        elif not token["special"]:
            yield _line(type="stream", token=token["text"])
            if last.answered and generation.stopped:
                return
            last.text = last.text + token["text"] if last.answered else token["text"].lstrip()
            last.answered = True


def _events(reply: Reply) -> Iterator[dict[str, Any]]:
    """The events of a stream; raises `UpstreamFailed` for everything else."""
    content_type = dict(reply.headers).get("content-type", "")
    if isinstance(reply.body, bytes):
        if reply.status >= 400 and content_type == "application/json":
            raise UpstreamFailed(json.loads(reply.body)["error"])
        if reply.status >= 400:
            raise UpstreamFailed(f"Server response contains error: {reply.status}")
        raise UpstreamFailed(
            f"Server does not support event stream content type, it returned {content_type}"
        )
    with closing(reply.body) as body:
        for line in _lines(body):
            if line.startswith(b"data:"):
                event = json.loads(line.removeprefix(b"data:"))
                if "error" in event:
                    raise UpstreamFailed(event["error"])
                yield event


def _lines(body: Iterator[bytes]) -> Iterator[bytes]:
    """Whole lines; a piece at the end is dropped, as by any reader of server-sent events."""
    rest = b""
    try:
        for piece in body:
            *lines, rest = (rest + piece).split(b"\n")
            yield from lines
    except Cut as cut:
        raise UpstreamFailed("terminated") from cut
