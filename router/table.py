"""Rows for people: aligned columns, by rich where there is a terminal and rich."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

GAP = "  "


def write(headings: Sequence[str], rows: Sequence[Sequence[str]], stream: TextIO) -> None:
    """Write rows under their headings, one a line; nothing is cut or wrapped but by a terminal.

    Line breaks and control characters in a cell become blanks, since a cell may hold what a
    server sent.
    """
    cells = [[_one_line(cell) for cell in row] for row in rows]
    if stream.isatty():
        try:
            _write_rich(headings, cells, stream)
        except ImportError:
            pass
        else:
            return
    for line in _aligned([headings, *cells]):
        print(line, file=stream)


def _write_rich(headings: Sequence[str], rows: Sequence[Sequence[str]], stream: TextIO) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, len(GAP), 0, 0))
    for heading in headings:
        table.add_column(Text(heading, style="bold"), overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console(file=stream).print(table)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _one_line(text: str) -> str:
    printable = "".join(each if each.isprintable() else " " for each in text)
    return " ".join(printable.split())
