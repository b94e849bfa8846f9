"""The families of Claude models: how each is made to think, and what it refuses.

By Anthropic's guides to thinking and to effort, and its migration guides, of November 2026. A model
that is none of these is taken for a newer one, and its parameters for those that it takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

from msgspec import Struct

SAMPLING = ("temperature", "top_p", "top_k")
"""What the models from 4.7 on refuse."""

DISABLED = MappingProxyType({"type": "disabled"})

SHARES = {"minimal": 0.1, "low": 0.2, "medium": 0.5, "high": 0.8, "xhigh": 0.95, "max": 0.95}
"""The part of `max_tokens` to think for, which leaves the rest for the answer."""

LEAST_BUDGET = 1024
"""The service refuses less."""

MOST_BUDGET = 32_000
"""Above it the service advises against waiting for an answer, and finds little gain."""


class Family(Struct, frozen=True, kw_only=True):
    """Models that take the same.

    Attributes:
        thinks: By an effort, up to a number of tokens, or not at all.
        off: The wire's `thinking` that keeps them from it; `None` where nothing does.
        xhigh: Whether there is an effort between `high` and `max`.
        without: Parameters that they refuse.
        one_sampler: Whether `top_p` is refused beside a `temperature`.
        forced_calls: Whether a call of a tool can be forced.
    """

    thinks: Literal["effort", "budget"] | None = "effort"
    off: Mapping[str, str] | None = DISABLED
    xhigh: bool = True
    without: tuple[str, ...] = ()
    one_sampler: bool = False
    forced_calls: bool = True

    def thinking(self, effort: str, max_tokens: int, *, hindered: bool) -> dict[str, Any]:
        """The `thinking` and the `output_config` of a body that ask for an effort.

        Args:
            effort: In the router's words.
            max_tokens: The body's.
            hindered: Whether thinking does not go with the rest of the body.

        Returns:
            Nothing where the effort cannot be asked for.
        """
        if effort == "none" and self.off is not None and self.thinks is not None:
            return {"thinking": dict(self.off)}
        if self.thinks == "effort":
            level = {"none": "low", "minimal": "low"}.get(effort, effort)
            if level == "xhigh" and not self.xhigh:
                level = "max"
            adaptive = {} if hindered else {"thinking": {"type": "adaptive"}}
            return {**adaptive, "output_config": {"effort": level}}
        if self.thinks is None or hindered or max_tokens <= LEAST_BUDGET:
            return {}
        budget = min(max(int(max_tokens * SHARES[effort]), LEAST_BUDGET), MOST_BUDGET)
        return {"thinking": {"type": "enabled", "budget_tokens": budget}}


_EFFORT = Family(without=SAMPLING)
_ALWAYS = Family(without=SAMPLING, off=None)
_UNFORCED = Family(without=SAMPLING, off=None, forced_calls=False)
_BUDGET = Family(thinks="budget")
_LAST_BUDGET = Family(thinks="budget", one_sampler=True)
_LAST_SAMPLED = Family(xhigh=False, one_sampler=True)
_THOUGHTLESS = Family(thinks=None)

FAMILIES = {
    "claude-fable-5-2": _UNFORCED,
    "claude-fable-5-1": _UNFORCED,
    "claude-fable-5": _ALWAYS,
    "claude-mythos-5-2": _UNFORCED,
    "claude-mythos-5-1": _UNFORCED,
    "claude-mythos": _ALWAYS,
    "claude-opus-5-5": _UNFORCED,
    "claude-sonnet-5-5": Family(
        without=SAMPLING, off={"type": "between_tools"}, forced_calls=False
    ),
    "claude-haiku-5-5": _EFFORT,
    "claude-opus-5": _EFFORT,
    "claude-sonnet-5": _EFFORT,
    "claude-opus-4-8": _EFFORT,
    "claude-opus-4-7": _EFFORT,
    "claude-opus-4-6": _LAST_SAMPLED,
    "claude-sonnet-4-6": _LAST_SAMPLED,
    "claude-opus-4-5": _LAST_BUDGET,
    "claude-sonnet-4-5": _LAST_BUDGET,
    "claude-haiku-4-5": _LAST_BUDGET,
    "claude-opus-4-1": _LAST_BUDGET,
    "claude-opus-4-0": _BUDGET,
    "claude-opus-4-2": _BUDGET,  # a date of 2025
    "claude-sonnet-4-0": _BUDGET,
    "claude-sonnet-4-2": _BUDGET,
    "claude-3-7": _BUDGET,
    "claude-3": _THOUGHTLESS,
    "claude-2": _THOUGHTLESS,
    "claude-instant": _THOUGHTLESS,
    "claude-v1": _THOUGHTLESS,
}
"""How the names of their models begin, with or without a date; the longest that fits counts."""

NEWER = Family()


def family_of(model: str) -> Family:
    """The family of a model, by its name."""
    begins = [begin for begin in FAMILIES if model.startswith(begin)]
    return FAMILIES[max(begins, key=len)] if begins else NEWER
