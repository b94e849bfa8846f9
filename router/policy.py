"""How far the router goes for a call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import msgspec
from msgspec import Struct

from router.errors import ConfigError

OnInterrupt = Literal["raise", "continue", "restart", "buffer"]


_OR_NONE = ("deadline", "max_cost")
_NUMBERS = (
    *_OR_NONE,
    *("attempts", "retries", "backoff_cap", "longest_wait"),
    *("connect", "first_token", "idle", "total", "queue"),
)


class Policy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The limits of a call; all times in seconds.

    With the defaults, a call to one target that always fails makes at most three attempts, and
    waits between them for at most 0.5 + 1 = 1.5 s (2 + 1 = 3 s where it is overloaded), unless
    the server says for how long; then for at most 60 s each.

    Attributes:
        deadline: Over the whole call: all attempts, the waits between them, the stream. `None`
            for none. 600 s is what the providers' own clients allow one request.
        attempts: The most attempts of a call, over all its targets.
        retries: The most further attempts at one target, made only when no other target is left
            (or at once, where an idle connection turned out to be stale).
        backoff_cap: The longest back-off that is not asked for by the server. Waits are drawn
            evenly from zero to 0.5 s, 1 s, 2 s, ... up to this, as the providers' clients cap it.
        longest_wait: The longest wait that a server may ask for, or a cooldown may impose,
            within a call. A longer one is a reason to fail, and cools the target all the same.
        connect: For a connection, its TLS handshake included. 5 s, as the same clients have it.
        first_token: From the start of a streamed attempt to its first content. The last target
            that is left is given what remains of the other limits instead.
        idle: Between two pieces of a stream.
        total: Over one attempt.
        queue: For a free slot at a target that is at its limit of concurrent attempts.
        drop_tunings: Whether a tuning parameter that a target lacks is dropped (and reported),
            or makes the target be passed over.
        on_interrupt: What happens to a stream that breaks after its first delivered content, in
            order of preference. `raise`: StreamInterrupted, with the partial text. `continue`:
            the next target whose model accepts a prefill goes on where it broke. `restart`: the
            next target answers from the beginning, after a `Restart` piece, which only readers
            of `chunks()` get. `buffer`: nothing is delivered before the whole is there.
        on_content_filter: Whether a refusal of the content is raised, or the next target asked.
        idempotency: `none` for calls with side effects at the provider: when it is unknown
            whether an attempt was carried out, nothing is tried again, here or elsewhere.
        max_cost: What an attempt may cost at the most, in US dollars, by the price of its model,
            the length of the prompt and the longest answer that it may give.
        only: Providers (`openai`) or targets (`openai/gpt-4o`) that alone may see the prompt.
        never: Providers or targets that must not.
        require: Tags that a target must carry.
    """

    deadline: float | None = 600.0
    attempts: int = 6
    retries: int = 2
    backoff_cap: float = 8.0
    longest_wait: float = 60.0
    connect: float = 5.0
    first_token: float = 60.0
    idle: float = 60.0
    total: float = 600.0
    queue: float = 10.0
    drop_tunings: bool = True
    on_interrupt: OnInterrupt | tuple[OnInterrupt, ...] = "raise"
    on_content_filter: Literal["raise", "next"] = "raise"
    idempotency: Literal["safe", "none"] = "safe"
    max_cost: float | None = None
    only: tuple[str, ...] | None = None
    never: tuple[str, ...] = ()
    require: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in _NUMBERS:
            value = getattr(self, name)
            if not isinstance(value, int | float) and (name not in _OR_NONE or value is not None):
                raise ConfigError(f"policy: {name} is a number, not {type(value).__name__}")
        for name in ("connect", "first_token", "idle", "total", "deadline"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ConfigError(f"policy: {name} is a positive number of seconds, not {value}")
        for name in ("backoff_cap", "longest_wait", "queue"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise ConfigError(f"policy: {name} is a number of seconds, not {value}")
        if self.max_cost is not None and not self.max_cost >= 0:
            raise ConfigError(f"policy: max_cost is in US dollars, not {self.max_cost}")
        if self.attempts < 1 or self.retries < 0:
            raise ConfigError("policy: attempts is at least 1, and retries at least 0")

    @property
    def interrupts(self) -> tuple[OnInterrupt, ...]:
        """`on_interrupt`, as several."""
        given = self.on_interrupt
        return (given,) if isinstance(given, str) else given

    @property
    def constrained(self) -> tuple[str, ...]:
        """The providers and targets that `only` and `never` name."""
        return (*(self.only or ()), *self.never)

    def with_changes(self, changes: Policy | Mapping[str, Any] | None) -> Policy:
        """This policy with some of its fields changed, or another one in its place.

        The constraints of `only`, `never` and `require` are the exception: they add up, so that
        no call goes where its route's or its router's policy forbids it.

        Raises:
            ConfigError: A field is unknown or has a value that it cannot have.
        """
        if changes is None:
            return self
        if isinstance(changes, Policy):  # its types were not looked at when it was made
            fields = msgspec.structs.asdict(changes)
        elif isinstance(changes, Mapping):
            fields = {**msgspec.structs.asdict(self), **changes}
        else:
            raise ConfigError(f"policy is a Policy or a mapping, not {type(changes).__name__}")
        try:
            changes = msgspec.convert(fields, Policy)
        except msgspec.ValidationError as error:
            raise ConfigError(f"policy: {error}") from None
        if not (self.only is not None or self.never or self.require):
            return changes
        return msgspec.structs.replace(
            changes,
            only=_both(self.only, changes.only),
            never=tuple(dict.fromkeys((*self.never, *changes.never))),
            require=tuple(dict.fromkeys((*self.require, *changes.require))),
        )

    def forbids(self, names: Iterable[str], tags: tuple[str, ...]) -> str | None:
        """Why a prompt must not go to a target, or `None` when it may.

        Args:
            names: All that mean it: its provider's, its own, those by its model's aliases.
            tags: What it carries.
        """
        named = set(names)
        if self.only is not None and not named & set(self.only):
            return f"not among only={', '.join(self.only) or 'nothing'}"
        if found := named & set(self.never):
            return f"never={', '.join(sorted(found))}"
        if missing := [tag for tag in self.require if tag not in tags]:
            return f"lacks the tag {', '.join(missing)}"
        return None


def _both(first: tuple[str, ...] | None, second: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """What two `only` lists allow together; a target is within its provider's name."""
    if first is None or second is None:
        return second if first is None else first
    within = [name for name in first if name in second or name.partition("/")[0] in second]
    within += [name for name in second if name.partition("/")[0] in first]
    return tuple(dict.fromkeys(within))


def backoff(retry: int, base: float, cap: float, draw: Callable[[], float]) -> float:
    """Seconds before a retry: full jitter, doubling, capped; never overflows.

    Args:
        retry: 0 for the first.
        base: The most that the first waits, in seconds.
        cap: The most that any waits.
        draw: Gives a number in [0, 1).
    """
    return draw() * min(cap, base * 2.0 ** min(retry, 32))
