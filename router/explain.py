"""What a call would do, said without doing it."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from router.health import Subject
from router.job import Candidate, Job, State
from router.policy import Policy
from router.types import PassedOver


class Prospect(Struct, frozen=True, kw_only=True):
    """A target that the call would go to, in its turn.

    Attributes:
        target: Its name.
        renamed, dropped, unchecked: What would become of the caller's parameters there.
        cooling_s: Seconds until it may be asked; 0 when it may be now.
        cooling_reason: The error that it cools after; `None` when it does not.
        missing: What the provider lacks, as far as it says: a key, weights.
        commanded: Whether it was asked for to stay away; else it is tried when none is left.
    """

    target: str
    renamed: Mapping[str, str]
    dropped: tuple[str, ...]
    unchecked: tuple[str, ...]
    cooling_s: float = 0.0
    cooling_reason: str | None = None
    commanded: bool = False
    missing: str | None = None


class Explanation(Struct, frozen=True, kw_only=True):
    """Who would be asked, in order, who would not and why, and the worst case.

    Attributes:
        worst_attempts: The most attempts that the policy allows here.
        worst_seconds: The longest that the call may take; `None` for no deadline.
    """

    targets: tuple[Prospect, ...]
    passed_over: tuple[PassedOver, ...]
    worst_attempts: int
    worst_seconds: float | None

    def __str__(self) -> str:
        lines = [f"{n}. {_line(each)}" for n, each in enumerate(self.targets, 1)]
        lines += [f"-  {skipped.target}: {skipped.detail}" for skipped in self.passed_over]
        seconds = "no limit" if self.worst_seconds is None else f"{self.worst_seconds:g} s"
        lines.append(f"at worst {self.worst_attempts} attempts, {seconds}")
        return "\n".join(lines)


def explain(job: Job, state: State, now: float) -> Explanation:
    """Say what a planned call would do now."""
    prospects = [_prospect(candidate, state, now) for candidate in job.candidates]
    prospects.sort(key=_turn)
    policy = job.policy
    return Explanation(
        targets=tuple(prospects),
        passed_over=job.passed_over,
        worst_attempts=min(policy.attempts, len(prospects) * (1 + policy.retries)),
        worst_seconds=_worst_seconds(policy, len(prospects)),
    )


def _prospect(candidate: Candidate, state: State, now: float) -> Prospect:
    target, binding = candidate.target, candidate.binding
    subject = Subject(target=str(target), provider=target.provider, quota=target.quota_group)
    cooling = state.health.cooling(subject, now)
    return Prospect(
        target=str(target),
        renamed=binding.renamed,
        dropped=binding.dropped,
        unchecked=binding.unchecked,
        cooling_s=max(0.0, cooling.until - now) if cooling else 0.0,
        cooling_reason=cooling.reason if cooling else None,
        commanded=cooling is not None and cooling.commanded,
        missing=candidate.registered.provider.missing(),
    )


def _turn(prospect: Prospect) -> tuple[int, float]:
    """Its place: in health, ejected, told to stay away; these as they come back.

    Of the others the caller's order stays, since the sort is stable.
    """
    if prospect.commanded:
        return 2, prospect.cooling_s
    return int(prospect.cooling_reason is not None), 0.0


def _worst_seconds(policy: Policy, targets: int) -> float | None:
    if targets == 0:
        return 0.0
    attempts = min(policy.attempts, targets * (1 + policy.retries))
    worst = attempts * (policy.total + policy.longest_wait)
    return worst if policy.deadline is None else min(policy.deadline, worst)


def _line(prospect: Prospect) -> str:
    told = [] if prospect.missing is None else [prospect.missing]
    if prospect.cooling_reason is not None:
        told.append(f"cooling for {prospect.cooling_s:.1f} s after {prospect.cooling_reason}")
    told += [f"{old} as {new}" for old, new in prospect.renamed.items()]
    told += [f"without {name}" for name in prospect.dropped]
    told += [f"{name} unchecked" for name in prospect.unchecked]
    return f"{prospect.target} ({', '.join(told)})" if told else prospect.target
