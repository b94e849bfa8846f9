"""What the router remembers of targets, hosts and keys: breakers and cooldowns.

Two kinds of cooling. A *commanded* one was asked for (Retry-After, an exhausted quota, a refused
key) and is always obeyed. An *inferred* one is the breaker's conclusion from failures, and may be
wrong: where nothing else is left, the target is tried all the same (the panic rule).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Literal, TypeAlias

from msgspec import Struct

from router.errors import RouterError
from router.rules import Rule, Scope

CONSECUTIVE = 5
"""Failures in a row that open a breaker, as in Envoy and Finagle."""

RATE = 0.5
"""The share of failures that opens it too: between Finagle's fifth and Envoy's 85 %."""

RATE_MINIMUM = 20
"""Outcomes that it takes to speak of a share."""

RATE_WINDOW = 30.0
"""Seconds over which the share is taken, as in Finagle."""

EJECTION = 5.0
"""Seconds of the first ejection; each further one lasts twice as long, as in Finagle."""

EJECTION_CAP = 300.0
"""The longest ejection, as in Envoy and Finagle; after as long in health it begins anew."""

SWEEP = 1000
"""Breakers that are kept without looking for those that matter no more; at twice as many as were
left, they are looked for again."""

Key: TypeAlias = tuple[str, str]
State = Literal["closed", "open", "half_open"]


class Place(Struct, frozen=True):
    """Where a target's attempts go and with which key, as far as it is known."""

    host: str | None = None
    key: str | None = None


class Subject(Struct, frozen=True, kw_only=True):
    """A target, as health sees it."""

    target: str
    provider: str
    quota: str | None = None


class Cooling(Struct, frozen=True, kw_only=True):
    """Why a target is not to be asked: until when, and whether that was asked for."""

    until: float
    commanded: bool
    reason: str


class HealthRow(Struct, frozen=True, kw_only=True):
    """One line of `Router.health()`; what is healthy and never failed has none.

    Attributes:
        scope: `target`, `quota`, `host` or `key`.
        name: Its name; a key shows as the first digits of its hash.
        state: The breaker's: `open` is ejected, `half_open` waits for its one probe's outcome.
        cooling_s: Seconds until it is asked again; 0 when it may be now.
        commanded: Whether that was asked for (and not the breaker's conclusion).
        consecutive_failures: In a row.
        reason: The last error's name.
    """

    scope: str
    name: str
    state: State
    cooling_s: float
    commanded: bool
    consecutive_failures: int
    reason: str


class _Breaker:
    """One target, host or key."""

    __slots__ = (
        "commanded_until",
        "consecutive",
        "ejected_until",
        "ejections",
        "open_until",
        "outcomes",
        "prober",
        "reason",
    )

    def __init__(self) -> None:
        self.consecutive = 0
        self.outcomes: deque[tuple[float, bool]] = deque(maxlen=200)
        self.open_until: float | None = None
        self.commanded_until = 0.0
        self.ejected_until = 0.0
        self.ejections = 0
        self.prober: Subject | None = None
        self.reason = ""

    def state(self, now: float) -> State:
        if self.open_until is None:
            return "closed"
        return "open" if now < self.open_until else "half_open"

    def cooling(self, now: float) -> Cooling | None:
        if now < self.commanded_until:
            return Cooling(until=self.commanded_until, commanded=True, reason=self.reason)
        if self.open_until is None or (now >= self.open_until and self.prober is None):
            return None
        return Cooling(until=max(self.open_until, now), commanded=False, reason=self.reason)

    def command(self, until: float, reason: str) -> None:
        self.commanded_until = max(self.commanded_until, until)
        self.reason = reason

    def fail(self, now: float, reason: str, draw: Callable[[], float]) -> None:
        state = self.state(now)
        self.reason = reason
        self.consecutive += 1
        self.outcomes.append((now, False))
        if state == "open":
            return
        if state == "half_open" or self.consecutive >= CONSECUTIVE or self._rate_is_bad(now):
            self._eject(now, draw)

    def admit(self) -> None:
        self.open_until = self.prober = None
        self.outcomes.clear()
        self.consecutive = max(self.consecutive, CONSECUTIVE - 1)

    def succeed(self, now: float) -> None:
        self.consecutive = 0
        if self.open_until is not None:
            self.open_until = None
            self.outcomes.clear()
        self.outcomes.append((now, True))

    def is_forgettable(self, now: float) -> bool:
        """Whether nothing that it remembers matters any more."""
        return (
            self.open_until is None
            and now >= self.commanded_until + EJECTION_CAP
            and all(ok or now - at > EJECTION_CAP for at, ok in self.outcomes)
        )

    def _eject(self, now: float, draw: Callable[[], float]) -> None:
        if now - self.ejected_until > EJECTION_CAP:
            self.ejections = 0
        self.ejections += 1
        seconds = min(EJECTION_CAP, EJECTION * 2.0 ** min(self.ejections - 1, 16))
        # Half of it is drawn, so that the routers of a fleet do not probe all at once.
        until = now + seconds * (0.5 + 0.5 * draw())
        self.open_until = self.ejected_until = max(self.ejected_until, until)

    def _rate_is_bad(self, now: float) -> bool:
        while self.outcomes and now - self.outcomes[0][0] > RATE_WINDOW:
            self.outcomes.popleft()
        failures = sum(not ok for _, ok in self.outcomes)
        return len(self.outcomes) >= RATE_MINIMUM and failures >= RATE * len(self.outcomes)


class Health:
    """The breakers of one router; safe under threads.

    Args:
        draw: Gives a number in [0, 1), for jitter.
    """

    def __init__(self, draw: Callable[[], float]) -> None:
        self._draw = draw
        # It can be taken again: a stream that is collected in here ends its probe.
        self._lock = threading.RLock()
        self._breakers: dict[Key, _Breaker] = {}
        self._places: dict[str, Place] = {}  # of providers, and of targets that differ from them
        self._sweep_at = SWEEP

    def cooling(self, subject: Subject, now: float) -> Cooling | None:
        """Why a target is not to be asked now, or `None` when it may be.

        Of several reasons, a commanded one, then the longest.
        """
        if not self._breakers:
            return None
        with self._lock:
            found = [
                cooling
                for breaker in self._of(subject)
                if (cooling := breaker.cooling(now)) is not None
            ]
        return max(found, key=lambda each: (each.commanded, each.until), default=None)

    def is_failing(self, subject: Subject) -> bool:
        """Whether the last outcome at the target, its host or its key was a failure."""
        with self._lock:
            return any(breaker.consecutive for breaker in self._of(subject))

    def begin(self, subject: Subject, now: float, *, forced: bool = False) -> bool:
        """An attempt is about to be sent; it is the probe of whatever is half open.

        Args:
            subject: Its target; this very object stands for the attempt until it has ended.
            now: Seconds of the monotonic clock.
            forced: Whether it is sent even though the target is ejected, or another one is the
                probe; a commanded cooldown is obeyed all the same.

        Returns:
            Whether it may be sent: meanwhile the target may cool, or have its one probe.
        """
        if not self._breakers:
            return True
        with self._lock:
            breakers = self._of(subject)
            found = [cooling for each in breakers if (cooling := each.cooling(now)) is not None]
            if any(cooling.commanded or not forced for cooling in found):
                return False
            for breaker in breakers:
                if breaker.state(now) == "half_open":
                    breaker.prober = breaker.prober or subject
        return True

    def learn(self, subject: Subject, host: str | None, key: str | None) -> None:
        """Remember where the attempts of a target go; until it was asked, its provider's stands."""
        place = Place(host, key)
        if place != Place() and place != self._place(subject):
            known = subject.provider in self._places
            self._places[subject.target if known else subject.provider] = place

    def answers(self, subject: Subject) -> None:
        """An attempt has its first content: as a probe it has told enough to let others in.

        Whether it was a success only its end tells: until then one more failure ejects again.
        """
        if not self._breakers:
            return
        with self._lock:
            for breaker in self._breakers.values():
                if breaker.prober is subject:
                    breaker.admit()

    def succeed(self, subject: Subject, now: float) -> None:
        """An attempt brought an answer."""
        if not self._breakers:
            return
        with self._lock:
            self._end_probe(subject)
            for key in self._keys(subject):
                if (breaker := self._breakers.get(key)) is None:
                    continue
                breaker.succeed(now)
                if breaker.is_forgettable(now):
                    del self._breakers[key]

    def fail(self, subject: Subject, error: RouterError, rule: Rule, now: float) -> None:
        """An attempt failed; what cools, and for how long, is the rule's to say."""
        with self._lock:
            self._end_probe(subject)
            key = self._key(subject, rule.cools)
            if key is None:
                return
            self._sweep(now)
            breaker = self._breakers.setdefault(key, _Breaker())
            reason = type(error).__name__
            seconds = rule.seconds if error.retry_after is None else error.retry_after
            if seconds is not None:
                breaker.command(now + seconds, reason)
            if rule.seconds is None:
                breaker.fail(now, reason, self._draw)

    def release(self, subject: Subject) -> None:
        """An attempt ended without telling anything of its target: the caller's own mistake."""
        with self._lock:
            self._end_probe(subject)

    def reset(self, name: str | None = None) -> None:
        """Forget all, or what is known under a name (a target, a host, a key's hash)."""
        with self._lock:
            for key in [key for key in self._breakers if name is None or key[1] == name]:
                del self._breakers[key]

    def rows(self, now: float) -> list[HealthRow]:
        """What is remembered, sorted."""
        with self._lock:
            return [self._row(key, self._breakers[key], now) for key in sorted(self._breakers)]

    def _row(self, key: Key, breaker: _Breaker, now: float) -> HealthRow:
        cooling = breaker.cooling(now)
        return HealthRow(
            scope=key[0],
            name=key[1],
            state=breaker.state(now),
            cooling_s=max(0.0, cooling.until - now) if cooling else 0.0,
            commanded=cooling is not None and cooling.commanded,
            consecutive_failures=breaker.consecutive,
            reason=breaker.reason,
        )

    def _sweep(self, now: float) -> None:
        """Forget what matters no more: anything may be asked for by a name that nobody serves."""
        if len(self._breakers) < self._sweep_at:
            return
        for key in [key for key, each in self._breakers.items() if each.is_forgettable(now)]:
            del self._breakers[key]
        self._sweep_at = max(SWEEP, 2 * len(self._breakers))

    def _end_probe(self, subject: Subject) -> None:
        for breaker in self._breakers.values():  # not those of its place, which may have changed
            if breaker.prober is subject:
                breaker.prober = None

    def _place(self, subject: Subject) -> Place:
        own = self._places.get(subject.target)
        return own or self._places.get(subject.provider) or Place()

    def _of(self, subject: Subject) -> list[_Breaker]:
        if not self._breakers:
            return []
        return [self._breakers[key] for key in self._keys(subject) if key in self._breakers]

    def _keys(self, subject: Subject) -> Iterable[Key]:
        scopes: tuple[Scope, ...] = ("target", "quota", "host", "key")
        return {key for scope in scopes if (key := self._key(subject, scope)) is not None}

    def _key(self, subject: Subject, scope: Scope) -> Key | None:
        """The breaker that a scope means for a target; the nearest one where it is unknown."""
        place = self._place(subject)
        match scope:
            case "nothing":
                return None
            case "quota" if subject.quota is not None:
                return ("quota", subject.quota)
            case "host" if place.host is not None:
                return ("host", place.host)
            case "key" if place.key is not None:
                return ("key", f"{subject.provider}:{place.key}")
        return ("target", subject.target)
