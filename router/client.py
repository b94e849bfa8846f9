"""The async router: the same calls, awaited, over aiohttp.

The routing generator and the exchanges are those of `Router`; only what waits is different.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal, Self, overload

from router.base import BaseRouter, Messages, ModelArgument, PolicyArgument
from router.cleanup import Cleanups
from router.driver.asynchronous import AsyncDrive
from router.driver.base import Piece
from router.errors import Cancelled, ConfigError
from router.shared import SharedStore
from router.stream import BaseStream
from router.types import Chunk, Completion, Restart

if TYPE_CHECKING:
    from router.chat import AsyncChat
    from router.transport.asynchronous import AsyncTransport
    from router.transport.blocking import BlockingTransport

BLOCKING_THREADS = 32
"""How many exchanges of blocking providers run at once; the next ones wait for a thread."""


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
        drive = AsyncDrive(self, prepared)
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


class AsyncStream(BaseStream):
    """An answer that is still coming; `Stream` for a coroutine.

    Iterating gives its text, piece by piece; `chunks()` gives the typed pieces. Also an async
    context manager. Leaving it, closing it, or dropping it ends the request.
    """

    _drive: AsyncDrive

    def __init__(self, drive: AsyncDrive) -> None:
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
            self._check_whole()
            raise
        except RuntimeError:  # another task is in the generator, closing it
            if not self._closed:
                raise
            raise Cancelled("closed by the caller") from None
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

    async def chunks(self, *, restarts: bool = True) -> AsyncIterator[Chunk | Restart]:
        """The pieces with all that they hold: text, reasoning, tool calls, usage.

        Args:
            restarts: Whether the caller heeds a `Restart`, where the policy allows one.
        """
        self._drive.typed = restarts
        while True:
            try:
                piece = await self._next()
            except StopAsyncIteration:
                return
            yield Chunk(text=piece) if isinstance(piece, str) else piece

    async def close(self) -> None:
        """End the request and free its connection; from any task. Does nothing at the end.

        A task that waits for the next piece is given `Cancelled`.
        """
        if self._closed:
            return
        self._closed = True
        if self._reader is None:
            await self._pieces.aclose()
        else:
            self._reader.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
