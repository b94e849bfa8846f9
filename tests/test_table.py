import io
import re
import sys

import pytest

from router import table

ROWS = [
    ("h2o/falcon-7b", "failed", "the host's name cannot be resolved, nor that of another one"),
    ("a/b", "", "[red]one\ntwo\x1b[31m three"),
]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_rows_are_aligned_and_never_cut() -> None:
    stream = io.StringIO()
    table.write(("target", "outcome", "notes"), ROWS, stream)
    assert stream.getvalue() == (
        "target         outcome  notes\n"
        "h2o/falcon-7b  failed   the host's name cannot be resolved, nor that of another one\n"
        "a/b                     [red]one two [31m three\n"
    )


def test_a_table_without_rows_is_its_headings() -> None:
    stream = io.StringIO()
    table.write(("target", "notes"), [], stream)
    assert stream.getvalue() == "target  notes\n"


def test_a_terminal_s_table_folds_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "48")
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    table.write(("target", "outcome", "notes"), ROWS, stream)
    assert "\x1b[1m" in stream.getvalue(), "the headings are bold"
    headings, *lines = re.sub(r"\x1b\[[\d;]*m", "", stream.getvalue()).splitlines()
    column = headings.index("notes")
    assert max(map(len, lines)) <= 48
    notes = " ".join(line[column:].strip() for line in lines)
    assert notes == (
        "the host's name cannot be resolved, nor that of another one [red]one two [31m three"
    )


def test_without_rich_a_terminal_has_the_plain_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich.table", None)
    plain, terminal = io.StringIO(), Terminal()
    table.write(("target", "outcome", "notes"), ROWS, plain)
    table.write(("target", "outcome", "notes"), ROWS, terminal)
    assert terminal.getvalue() == plain.getvalue()
