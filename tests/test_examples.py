"""Each example is run, offline, and prints what its docstring says."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import router

EXAMPLES = sorted((Path(__file__).resolve().parent.parent / "examples").glob("*.py"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example_prints_what_its_docstring_says(example, tmp_path):
    docstring = ast.get_docstring(ast.parse(example.read_text()), clean=True)
    said = re.search(rf"`python examples/{example.name}` prints:\n\n(.+)", docstring, re.DOTALL)
    assert said, "the docstring shows no output"
    run = subprocess.run(
        [sys.executable, example],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(router.__file__).parent.parent)},
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.splitlines() == [line.strip() for line in said[1].splitlines()]


def test_there_are_examples():
    """Nothing is shown by running the examples of an empty folder."""
    assert {"fallback", "async_stream", "observer"} <= {path.stem for path in EXAMPLES}
