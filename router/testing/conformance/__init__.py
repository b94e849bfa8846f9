"""What a plugin's author runs on a provider: checks of all that the router relies on.

In a test module, one line gives one test for each check:

    from router.testing import conformance

    test_conforms = conformance.suite(Acme, samples=SAMPLES)

`router conformance acme` runs the same on an installed plugin. What needs no server's answer is
checked of any provider; the rest needs samples, which are data: the responses that a server would
give to one exchange, and what is to come of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from msgspec import Struct

from .contract import contract, parameters
from .exchanges import (
    Find,
    answers,
    cancellation,
    cleanup,
    errors,
    forms,
    garbage,
    isolation,
    no_io,
    pairs,
    splits,
    truncation,
)
from .samples import Reply, Sample, read_samples
from .secrets import secrets
from .subject import KEY, Subject, installed

__all__ = [
    "CHECKS",
    "KEY",
    "Check",
    "Finding",
    "Reply",
    "Sample",
    "examine",
    "installed",
    "read_samples",
    "suite",
]


class Check(Struct, frozen=True, kw_only=True):
    """One of the checks.

    Attributes:
        name: What it is called in a report.
        find: Gives what is wrong, a line each; its docstring says what is right.
        needs: What it looks at: the provider alone, exchanges with or without samples, or samples.
        wire: Whether its exchanges have to be those of a wire provider.
    """

    name: str
    find: Find
    needs: Literal["provider", "exchange", "samples"]
    wire: bool = True

    @property
    def about(self) -> str:
        """What is right, in one line."""
        return (self.find.__doc__ or "").partition("\n")[0]

    def lacks(self, subject: Subject) -> str | None:
        """Why it cannot be made, or `None`."""
        if self.find is contract:
            return None
        if subject.broken is not None:
            return "the contract is broken"
        if self.needs == "provider":
            return None
        if not subject.is_wire and self.wire:
            return "a blocking provider does its own I/O"
        if not subject.samples:
            without = subject.is_wire and self.needs == "exchange"
            return subject.unavailable() if without else "there are no samples"
        if self.find is forms and not pairs(subject):
            return "no sample is there in both forms, streamed and whole"
        return None


CHECKS = (
    Check(name="contract", find=contract, needs="provider"),
    Check(name="parameters", find=parameters, needs="provider"),
    Check(name="answers", find=answers, needs="samples", wire=False),
    Check(name="forms", find=forms, needs="samples", wire=False),
    Check(name="splits", find=splits, needs="samples"),
    Check(name="truncation", find=truncation, needs="samples"),
    Check(name="errors", find=errors, needs="exchange"),
    Check(name="garbage", find=garbage, needs="exchange"),
    Check(name="cancellation", find=cancellation, needs="exchange", wire=False),
    Check(name="cleanup", find=cleanup, needs="exchange"),
    Check(name="no_io", find=no_io, needs="exchange"),
    Check(name="isolation", find=isolation, needs="samples", wire=False),
    Check(name="secrets", find=secrets, needs="provider"),
)


class Finding(Struct, frozen=True, kw_only=True):
    """What came of one check.

    Attributes:
        check: Its name.
        status: `skipped` where something is lacking that it needs.
        details: What is wrong, a line each; or what is lacking.
    """

    check: str
    status: Literal["passed", "failed", "skipped"]
    details: tuple[str, ...] = ()


def examine(
    plugin: Any, samples: Iterable[Sample] = (), settings: Mapping[str, Any] | None = None
) -> list[Finding]:
    """Run all checks.

    Args:
        plugin: The provider, or what makes it; as `Router(plugins=[...])` takes it.
        samples: What its server would answer.
        settings: Those that it is made with. One for a key (`key`, `api_key`, `token`) is given
            the key `KEY` unless it is there, which is then looked for in all that is shown.

    Raises:
        ConfigError: A sample cannot be used, or the settings are wrong.
    """
    subject = Subject(plugin, samples, settings)
    return [_finding(check, subject) for check in CHECKS]


def _finding(check: Check, subject: Subject) -> Finding:
    if (lacking := check.lacks(subject)) is not None:
        return Finding(check=check.name, status="skipped", details=(lacking,))
    wrong = tuple(check.find(subject))
    return Finding(check=check.name, status="failed" if wrong else "passed", details=wrong)


def suite(
    plugin: Any, samples: Iterable[Sample] = (), settings: Mapping[str, Any] | None = None
) -> Callable[..., None]:
    """A test function for pytest, parametrized by the checks: `test_conforms[truncation]`.

    What a check lacks skips its test, and says what it is. Arguments and errors are those of
    `examine`.
    """
    import pytest

    subject = Subject(plugin, samples, settings)

    @pytest.mark.parametrize("check", CHECKS, ids=[check.name for check in CHECKS])
    def test_conforms(check: Check) -> None:
        finding = _finding(check, subject)
        if finding.status == "skipped":
            pytest.skip(finding.details[0])
        if finding.status == "failed":
            lines = [f"{check.name}: {check.about}", *finding.details]
            pytest.fail("\n  ".join(lines), pytrace=False)

    return test_conforms
