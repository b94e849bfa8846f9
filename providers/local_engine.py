"""llama.cpp with one file of weights: loaded in silence, asked within its slots, let go of.

xllamacpp's `Server` takes a chat completion of the OpenAI API as JSON and calls back with each
chunk of the answer, in the thread that asked, until the callback returns true. What it does beyond
that is kept in bounds here:

- It listens for HTTP, which nobody here wants. Given a Unix socket whose file is removed at once,
  it cannot be reached at all; where that is not to be had, a random key guards its port.
- It logs to file descriptor 2: see `load`.
- It holds the interpreter's lock while it loads weights and while it lets go of them, so that no
  other thread runs: a quarter of a second for SmolLM2, longer for larger files.
- Its threads do not survive a fork, and a child that used it would hang: an error here.
"""

from __future__ import annotations

import ctypes
import logging
import os
import re
import secrets
import socket
import tempfile
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from msgspec import Struct

from router import (
    BadRequest,
    Cancelled,
    ConfigError,
    Overloaded,
    PluginError,
    RouterError,
    UpstreamError,
)

logger = logging.getLogger("router.local")

PROMPT_BATCH = 128
"""Tokens of the prompt between two calls back, where an answer can be stopped. llama.cpp's own 2048
keep a slot for ten seconds and more after its caller has gone, and are no faster on a CPU."""

SILENT, ERRORS, EVERYTHING = -1, 1, 3
"""llama.cpp's levels of verbosity."""

LOG_LINE = re.compile(r"\d+\.\d\d\.\d{3}\.\d{3} (?P<level>[A-Z]) (?P<text>.*)")

UNIX_ADDRESS = 103
"""Bytes that the path of a Unix socket may have; macOS's limit, Linux has four more."""

STDERR = threading.Lock()
"""Held by who redirects file descriptor 2: there is one for the whole process."""


class Shape(Struct, frozen=True, kw_only=True):
    """How weights are loaded: tokens of a slot's window, slots, threads."""

    window: int
    slots: int
    threads: int | None = None


class Engine:
    """llama.cpp with weights loaded: as many exchanges at once as it has slots."""

    def __init__(self, server: Any, slots: int, max_wait: float) -> None:
        self.closed = False
        self._server = server
        self._slots = slots
        self._max_wait = max_wait
        self._running = 0
        self._changed = threading.Condition()
        self._process = os.getpid()

    def exchange(self, body: bytes) -> Generator[bytes, None, None]:
        """The calls back for one request, each a JSON object.

        They come in a thread of their own and wait in a queue that has no bound but the answer's:
        llama.cpp computes on whether they are taken or not. Closing the generator ends the
        computation at the next of them, and returns when the thread has ended.

        Raises:
            RouterError: As `Local.create_completion`.
        """
        self._enter()
        calls: SimpleQueue[bytes | Exception | None] = SimpleQueue()
        unwanted = threading.Event()
        worker = threading.Thread(
            target=self._compute, args=(body, calls, unwanted), name="router-local"
        )
        try:
            worker.start()
        except RuntimeError:  # no more threads in this process
            self._leave()
            raise
        try:
            while (call := calls.get()) is not None:
                if isinstance(call, Exception):
                    raise _refused(call) from call
                yield call
                self._check_process()
        finally:
            unwanted.set()
            worker.join()

    def close(self) -> None:
        """End the exchanges under way, and free the weights."""
        if os.getpid() != self._process:
            return  # freeing them joins threads that this process does not have
        with self._changed:
            self.closed = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._running == 0)
            self._server = None

    def _compute(
        self, body: bytes, calls: SimpleQueue[bytes | Exception | None], unwanted: threading.Event
    ) -> None:
        main = threading.main_thread()

        def called_back(call: bytes) -> bool:
            if unwanted.is_set() or self.closed or not main.is_alive():
                return True
            calls.put(call)
            return False

        try:
            self._server.handle_chat_completions(body, called_back)
        except Exception as error:  # noqa: BLE001  # raised again where the calls are taken
            calls.put(error)
        finally:
            self._leave()
            calls.put(None)

    def _enter(self) -> None:
        """Take a slot."""
        self._check_process()
        with self._changed:
            free = self._changed.wait_for(
                lambda: self.closed or self._running < self._slots, self._max_wait
            )
            if self.closed:
                raise Cancelled("the provider was closed")
            if not free:
                raise Overloaded(
                    f"none of {self._slots} slots became free within {self._max_wait:g} s",
                    code="local",
                )
            self._running += 1

    def _leave(self) -> None:
        with self._changed:
            self._running -= 1
            self._changed.notify_all()

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise ConfigError(
                "the weights were loaded before this process was forked, and their threads are "
                "not in it: use them after the fork only, or start processes by spawning"
            )


def _refused(error: Exception) -> RouterError:
    """What xllamacpp raises for a request that it does not take, or cannot."""
    kind = BadRequest if isinstance(error, ValueError) else UpstreamError
    return kind(f"llama.cpp: {error}")


def load(path: Path, shape: Shape) -> Any:
    """Load weights; the `Server` of xllamacpp that holds them.

    llama.cpp is silent. Only to learn why that has failed, or when this module's log is at debug
    level, it is started with its log on, and file descriptor 2 points to a file meanwhile: nobody
    else is kept from writing there, since no other thread of the interpreter runs.

    Raises:
        PluginError: xllamacpp is not installed.
        UpstreamError: The file cannot be loaded; says why.
    """
    try:
        import xllamacpp
    except ModuleNotFoundError as error:
        raise PluginError(
            f'{error.name} is not installed: pip install "pluggable-router[local]"'
        ) from None

    def start(file: Path, verbosity: int) -> Any:
        with tempfile.TemporaryDirectory(prefix="router-") as folder:
            parameters = xllamacpp.CommonParams()
            set_up(parameters, file, shape, Path(folder))
            parameters.verbosity = verbosity
            return xllamacpp.Server(parameters)

    debug = logger.isEnabledFor(logging.DEBUG)
    if not debug:
        with suppress(RuntimeError):
            return start(path, SILENT)
    server = None
    with captured_stderr() as lines:
        try:
            server = start(path, EVERYTHING if debug else ERRORS)
        except RuntimeError:
            pass  # the log tells more than this error
        finally:
            silence(xllamacpp)
    for line in lines:
        logger.debug("llama.cpp: %s", line)
    if server is None:
        raise UpstreamError(f"{path} cannot be loaded: {reason(lines)}")
    return server


def set_up(parameters: Any, path: Path, shape: Shape, folder: Path) -> None:
    """Fill in the parameters of a `Server`."""
    parameters.model.path = str(path)
    parameters.n_parallel = shape.slots
    parameters.n_ctx = shape.window * shape.slots  # which it divides among the slots
    parameters.n_batch = PROMPT_BATCH
    parameters.cpuparams.n_threads = shape.threads or half_of_the_cores()
    parameters.fit_params = False  # loads the weights twice
    parameters.warmup = False  # would compute while no other thread can run
    parameters.cache_ram_mib = 0  # old prompts, up to 8 GiB of them
    parameters.api_keys = [secrets.token_hex(32)]
    parameters.n_threads_http = 1
    parameters.ui = parameters.endpoint_slots = False
    address = str(folder / "llama.sock")
    if hasattr(socket, "AF_UNIX") and len(os.fsencode(address)) <= UNIX_ADDRESS:
        parameters.hostnames = [address]


def half_of_the_cores() -> int:
    """Threads that compute, unless the application says how many.

    They wait for each other in loops, several times a token, so that one that has lost its core to
    someone else holds up all: with two on two busy cores, an answer of four seconds took 200.
    """
    with suppress(AttributeError):  # not known on macOS and Windows
        return max(1, len(os.sched_getaffinity(0)) // 2)
    return max(1, (os.cpu_count() or 1) // 2)


def silence(xllamacpp: Any) -> None:
    """Wait for the thread that writes llama.cpp's log, and set its level, which is the process's.

    Neither has a name in Python. In C++ they have these, in the version that is pinned.
    """
    library = ctypes.PyDLL(xllamacpp.xllamacpp.__file__)  # keeps the interpreter's lock
    with suppress(AttributeError):  # on Windows, where names are made otherwise
        log = library["_Z15common_log_mainv"]
        log.restype = ctypes.c_void_p
        library["_Z16common_log_flushP10common_log"](ctypes.c_void_p(log()))
        library["_Z30common_log_set_verbosity_tholdi"](SILENT)


@contextmanager
def captured_stderr() -> Iterator[list[str]]:
    """The lines that are written to file descriptor 2, in the list when the block has ended."""
    lines: list[str] = []
    with STDERR, tempfile.TemporaryFile() as file:
        kept = os.dup(2)  # never fails: where 2 was closed, it is the file's own
        try:
            os.dup2(file.fileno(), 2)
            yield lines
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        file.seek(0)
        lines += file.read().decode("utf-8", "replace").splitlines()


def reason(lines: list[str]) -> str:
    """The first error of llama.cpp's log, which is the nearest to the cause."""
    found = (LOG_LINE.fullmatch(line) for line in lines)
    errors = [match["text"] for match in found if match and match["level"] == "E"]
    return errors[0] if errors else "llama.cpp does not say why"
