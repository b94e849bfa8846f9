"""docs/providers.md is what its tool makes of the tests, and nothing else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from features import FEATURES, emulated

ROOT = Path(__file__).resolve().parent.parent
TOOL = ROOT / "tools" / "providers_page.py"


def test_page_says_what_the_tests_show(shared):
    # No variable of whoever runs the tests reaches them, so this one is given anew.
    environ = {**os.environ, "ROUTER_SHARED": str(shared)}
    checked = subprocess.run(
        [sys.executable, TOOL, "--check"], cwd=ROOT, env=environ, capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stderr


def test_feature_that_does_not_exist_cannot_be_shown():
    with pytest.raises(ValueError, match="no such feature: tool"):
        emulated("openai", "tool")


def test_page_has_every_feature():
    page = (ROOT / "docs" / "providers.md").read_text()
    heads = [line for line in page.splitlines() if line.startswith("| provider |")]
    assert [name.strip() for head in heads for name in head.strip("|").split("|")[1:]] == list(
        FEATURES
    )
