"""What is sent after an exchange: it never harms the call that left it behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from calling import USER

from router import Chunk, Cleanup, Router, WireProvider


class Messy(WireProvider):
    """One that has something to clean up."""

    name = "messy"
    models = ("m",)

    def create_completion(self, model: str, messages: list[Any], stream: bool) -> Iterator[Any]:
        yield Cleanup(lambda: None)
        yield "text"
        yield Chunk(finish_reason="stop")


def test_a_cleanup_that_no_thread_can_take_up_leaves_the_answer_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its RuntimeError was raised from the call that had been answered."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with Router([Messy()], allow=[]) as router:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            assert router.create_completion("messy/m", USER).text == "text"
        assert router.create_completion("messy/m", USER).text == "text"
