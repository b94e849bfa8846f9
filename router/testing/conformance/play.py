"""One exchange of a provider, played against a sample's replies by the rules of the router."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from msgspec import Struct

from router.answer import Answer
from router.contract import Call, HttpRequest, HttpResponse, Provider, Shared, Wait
from router.errors import PluginError, RouterError
from router.exchange import PING, Extras, Notes, run
from router.foreign import translate
from router.types import Chunk, Completion, Trace

from .guard import Guard
from .samples import Reply

EPOCH = 1_800_000_000.0
"""The time that a played provider is told, in seconds since 1970."""

MAX_REQUESTS = 50
"""Nothing that ends asks for more: H2o's longest exchange has eight."""

MAX_STEPS = 1_000
"""What an exchange may take beside four steps for each byte of its replies, which may come one by
one. H2o's longest has some twenty."""

ENDLESS = "endless"
"""The code of the error for an exchange that takes more."""

OWN = ("new_id", "clock")
"""What each exchange is given its own of, so that it is the same whenever it is played."""

Pieces = Sequence[bytes | RouterError]
"""How a body comes: as bytes, and at last perhaps a failure of the network."""


class Outcome(Struct, frozen=True, kw_only=True):
    """How an exchange ended.

    Attributes:
        pieces: What was delivered; texts that follow each other as one, signs of life left out.
        completion: The answer, or what of it had come.
        error: The error that ended it, or `None`.
    """

    pieces: tuple[str | Chunk, ...]
    completion: Completion
    error: RouterError | None = None

    def says(self) -> str:
        """In a few words, for a report."""
        if self.error is not None:
            return f"{type(self.error).__name__}: {self.error.message[:120]}"
        return f"{self.completion.text[:60]!r} ({self.completion.finish_reason})"


class Play:
    """One exchange, step by step.

    Args:
        provider: Whose it is.
        start: Calls its `create_completion`.
        replies: Gives the responses, in order.
        pieces: How the last reply's body comes, in place of in one.
        guard: Watches the provider's own code.

    Attributes:
        requests: What it sent.
        notes: The router's notes of it.
        ended: Whether it has ended.
    """

    def __init__(
        self,
        provider: Provider,
        start: Callable[[], Any],
        replies: Iterable[Reply],
        *,
        pieces: Pieces | None = None,
        guard: Guard | None = None,
    ) -> None:
        self.requests: list[HttpRequest] = []
        self.notes = Notes()
        self.ended = False
        self._provider = provider
        self._answer = Answer()
        self._delivered: list[str | Chunk] = []
        self._error: RouterError | None = None
        self._replies = list(itertools.islice(replies, MAX_REQUESTS))
        self._pieces = pieces
        self._body: Iterator[bytes | RouterError] = iter(())
        self._guard = guard
        self._shared: dict[str, Any] = {}
        self._numbers = itertools.count(1)
        self._result: Any = None
        self._failure: BaseException | None = None
        self._actions = run(provider, start, self._answer, self.notes, Extras())

    def run(self) -> Outcome:
        """Play it to its end."""
        most = MAX_STEPS + 4 * sum(len(reply.body) for reply in self._replies)
        for _ in range(most):
            if not self.step():
                return self.outcome
        self._error = PluginError(f"it has not ended after {most} steps", code=ENDLESS)
        return self.outcome

    def step(self) -> bool:
        """Play it up to its next step; whether there was one."""
        if self.ended:
            return False
        try:
            action = self._send(self._actions, self._result, self._failure)
        except StopIteration:
            self.ended = True
            return False
        except RouterError as error:
            self.ended = True
            self._error = self.notes.complete(error, EPOCH)
            return False
        self._result = self._failure = None
        if isinstance(action, str | Chunk):
            self._deliver(action)
            return True
        try:
            self._result = self._serve(action)
        except Exception as error:  # noqa: BLE001  # thrown in at the yield, as a transport's is
            self._failure = error if isinstance(error, RouterError) else translate(error)
        return True

    def close(self) -> None:
        """End it where it is, as a caller does who has enough.

        Raises:
            BaseException: Whatever the provider makes of that.
        """
        self.ended = True
        with self._watched():
            self._actions.close()

    @property
    def outcome(self) -> Outcome:
        return Outcome(
            pieces=tuple(self._delivered),
            completion=self._answer.completion("", "", Trace(request_id="")),
            error=self._error,
        )

    @property
    def unasked(self) -> int:
        """How many replies were not asked for."""
        return len(self._replies)

    def _send(
        self, steps: Generator[Any, Any, Any], result: Any, failure: BaseException | None
    ) -> Any:
        with self._watched():
            return steps.send(result) if failure is None else steps.throw(failure)

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Give the provider this exchange's own ids and time, and no I/O."""
        held = vars(self._provider)
        before: dict[str, Any] = {name: held[name] for name in OWN if name in held}
        held["new_id"] = lambda: f"00000000-0000-4000-8000-{next(self._numbers):012}"
        held["clock"] = lambda: EPOCH
        try:
            with self._guard.watching() if self._guard is not None else nullcontext():
                yield
        finally:
            del held["new_id"], held["clock"]
            held.update(before)

    def _deliver(self, piece: str | Chunk) -> None:
        if piece is PING:
            return
        if isinstance(piece, Chunk) and piece == Chunk(text=piece.text):
            piece = piece.text
        if isinstance(piece, str) and self._delivered and isinstance(self._delivered[-1], str):
            self._delivered[-1] += piece
        else:
            self._delivered.append(piece)

    def _serve(self, action: Any) -> Any:
        match action:
            case HttpRequest():
                return self._reply(action)
            case HttpResponse():
                return self._read()
            case Call():
                return action.function()
            case Shared():
                if action.key not in self._shared:
                    self._shared[action.key] = self._drive(action.exchange())
                return self._shared[action.key]
            case Wait():
                return None
        raise PluginError(f"{type(action).__name__} is no step")

    def _reply(self, request: HttpRequest) -> HttpResponse:
        self.requests.append(request)
        if not self._replies:
            raise PluginError(f"there is no reply for request {len(self.requests)}")
        reply = self._replies.pop(0)
        pieces = self._pieces if self._pieces is not None and not self._replies else [reply.body]
        if not request.stream or reply.status >= 400:
            body = b"".join(piece for piece in pieces if isinstance(piece, bytes))
            if failures := [piece for piece in pieces if isinstance(piece, RouterError)]:
                raise failures[0]
            return HttpResponse(reply.status, reply.headers, body)
        self._body = (piece for piece in pieces if piece != b"")
        return HttpResponse(reply.status, reply.headers, streamed=True)

    def _read(self) -> bytes:
        piece = next(self._body, b"")
        if isinstance(piece, RouterError):
            raise piece
        return piece

    def _drive(self, steps: Generator[Any, Any, Any]) -> Any:
        """Run what is shared, to the value that it returns."""
        result: Any = None
        failure: BaseException | None = None
        while True:
            try:
                step = self._send(steps, result, failure)
            except StopIteration as end:
                return end.value
            result = failure = None
            if isinstance(step, HttpRequest):
                self.notes.hide(step)
            try:
                result = self._serve(step)
            except RouterError as error:
                failure = error
