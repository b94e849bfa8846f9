import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import EntryPoint, PackageNotFoundError, version
from pathlib import Path

import pytest

import providers
import router
from providers import compatible
from providers.openai import Row

REPOSITORY = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
ENTRIES = PROJECT["entry-points"]["router.plugins"]
PACKAGES = [Path(package.__file__).parent for package in (router, providers)]


@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_entry_point_gives_the_provider_of_its_name(name):
    make_provider = EntryPoint(name, ENTRIES[name], "router.plugins").load()
    assert make_provider().name == name


def test_every_row_of_data_is_found_by_its_name():
    rows = {row.name for row in vars(compatible).values() if isinstance(row, Row)}
    assert rows <= ENTRIES.keys()


def test_version_stands_in_the_project_file_alone():
    try:
        installed = version("pluggable-router")
    except PackageNotFoundError:
        pytest.skip("the package is on the path, not installed")
    assert router.__version__ == installed == PROJECT["version"]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_package_says_that_it_is_typed(package):
    assert (package / "py.typed").is_file()


def test_nothing_is_imported_that_is_not_declared():
    """A tool that brings the same library would hide it until someone installs us alone."""
    declared = list(PROJECT["dependencies"])
    for extra in ("async", "cli", "local", "testing"):
        declared += PROJECT["optional-dependencies"][extra]
    known = {re.match(r"[\w-]+", requirement)[0] for requirement in declared}
    imported = {name for package in PACKAGES for name in imports(package)}
    assert imported - sys.stdlib_module_names - {"router", "providers"} <= known


def test_router_knows_no_provider_by_name():
    assert "providers" not in set(imports(Path(router.__file__).parent))


def imports(package: Path) -> Iterator[str]:
    """The top-level names of what the modules of a package import."""
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from (alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield node.module.partition(".")[0]


def test_no_package_of_the_tests_stands_in_for_ours():
    """`tests` is on the path, so a package of our names there would be imported as ours."""
    taken = {path.parent.name for path in (REPOSITORY / "tests").rglob("__init__.py")}
    taken |= {path.stem for path in (REPOSITORY / "tests").glob("*.py")}
    assert not taken & {"router", "providers"}


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ('[ "$1" = --version ] && echo Python 3.9.2 && exit; exit 1', "Python 3.9.2 is too old"),
        (None, "No {python} here"),
    ],
    ids=["old", "absent"],
)
def test_make_says_which_python_it_needs(script, message, tmp_path):
    python = tmp_path / "python"
    if script:
        python.write_text(f"#!/bin/sh\n{script}\n")
        python.chmod(0o755)
    run = subprocess.run(
        ["make", "venv", f"PYTHON={python}", f"VENV={tmp_path / 'venv'}"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 2
    assert message.format(python=python) in run.stderr
    assert not (tmp_path / "venv").exists()
