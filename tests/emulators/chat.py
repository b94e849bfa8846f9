"""OpenAI's chat completions as bytes, and a player of one exchange that needs no host."""

import json
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from router import Completion, HttpRequest, HttpResponse, Provider, RouterError, Trace
from router.answer import Answer

QUESTION = [{"role": "user", "content": "Say hello."}]
DONE = b"data: [DONE]\n\n"


def chunk(*choices: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A chunk as OpenAI writes it, with more fields or others."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": list(choices),
        **fields,
    }


def delta(finish: str | None = None, index: int = 0, **fields: Any) -> dict[str, Any]:
    """A choice of a chunk that adds these fields to its message."""
    return {"index": index, "delta": fields, "logprobs": None, "finish_reason": finish}


def message(finish: str | None = "stop", index: int = 0, **fields: Any) -> dict[str, Any]:
    """A choice of a whole completion."""
    whole = {"role": "assistant", **fields}
    return {"index": index, "message": whole, "logprobs": None, "finish_reason": finish}


def call(index: int | None, id_: str | None = None, **function: Any) -> dict[str, Any]:
    """A piece of a tool call."""
    numbered = {} if index is None else {"index": index}
    named = {} if id_ is None else {"id": id_, "type": "function"}
    return {**numbered, **named, "function": function}


def sse(*events: Any, done: bool = True) -> bytes:
    """A stream of events; a `str` stands for itself, as a comment does."""
    lines = [event if isinstance(event, str) else f"data: {json.dumps(event)}" for event in events]
    return "".join(f"{line}\n\n" for line in lines).encode() + (DONE if done else b"")


def split(body: bytes, cuts: Iterable[int]) -> list[bytes]:
    """The body in pieces that end at these places."""
    places = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    return [body[start:end] for start, end in pairwise(places) if end > start]


class Played:
    """An exchange, played against one response.

    Attributes:
        request: What the provider sent.
        pieces: What it yielded of the answer.
        error: What it raised, or `None`.
        read: How many pieces of the body it asked for.
    """

    def __init__(
        self,
        provider: Provider,
        body: bytes | Sequence[bytes],
        *,
        status: int = 200,
        headers: dict[str, str] | None = None,
        stream: bool = True,
        model: str = "some-model",
        messages: Sequence[Any] = QUESTION,
        **parameters: Any,
    ) -> None:
        pieces = [body] if isinstance(body, bytes) else list(body)
        streamed = stream and status < 400
        whole = b"" if streamed else b"".join(pieces)
        response = HttpResponse(status, headers or {}, whole, streamed=streamed)
        self.pieces: list[Any] = []
        self.error: RouterError | None = None
        self.read = 0
        steps = provider.create_completion(model, list(messages), stream, **parameters)
        try:
            self.request: HttpRequest = next(steps)
            result: Any = response
            while True:
                step = steps.send(result)
                if step is response:
                    result = pieces[self.read] if self.read < len(pieces) else b""
                    self.read += 1
                else:
                    result = self.pieces.append(step)
        except StopIteration:
            pass
        except RouterError as error:
            self.error = error

    @property
    def completion(self) -> Completion:
        """The pieces put together, as the host does it; raises the error, if there is one."""
        if self.error is not None:
            raise self.error
        answer = Answer()
        for piece in self.pieces:
            answer.add_text(piece) if isinstance(piece, str) else answer.add(piece)
        return answer.completion("a/target", "asked-for", Trace(request_id="r"))
