"""What the fault server shows to whom, and what it has seen."""

from __future__ import annotations

import functools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple
from urllib.parse import unquote

from router.testing.catalog import Case, Fault
from router.testing.plays import Play, Scene, Step, misused
from router.testing.wire import Answer, Connection, Request

Shown = Fault | Case | Play
Pieces = Sequence[str] | Callable[[Request], Sequence[str]]


class Act(NamedTuple):
    """A play to show, the case that it is given, and its text in the record."""

    text: str
    play: Play
    case: Case

    @classmethod
    def of(cls, shown: Shown) -> Act:
        """The act of a fault, or of a play of the user's own.

        Raises:
            ValueError: It is a fault of connecting, which no request can be shown.
        """
        case = shown.case({}) if isinstance(shown, Fault) else shown
        if not isinstance(case, Case):
            return cls(getattr(case, "__name__", type(case).__name__), case, Fault.OK())
        if case.fault.play is None:
            raise ValueError(f"{case.text} is a fault of connecting: use FaultServer.url_for")
        return cls(case.text, case.fault.play, case)

    @classmethod
    def misuse(cls, why: str) -> Act:
        """The act that says what is wrong with the choice."""
        return cls("misused", lambda scene: [misused(why)], Fault.OK())


class Stage:
    """The state of a server, which its connections and its user's threads share.

    Args:
        default: What a request is shown that chose nothing, when no script is left.
        pieces: The pieces of the good answer, or a function that gives them for a request.
        keep: How many requests are kept.

    Attributes:
        changed: Held wherever something changes, and notified.
        elsewhere: The port that redirects point to.

    Raises:
        ValueError: The default is a fault of connecting.
    """

    def __init__(self, default: Shown, pieces: Pieces, keep: int) -> None:
        self.changed = threading.Condition()
        self.elsewhere = 0
        self.opened = 0
        self.closed = 0
        self.requests: deque[Request] = deque(maxlen=keep)
        self.followed: deque[Request] = deque(maxlen=keep)
        self._default = Act.of(default)
        self._script: deque[Act] = deque()
        self._pieces = pieces
        self._fixed_answer = functools.lru_cache(maxsize=64)(self._new_answer)

    def script(self, shown: Iterable[Shown]) -> None:
        """Says what the next requests are shown.

        Raises:
            ValueError: One is a fault of connecting.
        """
        acts = deque(Act.of(each) for each in shown)
        with self.changed:
            self._script = acts

    def connected(self, port: int) -> Connection:
        """Takes note of a new connection."""
        with self.changed:
            self.opened += 1
            self.changed.notify_all()
            return Connection(self.opened, port, time.monotonic())

    def left(self, connection: Connection) -> None:
        """Takes note of a client's closing its connection."""
        with self.changed:
            connection.closed_at = time.monotonic()
            self.changed.notify_all()

    def disconnected(self) -> None:
        """Takes note of the end of a connection, whoever closed it."""
        with self.changed:
            self.closed += 1
            self.changed.notify_all()

    def play(self, request: Request) -> Iterable[Step]:
        """Takes note of a request, and gives the steps of its answer."""
        followed = request.connection.port == self.elsewhere
        with self.changed:
            act = Act.of(Fault.OK) if followed else self._choose(request)
            request.fault = act.text
            (self.followed if followed else self.requests).append(request)
            self.changed.notify_all()
        elsewhere = f"http://localhost:{self.elsewhere}"
        return act.play(Scene(request, self._answer(request), act.case, elsewhere))

    def _choose(self, request: Request) -> Act:
        first = unquote(request.path).lstrip("/").partition("/")[0]
        try:
            case = Case.parse(first) or Case.parse(request.model)
            if case is not None:
                return Act.of(case)
        except (TypeError, ValueError) as error:
            return Act.misuse(str(error))
        return self._script.popleft() if self._script else self._default

    def _answer(self, request: Request) -> Answer:
        if callable(self._pieces):
            return Answer.of(request.model, self._pieces(request), usage=request.usage)
        return self._fixed_answer(request.model, request.usage)

    def _new_answer(self, model: str, usage: bool) -> Answer:
        pieces = () if callable(self._pieces) else self._pieces
        return Answer.of(model, pieces, usage=usage)
