"""A call in a task, which is cancelled as any task is.

The routing generator and the exchanges are those of the blocking driver; only what waits is
different.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, TypeAlias

from router.base import Prepared
from router.commands import Announce, Begin, Command, Deliver, Event, Outcome, Queue, Sleep
from router.contract import Call, HttpRequest, HttpResponse, Shared, Wait
from router.driver.base import BaseDrive, BaseRun, Piece
from router.driver.pump import Pump
from router.errors import RouterError
from router.exchange import PING, Action, accept
from router.foreign import translate
from router.limit import Limit
from router.types import Chunk

if TYPE_CHECKING:
    from router.client import AsyncRouter
    from router.transport.asynchronous import AsyncExchange

Pieces: TypeAlias = AsyncGenerator[str | Chunk, None]


class AsyncRun(BaseRun):
    """An attempt under way, of a provider that does no I/O or brings an async function for it."""

    def __init__(self, router: AsyncRouter, prepared: Prepared, begin: Begin) -> None:
        super().__init__(router, prepared, begin)
        self._router = router
        self._exchange: AsyncExchange | None = None
        self.pieces = self._pieces(self._twin() if self._provider.does_io else self._wire())

    async def _pieces(self, inner: Pieces) -> Pieces:
        """The pieces of the answer, as they come.

        Raises:
            RouterError: The exchange failed; the error knows where.
        """
        try:
            self._take_slot()
            async for piece in inner:
                yield piece
                self._taken()
        except RouterError as error:
            raise self.located(error) from error.__cause__
        finally:
            try:
                await inner.aclose()
            finally:
                await self._release()

    async def _wire(self) -> Pieces:
        actions = self._actions()
        try:
            action = next(actions)
            while self._now < self.limit.until or not self._is_over():
                if action is PING:
                    self._pinged()
                    action = actions.send(None)
                elif isinstance(action, (str, Chunk)):
                    yield action
                    action = actions.send(None)
                else:
                    try:
                        result = await self._perform(action)
                    except (Exception, SystemExit) as error:  # noqa: BLE001  # a plugin's function may raise anything
                        action = actions.throw(error)
                    else:
                        action = actions.send(result)
        except StopIteration:
            return
        finally:
            with suppress(Exception, SystemExit):  # a plugin's, and nobody is left to be told
                actions.close()

    async def _twin(self) -> Pieces:
        """A blocking provider's async generator: it does its own I/O, and yields pieces."""
        provider = self._provider
        assert provider.create_completion_async is not None
        steps: Any = None
        try:
            steps = provider.create_completion_async(**self._arguments())
            while True:
                async with self._limited():
                    piece = await anext(steps)
                if accept(provider, piece, self.answer):
                    yield piece
        except StopAsyncIteration:
            return
        except (Exception, SystemExit) as error:  # whatever a plugin raises is contained
            if self.answer.finished:
                return
            raise translate(error) from error
        finally:
            if isinstance(steps, AsyncGenerator):
                with suppress(Exception, SystemExit):  # likewise
                    await steps.aclose()

    async def _perform(self, action: Action | Any) -> Any:
        if isinstance(action, HttpResponse):
            assert self._exchange is not None
            return await self._router.async_transport.read(action, self._exchange)
        if isinstance(action, HttpRequest):
            return await self._send(action)
        if isinstance(action, Call):
            loop = asyncio.get_running_loop()
            async with self._limited():
                return await loop.run_in_executor(self._router.pool, action.function)
        if isinstance(action, Wait):
            return await self._wait(action.seconds)
        assert isinstance(action, Shared)
        return await self._share(action)

    async def _send(self, request: HttpRequest) -> HttpResponse:
        transport = self._router.async_transport
        from router.transport.asynchronous import AsyncExchange

        self._exchange = AsyncExchange(self.limit)
        return await transport.send(request, self._exchange)

    async def _wait(self, seconds: float) -> None:
        now, until = self._clock(), self.limit.until
        await self._time.sleep_async(max(0.0, min(seconds, until - now)))
        if now + seconds >= until:
            raise self.limit.error(until)

    async def _share(self, step: Shared) -> Any:
        key = (self._candidate.registered.name, step.key)
        lock = self._router.locks.get(key)
        async with self._limited():
            await lock.acquire()
        try:
            if (kept := self._router.shared.fresh(key)) is not None:
                return kept[0]
            value = await self._drive_shared(step.exchange())
            self._router.shared.keep(key, step, value)
            return value
        finally:
            lock.release()

    async def _drive_shared(self, steps: Generator[Any, Any, Any]) -> Any:
        """Run a sub-exchange to its end; what it returns."""
        try:
            step = next(steps)
            while True:
                if isinstance(step, HttpRequest):
                    self.notes.hide(step)
                try:
                    result = await self._perform(step)
                except (Exception, SystemExit) as error:  # noqa: BLE001  # a plugin's function may raise anything
                    step = steps.throw(error)
                else:
                    step = steps.send(result)
        except StopIteration as stop:
            return stop.value

    def _limited(self) -> _Within:
        return _Within(self.limit, self._clock())

    async def _release(self) -> None:
        if not self._prepared.is_ours:
            return
        if self._slot is not None:  # first: the wait below may be cancelled
            self._slot.release()
        self._router.cleanups.add(self.notes.cleanups)
        self.notes.cleanups = []
        responses, self.notes.responses = self.notes.responses, []
        for response in responses:
            assert self._exchange is not None
            await self._router.async_transport.finish(
                response, self._exchange, drain=self.answer.finished
            )


class _Within:
    """Waits within a limit; its error is the limit's own."""

    def __init__(self, limit: Limit, now: float) -> None:
        self._limit = limit
        self._now = now

    async def __aenter__(self) -> None:
        if self._now >= self._limit.until:  # what does not wait would not be cut
            raise self._limit.error(self._now)
        self._timeout = asyncio.timeout(self._limit.until - self._now)
        await self._timeout.__aenter__()

    async def __aexit__(self, *exception: Any) -> None:
        try:
            await self._timeout.__aexit__(*exception)
        except TimeoutError:
            raise self._limit.error(time.monotonic()) from None


class AsyncDrive(BaseDrive):
    """Carries out what the flow of one call says, and hands over what comes."""

    _run: AsyncRun | Pump | None = None

    def __init__(self, router: AsyncRouter, prepared: Prepared) -> None:
        super().__init__(router, prepared)
        self._router = router
        self._event: Event | None = None

    async def pieces(self) -> AsyncGenerator[Piece, None]:
        """The pieces to deliver; sets `completion` at the end.

        Raises:
            RouterError: What the flow raises.
        """
        flow = self._route()
        try:
            command = next(flow)
            while True:
                if isinstance(command, Deliver):
                    async with aclosing(self._deliver()) as pieces:
                        async for piece in pieces:
                            yield piece
                elif isinstance(command, Announce):
                    yield command.restart
                    self._event = Event(Outcome.WOKE, self._clock())
                else:
                    self._event = await self._obey(command)
                assert self._event is not None
                if self._event.outcome is Outcome.FAILED:
                    self._check_process()
                command = flow.send(self._event)
        except StopIteration as stop:
            self._succeeded(stop.value)
        except BaseException as error:
            self._ended(error)
            raise
        finally:
            try:
                if self._run is not None:
                    await self._run.pieces.aclose()
            finally:
                flow.close()

    async def _obey(self, command: Command) -> Event:
        clock = self._clock
        if isinstance(command, Sleep):
            await self._router.time.sleep_async(max(0.0, command.until - clock()))
            return Event(Outcome.WOKE, clock())
        if isinstance(command, Queue):
            await self._queue(command)
            return Event(Outcome.WOKE, clock())
        assert isinstance(command, Begin)
        self._run = run = self._begin(command)
        self._held = []
        try:
            async for piece in run.pieces:
                if self.prepared.job.stream:
                    self._held.append(piece)
                    if command.until == "content" and run.answer.has_content:
                        return Event(Outcome.CONTENT, clock(), run)
        except RouterError as error:
            return Event(Outcome.FAILED, clock(), run, error)
        return Event(Outcome.FINISHED, clock(), run)

    def _begin(self, begin: Begin) -> AsyncRun | Pump:
        provider = begin.candidate.registered.provider
        if provider.does_io and provider.create_completion_async is None:
            return Pump(self._router, self.prepared, begin)
        return AsyncRun(self._router, self.prepared, begin)

    async def _queue(self, command: Queue) -> None:
        slots, turn = self.prepared.state.slots, command.turn
        woken = asyncio.Event()
        loop = asyncio.get_running_loop()

        def wake() -> None:
            try:
                loop.call_soon_threadsafe(woken.set)
            except RuntimeError:  # the loop is closed: nobody waits any more
                slots.leave(turn)

        if slots.wait(turn, wake):
            with suppress(TimeoutError):
                async with asyncio.timeout(turn.until - self._clock()):
                    await woken.wait()

    async def _deliver(self) -> Pieces:
        run = self._run
        assert run is not None
        try:
            held, self._held = self._held, []
            for piece in held:
                yield piece
            async for piece in run.pieces:
                yield piece
        except RouterError as error:
            self._event = Event(Outcome.FAILED, self._clock(), run, error, self.typed)
        else:
            self._event = Event(Outcome.FINISHED, self._clock(), run)
