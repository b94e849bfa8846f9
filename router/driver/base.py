"""What both drivers have in common: how an attempt is set up and cut, and how a call ends."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Protocol, TypeAlias

from router.answer import Answer
from router.base import Prepared
from router.clock import Clock
from router.commands import Begin
from router.errors import Cancelled, RouterError
from router.exchange import Action, Notes, run
from router.flow import Flow, route
from router.journal import Run
from router.limit import Limit
from router.messages import Message
from router.types import Chunk, Completion, Restart
from router.values import copied

Piece: TypeAlias = str | Chunk | Restart


class Timed(Protocol):
    """What an attempt and a call need of their router, however they are driven."""

    clock: Callable[[], float]
    time: Clock


class BaseRun:
    """An attempt under way: what it has so far, and when it is cut."""

    def __init__(self, router: Timed, prepared: Prepared, begin: Begin) -> None:
        self.answer = Answer(begin.choices)
        self.notes = Notes()
        self._clock = router.clock
        self._time = router.time
        self._begin = begin
        self._candidate = begin.candidate
        self._provider = begin.candidate.registered.provider
        self._prepared = prepared
        self._slot = begin.slot
        self._now = router.clock()
        stream = prepared.job.stream
        self.limit = Limit(
            prepared.job.policy,
            self._now,
            prepared.deadline,
            first_token=stream and not begin.patient,
            idle=stream,
        )
        if begin.continues is not None:
            self.answer.resume(begin.continues)

    def _actions(self) -> Generator[Action, Any, None]:
        return run(
            self._provider,
            lambda: self._provider.create_completion(**self._arguments()),
            self.answer,
            self.notes,
            self._prepared.extras,
        )

    def _arguments(self) -> dict[str, Any]:
        """What the provider's function is called with, made anew for each attempt."""
        begin, candidate, messages = self._begin, self._candidate, self._candidate.messages
        if begin.continues is not None:
            messages = (*messages, Message(role="assistant", content=begin.continues.text))
        typed = candidate.registered.parameters.typed_messages
        return {
            "model": candidate.model.id,
            "messages": list(messages) if typed else [message.to_dict() for message in messages],
            "stream": self._prepared.job.stream,
            **copied(candidate.binding.arguments),
        }

    def _take_slot(self) -> None:
        """From here on the slot is this attempt's to give back."""
        if self._slot is not None:
            self._slot.lent = True

    def _taken(self) -> None:
        """The reader of the answer has taken a piece, and waits for the next."""
        self._now = now = self._clock()
        if self.answer.finished:
            self.limit.finish(now)
        elif self.answer.has_content:
            self.limit.alive(now)

    def _pinged(self) -> None:
        """The server is alive, but sent nothing to deliver."""
        self._now = now = self._clock()
        if self.answer.finished or self.answer.may_be_over:
            self.limit.finish(now, sure=self.answer.finished)
        else:
            self.limit.ping(now)

    def _is_over(self) -> bool:
        """Whether the answer is whole, now that the limit has passed.

        Raises:
            RouterError: It is not.
        """
        if self.answer.finished:
            return True
        raise self.limit.error(self._now)

    def located(self, error: RouterError) -> RouterError:
        """An error of the exchange, told where it happened."""
        self.notes.locate(error, self._candidate.registered.name, str(self._candidate.target))
        return self.notes.complete(error, self._time.epoch())


class BaseDrive:
    """A call that is driven, and how it ended.

    Attributes:
        completion: The whole answer, once it is there.
        typed: Whether the caller reads typed pieces, and so understands a `Restart`.
    """

    _run: Run | None = None

    def __init__(self, router: Timed, prepared: Prepared) -> None:
        self.prepared = prepared
        self.completion: Completion | None = None
        self.typed = False
        self._clock = router.clock
        self._held: list[str | Chunk] = []

    def _route(self) -> Flow:
        prepared = self.prepared
        return route(prepared.job, prepared.journal, prepared.state, prepared.started)

    def _check_process(self) -> None:
        """Raise `Cancelled` in a fork of the process that made the call: it goes on there."""
        if not self.prepared.is_ours:
            raise Cancelled("the call is that of the parent process")

    def _succeeded(self, completion: Completion) -> None:
        self.completion = completion = self.prepared.finish(completion)
        self.prepared.report.succeeded(completion, self._milliseconds())

    def _ended(self, error: BaseException) -> None:
        """The call ends without an answer: by an error, or because nobody wants it any more."""
        prepared = self.prepared
        if not prepared.is_ours:
            return
        if prepared.journal.running:
            prepared.journal.end("cancelled", self._clock(), self._run)
        prepared.report.failed(prepared.journal.trace(), error, self._milliseconds())

    def _milliseconds(self) -> float:
        return 1000 * (self._clock() - self.prepared.started)
