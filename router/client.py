"""The async router: the same calls, awaited, over aiohttp.

The routing generator and the exchanges are those of `Router`; only what waits is different. A
blocking provider runs in a pool, one thread for the whole of an exchange.
"""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, overload

from router.answer import Answer
from router.base import BaseRouter, Messages, ModelArgument, PolicyArgument, Prepared
from router.cleanup import Cleanups
from router.commands import Announce, Begin, Command, Deliver, Event, Outcome, Queue, Sleep
from router.contract import Call, HttpRequest, HttpResponse, Shared, Wait
from router.errors import Cancelled, ConfigError, RouterError
from router.exchange import PING, Action, Notes, accept, run
from router.flow import route
from router.foreign import translate
from router.limit import Limit
from router.pump import Pump
from router.router import Piece, Run, arguments_of
from router.shared import SharedStore
from router.types import Chunk, Completion, Restart, Trace

if TYPE_CHECKING:
    from router.chat import AsyncChat
    from router.transport.asynchronous import AsyncExchange, AsyncTransport
    from router.transport.blocking import BlockingTransport

BLOCKING_THREADS = 32
"""How many exchanges of blocking providers run at once; the next ones wait for a thread."""

Pieces: TypeAlias = AsyncGenerator[str | Chunk, None]


class AsyncRouter(BaseRouter):
    """Routes completion calls over the installed providers, from a coroutine.

    The arguments are those of `Router`. It may be used from several event loops, and is an async
    context manager. `asyncio.CancelledError` is never wrapped: a cancelled call ends at once.

    Raises:
        ConfigError: A setting, route or policy is wrong, or aiohttp is not installed.
        PluginLoadError: A plugin is broken, and `strict`.
    """

    _transport: AsyncTransport | None = None
    _inherited: Any = None

    def _begin(self) -> None:
        super()._begin()
        # Kept, since closing its connections would stop the parent's event loops watching them.
        self._inherited = (self._inherited, self._transport)
        self._lock = threading.Lock()
        self._transport = None
        self._blocking: BlockingTransport | None = None
        self._pool: ThreadPoolExecutor | None = None
        self.cleanups = Cleanups(lambda: self.transport, self._log)
        self.shared = SharedStore(self.clock)
        self.locks = _Locks()

    @overload
    async def create_completion(
        self,
        model: ModelArgument,
        messages: Messages,
        stream: Literal[False] = False,
        *,
        policy: PolicyArgument = None,
        extra_body: Mapping[str, Any] | None = None,
        extra_headers: Mapping[str, str] | None = None,
        **parameters: Any,
    ) -> Completion: ...

    @overload
    async def create_completion(
        self,
        model: ModelArgument,
        messages: Messages,
        stream: Literal[True],
        *,
        policy: PolicyArgument = None,
        extra_body: Mapping[str, Any] | None = None,
        extra_headers: Mapping[str, str] | None = None,
        **parameters: Any,
    ) -> AsyncStream: ...

    @overload
    async def create_completion(
        self,
        model: ModelArgument,
        messages: Messages,
        stream: bool,
        *,
        policy: PolicyArgument = None,
        extra_body: Mapping[str, Any] | None = None,
        extra_headers: Mapping[str, str] | None = None,
        **parameters: Any,
    ) -> Completion | AsyncStream: ...

    async def create_completion(
        self,
        model: ModelArgument,
        messages: Messages,
        stream: bool = False,
        *,
        policy: PolicyArgument = None,
        extra_body: Mapping[str, Any] | None = None,
        extra_headers: Mapping[str, str] | None = None,
        **parameters: Any,
    ) -> Completion | AsyncStream:
        """Get a completion from the first of the targets that answers.

        Arguments and errors are those of `Router.create_completion`. With `stream=True` it
        returns once the first content has come.
        """
        try:
            prepared = self._prepare(
                model, messages, stream, policy, extra_body, extra_headers, parameters
            )
        finally:
            del messages, extra_body, extra_headers, parameters  # as `forgetful` says
        drive = _Drive(self, prepared)
        if not stream:
            async for _ in drive.pieces():
                pass
            assert drive.completion is not None
            return drive.completion
        answer = AsyncStream(drive)
        await answer._begin()
        return answer

    async def close(self) -> None:
        """Wait for what is sent in the background, then release connections and providers."""
        self._enter_process()
        self._closed = True
        await asyncio.to_thread(self.cleanups.flush)
        await asyncio.to_thread(self._close_providers)
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)
        if self._transport is not None:
            await self._transport.close()
        if self._blocking is not None:
            self._blocking.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def chat(self) -> AsyncChat:
        """The face of the openai client: `await router.chat.completions.create(...)`."""
        from router.chat import AsyncChat

        return AsyncChat(self)

    @property
    def async_transport(self) -> AsyncTransport:
        """The transport of calls, made on first use.

        Raises:
            ConfigError: aiohttp is not installed.
        """
        if self._transport is None:
            try:
                from router.transport.asynchronous import AsyncTransport
            except ModuleNotFoundError as error:
                raise ConfigError(
                    f"AsyncRouter needs {error.name}: pip install 'pluggable-router[async]'"
                ) from None
            with self._lock:
                if self._transport is None:
                    self._transport = AsyncTransport(self._transport_settings)
        return self._transport

    @property
    def transport(self) -> BlockingTransport:
        """The transport of cleanups, which outlive an event loop."""
        if self._blocking is None:
            from router.transport.blocking import BlockingTransport

            with self._lock:
                if self._blocking is None:
                    self._blocking = BlockingTransport(self._transport_settings)
        return self._blocking

    @property
    def pool(self) -> ThreadPoolExecutor:
        """The threads of blocking providers and of `Call` steps."""
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(BLOCKING_THREADS, "router-blocking")
            return self._pool


class _Locks:
    """A lock for each shared value in each event loop."""

    def __init__(self) -> None:
        self._loops: weakref.WeakKeyDictionary[
            asyncio.AbstractEventLoop, dict[tuple[str, str], asyncio.Lock]
        ] = weakref.WeakKeyDictionary()

    def get(self, key: tuple[str, str]) -> asyncio.Lock:
        locks = self._loops.setdefault(asyncio.get_running_loop(), {})
        return locks.setdefault(key, asyncio.Lock())


class _AsyncRun:
    """An attempt under way: an exchange's actions, carried out."""

    def __init__(self, router: AsyncRouter, prepared: Prepared, begin: Begin) -> None:
        self._router = router
        self._begin = begin
        self._candidate = begin.candidate
        self._prepared = prepared
        self._exchange: AsyncExchange | None = None
        provider = begin.candidate.registered.provider
        if provider.does_io and provider.create_completion_async is None:
            blocking = Run(router, prepared, begin)
            self.answer, self.notes, self.limit = blocking.answer, blocking.notes, blocking.limit
            self.pieces = self._pump(blocking)
            return
        self.answer = Answer(begin.choices)
        self.notes = Notes()
        stream = prepared.job.stream
        self.limit = Limit(
            prepared.job.policy,
            router.clock(),
            prepared.deadline,
            first_token=stream and not begin.patient,
            idle=stream,
        )
        if begin.continues is not None:
            self.answer.resume(begin.continues)
        self.pieces = self._pieces(self._twin() if provider.does_io else self._wire())

    async def _pieces(self, inner: Pieces) -> Pieces:
        """The pieces of the answer, as they come.

        Raises:
            RouterError: The exchange failed; the error knows where.
        """
        clock, limit, answer = self._router.clock, self.limit, self.answer
        try:
            async for piece in inner:
                yield piece
                now = clock()
                if answer.finished:
                    limit.finish(now)
                elif answer.has_content:
                    limit.alive(now)
        except RouterError as error:
            self.notes.locate(error, self._candidate.registered.name, str(self._candidate.target))
            raise self.notes.complete(error, self._router.time.epoch()) from error.__cause__
        finally:
            await inner.aclose()
            await self._release()

    async def _wire(self) -> Pieces:
        provider = self._candidate.registered.provider
        actions = run(
            provider,
            lambda: provider.create_completion(**arguments_of(self._begin, self._prepared)),
            self.answer,
            self.notes,
            self._prepared.extras,
        )
        try:
            action = next(actions)
            while True:
                if action is PING:
                    self.limit.ping(self._router.clock())
                    action = actions.send(None)
                    continue
                if isinstance(action, str | Chunk):
                    yield action
                    action = actions.send(None)
                    continue
                try:
                    result = await self._perform(action)
                except (Exception, SystemExit) as error:  # noqa: BLE001  # a plugin's function may raise anything
                    action = actions.throw(error)
                else:
                    action = actions.send(result)
        except StopIteration:
            return
        finally:
            actions.close()

    async def _twin(self) -> Pieces:
        """A blocking provider's async generator: it does its own I/O, and yields pieces."""
        provider = self._candidate.registered.provider
        assert provider.create_completion_async is not None
        steps: Any = None
        try:
            steps = provider.create_completion_async(**arguments_of(self._begin, self._prepared))
            while True:
                async with self._limited():
                    piece = await anext(steps)
                if accept(provider, piece, self.answer):
                    yield piece
        except StopAsyncIteration:
            return
        except (Exception, SystemExit) as error:  # whatever a plugin raises is contained
            raise translate(error) from error
        finally:
            if isinstance(steps, AsyncGenerator):
                await steps.aclose()

    async def _pump(self, blocking: Run) -> Pieces:
        """A blocking provider's pieces, pumped by one thread for the whole exchange."""
        pump = Pump(blocking)
        self._router.pool.submit(pump.work)
        try:
            while True:
                try:
                    async with asyncio.timeout(self.limit.until - self._router.clock()):
                        await pump.ready.wait()
                except TimeoutError:
                    error = self.limit.error(self._router.clock())
                    self.notes.locate(
                        error, self._candidate.registered.name, str(self._candidate.target)
                    )
                    raise error from None
                pieces, finished = pump.taken()
                for piece in pieces:
                    yield piece
                if finished:
                    if pump.error is not None:
                        raise pump.error
                    return
        finally:
            blocking.cancel()

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
        now, until = self._router.clock(), self.limit.until
        await self._router.time.sleep_async(max(0.0, min(seconds, until - now)))
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
        return _Within(self.limit, self._router.clock())

    async def _release(self) -> None:
        if not self._prepared.is_ours:
            return
        if self._candidate.max_concurrency is not None:  # first: the wait below may be cancelled
            self._router.state.slots.release(str(self._candidate.target))
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
        self._timeout = asyncio.timeout(limit.until - now)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(self, *exception: Any) -> None:
        try:
            await self._timeout.__aexit__(*exception)
        except TimeoutError:
            raise self._limit.error(time.monotonic()) from None


class _Drive:
    """Carries out what the flow of one call says, and hands over what comes."""

    def __init__(self, router: AsyncRouter, prepared: Prepared) -> None:
        self.prepared = prepared
        self.completion: Completion | None = None
        self._router = router
        self._run: _AsyncRun | None = None
        self._held: list[str | Chunk] = []
        self._event: Event | None = None
        self.typed = False

    async def pieces(self) -> AsyncGenerator[Piece, None]:
        """The pieces to deliver; sets `completion` at the end.

        Raises:
            RouterError: What the flow raises.
        """
        prepared, clock = self.prepared, self._router.clock
        flow = route(prepared.job, prepared.journal, self._router.state, prepared.started)
        try:
            command = next(flow)
            while True:
                if isinstance(command, Deliver):
                    async with aclosing(self._deliver()) as pieces:
                        async for piece in pieces:
                            yield piece
                elif isinstance(command, Announce):
                    yield command.restart
                    self._event = Event(Outcome.WOKE, clock())
                else:
                    self._event = await self._obey(command)
                assert self._event is not None
                command = flow.send(self._event)
        except StopIteration as stop:
            self.completion = completion = prepared.finish(stop.value)
            prepared.report.succeeded(completion, 1000 * (clock() - prepared.started))
        except BaseException as error:
            self._ended(error)
            raise
        finally:
            flow.close()
            if self._run is not None:
                await self._run.pieces.aclose()

    async def _obey(self, command: Command) -> Event:
        clock = self._router.clock
        if isinstance(command, Sleep):
            await self._router.time.sleep_async(max(0.0, command.until - clock()))
            return Event(Outcome.WOKE, clock())
        if isinstance(command, Queue):
            await self._queue(command)
            return Event(Outcome.WOKE, clock())
        assert isinstance(command, Begin)
        self._run = run = _AsyncRun(self._router, self.prepared, command)
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

    async def _queue(self, command: Queue) -> None:
        woken = asyncio.Event()
        loop = asyncio.get_running_loop()

        def wake() -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(woken.set)

        slots = self._router.state.slots
        if slots.wait(command.target, command.limit, wake):
            came = False
            try:
                async with asyncio.timeout(command.until - self._router.clock()):
                    came = await woken.wait()
            except TimeoutError:
                return
            finally:
                if not came:  # even if it was woken: one that is cancelled then wakes the next
                    slots.leave(command.target, wake)

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
            self._event = Event(Outcome.FAILED, self._router.clock(), run, error, self.typed)
        else:
            self._event = Event(Outcome.FINISHED, self._router.clock(), run)

    def _ended(self, error: BaseException) -> None:
        """The call ends without an answer: by an error, or because nobody wants it any more."""
        prepared, now = self.prepared, self._router.clock()
        if not prepared.is_ours:
            return
        if prepared.journal.running:
            prepared.journal.end("cancelled", now, self._run)
        if not isinstance(error, Exception):
            error = Cancelled("closed by the caller")
        prepared.report.failed(prepared.journal.trace(), error, 1000 * (now - prepared.started))


class AsyncStream:
    """An answer that is still coming; `Stream` for a coroutine.

    Iterating gives its text, piece by piece; `chunks()` gives the typed pieces. Also an async
    context manager. Leaving it, closing it, or dropping it ends the request.
    """

    def __init__(self, drive: _Drive) -> None:
        self._drive = drive
        self._first: list[Piece] = []
        self._pieces = drive.pieces()
        self._reader: asyncio.Task[Any] | None = None
        self._closed = False

    async def _begin(self) -> None:
        """Wait for the first piece, so that what can fail raises at the call."""
        async for piece in self._pieces:
            self._first.append(piece)
            return

    async def _next(self) -> Piece:
        if self._first:
            return self._first.pop()
        self._reader = asyncio.current_task()
        try:
            return await anext(self._pieces)
        except asyncio.CancelledError:
            if not self._closed or self._reader is None or self._reader.uncancel() > 0:
                raise
            raise Cancelled("closed by the caller") from None
        except StopAsyncIteration:
            if self._drive.completion is None:  # a part must not read like the whole
                raise Cancelled("the stream is over, without a whole answer") from None
            raise
        finally:
            self._reader = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        while True:
            piece = await self._next()
            if type(piece) is str:
                return piece
            if type(piece) is Chunk and piece.text and piece.index == 0:
                return piece.text

    async def chunks(self) -> AsyncIterator[Chunk | Restart]:
        """The pieces with all that they hold: text, reasoning, tool calls, usage."""
        self._drive.typed = True
        while True:
            try:
                piece = await self._next()
            except StopAsyncIteration:
                return
            yield Chunk(text=piece) if isinstance(piece, str) else piece

    @property
    def completion(self) -> Completion:
        """The whole answer, once the stream is at its end.

        Raises:
            ConfigError: It is not, or it broke off.
        """
        if self._drive.completion is None:
            raise ConfigError("the completion is there when the stream has come to its end")
        return self._drive.completion

    @property
    def trace(self) -> Trace:
        """The attempts so far."""
        return self._drive.prepared.journal.trace()

    async def close(self) -> None:
        """End the request and free its connection; from any task. Does nothing at the end.

        A task that waits for the next piece is given `Cancelled`.
        """
        if self._reader is None:
            await self._pieces.aclose()
        elif not self._closed:
            self._closed = True
            self._reader.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
