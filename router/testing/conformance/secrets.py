"""The check that no key shows: not in a repr, an error, a log, a URL or a body."""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
from collections.abc import Iterator
from typing import Any

import msgspec

from router.contract import HttpRequest
from router.errors import RouterError
from router.secret import Secret

from .play import Play
from .samples import Reply
from .subject import KEY, Subject

KEY_HEADERS = frozenset({"authorization", "api-key", "x-api-key", "x-goog-api-key"})
"""Headers whose value is a key; a plain text in one would be shown by whoever shows headers."""


MIN_KEY = 8
"""How many characters a key has at least that is looked for."""


def secrets(subject: Subject) -> Iterator[str]:
    """No key in a repr, an error, a log, a URL or a body: in headers alone, as a `Secret`."""
    keys = {KEY}
    told: dict[str, str] = {}
    provider = subject.provider
    with _heard(told):
        told["the provider's repr, str or format"] = f"{provider!r} {provider!s} {provider}"
        told["missing()"] = provider.missing() or ""
        for play in _plays(subject):
            error = play.run().error
            for request in play.requests:
                keys |= _keys(request)
                yield from _in_the_open(request)
                told |= _shown(request)
            if error is not None:
                told |= _said(error)
    for where, text in told.items():
        if any(key in text for key in keys):
            yield f"a key shows in {where}"


def _plays(subject: Subject) -> Iterator[Play]:
    """The exchanges, and some in which the server repeats the key that it was sent."""
    if not subject.is_wire:
        return
    for sample in subject.exchanges:
        refused = subject.play(sample, replies=itertools.repeat(Reply(status=503)))
        refused.run()
        yield subject.play(sample) if sample.replies else refused
        sent = {key for request in refused.requests for key in _keys(request)}
        for key, status in itertools.product(sent, (200, 401, 500)):
            echo = Reply(status=status, json={"error": {"message": f"{key} is not valid"}})
            yield subject.play(sample, replies=itertools.repeat(echo))


def _keys(request: HttpRequest) -> set[str]:
    """The keys of a request; a shorter one may stand in any text by chance."""
    found = {each.reveal() for each in request.headers.values() if isinstance(each, Secret)}
    return {key for key in found if len(key) >= MIN_KEY}


def _in_the_open(request: HttpRequest) -> Iterator[str]:
    for name, value in request.headers.items():
        if not isinstance(value, Secret) and (name.lower() in KEY_HEADERS or KEY in value):
            yield f"the header {name} holds a key as plain text: make it a Secret"


def _shown(request: HttpRequest) -> dict[str, str]:
    """What of a request may be shown; a form that signs in may hold a key, and is not."""
    shown = {"repr() of a request": repr(request), "a URL": request.url}
    if not request.auxiliary:
        body = [request.json, dict(request.form or {}), request.content]
        shown["a body"] = msgspec.json.encode(body, enc_hook=str).decode()
    return shown


def _said(error: RouterError) -> dict[str, str]:
    name = type(error).__name__
    shown: dict[str, Any] = {"str": error, "to_dict": error.to_dict(), "repr": repr(error)}
    return {f"{how} of {name}": str(text) for how, text in shown.items()}


@contextlib.contextmanager
def _heard(told: dict[str, str]) -> Iterator[None]:
    """Note what is logged and printed meanwhile."""
    log, out = io.StringIO(), io.StringIO()
    handler = logging.StreamHandler(log)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.NOTSET)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        told["a log"], told["what is printed"] = log.getvalue(), out.getvalue()
