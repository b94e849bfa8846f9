"""A call in its caller's thread, which another thread may end."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from router.base import Prepared
from router.cleanup import Cleanups
from router.commands import Announce, Begin, Command, Deliver, Event, Outcome, Queue, Sleep
from router.contract import Call, HttpRequest, HttpResponse, Shared, Wait
from router.driver.base import BaseDrive, BaseRun, Piece, Timed
from router.errors import RouterError
from router.exchange import ASKING, PING, Action
from router.shared import SharedStore
from router.types import Chunk
from router.waits import Waits

if TYPE_CHECKING:
    from router.transport.blocking import BlockingTransport
    from router.transport.sockets import Exchange


class Host(Timed, Protocol):
    """What a run needs of its router."""

    cleanups: Cleanups
    shared: SharedStore

    @property
    def transport(self) -> BlockingTransport: ...


class Run(BaseRun):
    """An attempt under way: an exchange's actions, carried out."""

    def __init__(self, router: Host, prepared: Prepared, begin: Begin, waits: Waits) -> None:
        super().__init__(router, prepared, begin)
        self._router = router
        self._waits = waits
        self._exchange: Exchange | None = None
        self.pieces = self._pieces()

    def cancel(self) -> None:
        """End it from another thread."""
        self._waits.cancel()
        self.limit.cancel()
        if self._exchange is not None:
            self._exchange.cancel()

    def resume(self) -> None:
        """Its reader, who was waited for, goes on: only from here on its silence counts."""
        self._taken()

    def _pieces(self) -> Generator[str | Chunk, None, None]:
        """The pieces of the answer, as they come.

        Raises:
            RouterError: The exchange failed; the error knows where.
        """
        actions = self._actions()
        try:
            self._take_slot()
            yield from self._carry_out(actions)
        except RouterError as error:
            raise self.located(error) from error.__cause__
        finally:
            with suppress(Exception, SystemExit):  # a plugin's, and nobody is left to be told
                actions.close()
            self._release()

    def _carry_out(
        self, actions: Generator[Action, Any, None]
    ) -> Generator[str | Chunk, None, None]:
        limit, does_io = self.limit, self._provider.does_io
        action: Any = None
        try:
            while True:
                if does_io:  # it may have waited: a wire provider waits in its actions alone
                    self._now = self._clock()
                if self._now >= limit.until and self._is_over():
                    return
                if action is None:
                    action = next(actions)
                elif action is PING:
                    self._pinged()
                    action = actions.send(None)
                elif isinstance(action, str) or not isinstance(action, ASKING):
                    yield action
                    self._taken()
                    action = actions.send(None)
                else:
                    try:
                        result = self._perform(action)
                    except (Exception, SystemExit) as error:  # noqa: BLE001  # a plugin's function may raise anything
                        action = actions.throw(error)
                    else:
                        action = actions.send(result)
        except StopIteration:
            return

    def _perform(self, action: Any) -> Any:
        if isinstance(action, HttpResponse):
            assert self._exchange is not None
            return self._router.transport.read(action, self._exchange)
        if isinstance(action, HttpRequest):
            return self._send(action)
        if isinstance(action, Call):
            return action.function()
        if isinstance(action, Wait):
            return self._wait(action.seconds)
        assert isinstance(action, Shared)
        name = self._candidate.registered.name
        return self._router.shared.get(name, action, self._drive_shared, self.limit, self._waits)

    def _wait(self, seconds: float) -> None:
        now, until = self._clock(), self.limit.until
        self._waits.sleep(self._time, min(seconds, until - now))
        if now + seconds >= until:
            raise self.limit.error(until)

    def _drive_shared(self, steps: Generator[Any, Any, Any]) -> Any:
        """Run a sub-exchange to its end; what it returns."""
        try:
            step = next(steps)
            while True:
                if isinstance(step, HttpRequest):
                    self.notes.hide(step)
                try:
                    result = self._perform(step)
                except (Exception, SystemExit) as error:  # noqa: BLE001  # a plugin's function may raise anything
                    step = steps.throw(error)
                else:
                    step = steps.send(result)
        except StopIteration as stop:
            return stop.value

    def _send(self, request: HttpRequest) -> HttpResponse:
        from router.transport.sockets import Exchange

        self._exchange = Exchange(self.limit)
        return self._router.transport.send(request, self._exchange)

    def _release(self) -> None:
        if not self._prepared.is_ours:
            return
        if self._slot is not None:  # first: the lines below may be interrupted
            self._slot.release()
        self._router.cleanups.add(self.notes.cleanups)
        self.notes.cleanups = []
        responses, self.notes.responses = self.notes.responses, []
        for response in responses:
            assert self._exchange is not None
            self._router.transport.finish(response, self._exchange, drain=self.answer.finished)


class Drive(BaseDrive):
    """Carries out what the flow of one call says, and hands over what comes."""

    _run: Run | None = None

    def __init__(self, router: Host, prepared: Prepared) -> None:
        super().__init__(router, prepared)
        self._router = router
        self._waits = Waits()

    def cancel(self) -> None:
        """End the call from another thread, while this one waits."""
        self._waits.cancel()
        if self._run is not None:
            self._run.cancel()

    def pieces(self) -> Generator[Piece, None, None]:
        """The pieces to deliver; sets `completion` at the end.

        Raises:
            RouterError: What the flow raises, or `Cancelled`.
        """
        flow = self._route()
        try:
            command = next(flow)
            while True:
                if isinstance(command, Deliver):
                    event = yield from self._deliver()
                elif isinstance(command, Announce):
                    yield command.restart
                    event = Event(Outcome.WOKE, self._clock())
                else:
                    event = self._obey(command)
                if event.outcome is Outcome.FAILED:
                    self._waits.check()  # else another target would be begun
                    self._check_process()
                command = flow.send(event)
        except StopIteration as stop:
            self._succeeded(stop.value)
        except BaseException as error:
            self._ended(error)
            raise
        finally:
            try:
                if self._run is not None:
                    self._run.pieces.close()
            finally:
                flow.close()

    def _obey(self, command: Command) -> Event:
        if isinstance(command, Sleep):
            self._waits.sleep(self._router.time, command.until - self._clock())
            return Event(Outcome.WOKE, self._clock())
        if isinstance(command, Queue):
            left = command.turn.until - self._clock()
            self._waits.for_slot(self.prepared.state.slots, command.turn, left)
            return Event(Outcome.WOKE, self._clock())
        assert isinstance(command, Begin)
        self._run = run = Run(self._router, self.prepared, command, self._waits)
        if self._waits.cancelled:  # perhaps before there was a run to be cancelled
            run.cancel()
        self._held = []
        try:
            for piece in run.pieces:
                if self.prepared.job.stream:
                    self._held.append(piece)
                    if command.until == "content" and run.answer.has_content:
                        return Event(Outcome.CONTENT, self._clock(), run)
        except RouterError as error:
            return Event(Outcome.FAILED, self._clock(), run, error)
        return Event(Outcome.FINISHED, self._clock(), run)

    def _deliver(self) -> Generator[Piece, None, Event]:
        run = self._run
        assert run is not None
        try:
            held, self._held = self._held, []
            yield from held
            yield from run.pieces
        except RouterError as error:
            return Event(Outcome.FAILED, self._clock(), run, error, self.typed)
        return Event(Outcome.FINISHED, self._clock(), run)
