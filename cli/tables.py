"""Tables: by rich on a terminal; elsewhere plain, aligned text that every tool can cut."""

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
    """Print it the way that fits where it goes. Columns of numbers are aligned on the right."""
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
    """The cells as they are shown: one line each, without the control characters that a name may hold."""
    return [["-" if cell is None or cell == "" else _clean(str(cell)) for cell in row] for row in rows]


def plain_lines(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Aligned by two blanks; the heads in capitals."""
    table = [[name.upper() for name in columns], *rows]
    widths = [max(map(_width, column)) for column in zip(*table, strict=True)]
    right = _numeric(rows, len(columns))
    return ["  ".join(map(_pad, line, widths, right)).rstrip() for line in table]


def rich_table(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> Table:
    """For a terminal: what does not fit is folded, never cut."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name, right in zip(columns, _numeric(rows, len(columns)), strict=True):
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))  # Text: a name with brackets in it is no markup
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
