"""What is to be sent after an exchange has ended: in the background, and not for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from router.contract import HttpRequest
from router.events import CLEANUP_FAILED, Log
from router.limit import Limit
from router.policy import Policy

if TYPE_CHECKING:
    from router.transport.blocking import BlockingTransport

CLEANUP_POLICY = Policy(connect=5.0, total=10.0)
"""The limits of such a request, in seconds: outside the call's deadline and budget."""

THREADS = 2
"""Enough for what is rare and waits for nobody. They are ended with the interpreter, which waits
for what they have to do: the async router uses them too, since an event loop does not."""


class Cleanups:
    """Sends the requests that exchanges left behind.

    Args:
        transport: Gives the transport, when it is first needed.
        log: Where a failure is told; nobody else hears of it.
    """

    def __init__(self, transport: Callable[[], BlockingTransport], log: Log) -> None:
        self._transport = transport
        self._log = log
        # It can be taken again: a stream that is collected in here leaves cleanups too.
        self._lock = threading.RLock()
        self._pool: ThreadPoolExecutor | None = None

    def add(self, functions: Iterable[Callable[[], HttpRequest | None]]) -> None:
        """Have functions called, and the requests that they return sent, soon."""
        for function in functions:
            try:
                with self._lock:
                    if self._pool is None:
                        self._pool = ThreadPoolExecutor(THREADS, "router-cleanup")
                    self._pool.submit(self._send, function)
            except RuntimeError as error:  # no thread can be begun, or the interpreter ends
                self._log.info(CLEANUP_FAILED, error_type=type(error).__name__)

    def flush(self) -> None:
        """Wait until all of them are done."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=True)

    def _send(self, function: Callable[[], HttpRequest | None]) -> None:
        from router.transport.sockets import Exchange

        try:
            request = function()
            if request is None:
                return
            limit = Limit(CLEANUP_POLICY, time.monotonic(), None, first_token=False, idle=False)
            response = self._transport().send(request, Exchange(limit))
            if response.status >= 400:
                self._log.info(CLEANUP_FAILED, status=response.status)
        except Exception as error:  # noqa: BLE001  # nobody waits for it
            self._log.info(CLEANUP_FAILED, error_type=type(error).__name__)
