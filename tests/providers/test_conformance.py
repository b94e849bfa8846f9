"""The built-in providers, held against the conformance kit with samples of our own making."""

from __future__ import annotations

import tomllib
from importlib import import_module
from importlib.metadata import EntryPoint
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from router.contract import Provider
from router.testing import conformance

REPOSITORY = Path(__file__).resolve().parents[2]
ENTRIES = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["entry-points"][
    "router.plugins"
]

BLOCKING = {"providers.local"}
"""Those whose answers cannot be samples: a model in this process makes them."""

ADDRESSES = {"azure", "h2ogpte"}
"""Those that are nowhere until a setting says where."""


def plugin(name: str) -> Any:
    return EntryPoint(name, ENTRIES[name], "router.plugins").load()


def wire(made: Provider) -> str:
    """The module of a provider's codec."""
    return type(made).__module__


def samples(module: str) -> tuple[conformance.Sample, ...]:
    name = f"samples.{module.removeprefix('providers.')}"
    assert find_spec(name), f"{module} has no samples: write tests/{name.replace('.', '/')}.py"
    found: tuple[conformance.Sample, ...] = import_module(name).SAMPLES
    return found


@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_built_in_provider_passes_every_check(name: str) -> None:
    make = plugin(name)
    settings = {"base_url": "https://service.invalid"} if name in ADDRESSES else {}
    module = wire(make())
    given = () if module in BLOCKING else samples(module)
    findings = conformance.examine(make, given, settings)
    assert [finding for finding in findings if finding.status == "failed"] == []
    skipped = {finding.check for finding in findings if finding.status == "skipped"}
    assert not skipped or module in BLOCKING


def test_provider_without_samples_is_told_where_they_belong() -> None:
    with pytest.raises(AssertionError, match=r"write tests/samples/nosuch\.py"):
        samples("providers.nosuch")
