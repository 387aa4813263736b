"""Tables: drawn by rich on a terminal, otherwise plain aligned text that `cut` and `awk` can read."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.table import Table

_NARROW = frozenset("0123456789.-+%/ ")


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> None:
    """Print a table. Columns that hold only numbers are aligned on the right."""
    texts = as_texts(rows)
    if sys.stdout.isatty():
        from rich.console import Console  # slow to import, and not needed elsewhere

        Console().print(rich_table(columns, texts, title))
        return
    if title:
        click.echo(title)
    for line in plain_lines(columns, texts):
        click.echo(line)


def as_texts(rows: Iterable[Sequence[object]]) -> list[list[str]]:
    """Return the cells as printable text of one line each: control characters become blanks, and empty cells "-"."""
    return [["-" if cell is None or cell == "" else _clean(str(cell)) for cell in row] for row in rows]


def plain_lines(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a plain table, its columns separated by two blanks and its head in capitals."""
    table = [[name.upper() for name in columns], *rows]
    widths = [max(map(_width, column)) for column in zip(*table, strict=True)]
    right = _numeric(rows, len(columns))
    return ["  ".join(map(_pad, line, widths, right)).rstrip() for line in table]


def rich_table(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> Table:
    """Return a table for a terminal, in which long cells are folded and never cut off."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name, right in zip(columns, _numeric(rows, len(columns)), strict=True):
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))  # Text keeps rich from reading brackets in a name as markup
    return table


def _numeric(rows: Sequence[Sequence[str]], count: int) -> list[bool]:
    return [bool(rows) and all(set(row[place]) <= _NARROW for row in rows) for place in range(count)]


def _clean(text: str) -> str:
    return "".join(sign if sign.isprintable() else " " for sign in text)


def _width(text: str) -> int:
    wide = sum(unicodedata.east_asian_width(sign) in "WF" for sign in text)
    return len(text) + wide - sum(map(bool, map(unicodedata.combining, text)))


def _pad(text: str, width: int, right: bool) -> str:
    blanks = " " * (width - _width(text))
    return blanks + text if right else text + blanks
