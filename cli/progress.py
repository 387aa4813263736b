"""Progress bars on standard error. They are not shown if standard error is not a terminal."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from .model_tables import in_bytes
from .target import Target

if TYPE_CHECKING:
    from rich.progress import Progress

_PAUSE = 0.5  # seconds between two calls of GET /downloads


@contextmanager
def working(text: str) -> Iterator[None]:
    """Show a spinner and the elapsed time while the context is open."""
    if not sys.stderr.isatty():
        yield
        return
    with _bars() as progress:
        progress.add_task(text, total=None, amount="")
        yield


@contextmanager
def while_registering(target: Target, url: str) -> Iterator[None]:
    """Show a spinner, and a bar with the progress of the server's download of `url`, while the context is open."""
    if not sys.stderr.isatty():
        yield
        return
    done = threading.Event()
    with downloads_shown(f"Registering {url}") as show:
        asking = threading.Thread(target=_ask, args=(target, url, show, done), daemon=True)
        asking.start()
        try:
            yield
        finally:
            done.set()
            asking.join()


@contextmanager
def downloads_shown(text: str) -> Iterator[Callable[[Sequence[Mapping[str, Any]]], None]]:
    """Show a spinner for the whole operation and one bar per download.

    The context yields a function that takes the current list of downloads. Bars of downloads that are no longer in the
    list are removed.
    """
    with _bars() as progress:
        progress.add_task(text, total=None, amount="")
        bars: dict[str, Any] = {}

        def show(downloads: Sequence[Mapping[str, Any]]) -> None:
            going = {each["url"]: each for each in downloads}
            for url in [url for url in bars if url not in going]:
                progress.remove_task(bars.pop(url))
            for url, each in going.items():
                if url not in bars:
                    bars[url] = progress.add_task(f"  {_short(url)}", total=None, amount="")
                received, total = each["receivedBytes"], each["totalBytes"]
                progress.update(bars[url], completed=received, total=total, amount=amount(received, total))

        yield show


def _ask(target: Target, url: str, show: Callable[[Sequence[Mapping[str, Any]]], None], done: threading.Event) -> None:
    from .client import Client

    with Client(target, timeout=5.0) as client:
        while not done.wait(_PAUSE):
            try:
                found = client.manage("GET", "downloads")["downloads"]
            except (click.ClickException, LookupError, TypeError):
                return  # a server without this route: only the spinner is shown
            show([each for each in found if each["url"] == url])


def amount(received: int, total: int | None) -> str:
    """Return what has been received, with the total if it is known: `12.5 MiB of 1.0 GiB`."""
    return f"{in_bytes(received) or '0 B'} of {in_bytes(total)}" if total else in_bytes(received)


def _short(url: str) -> str:
    return url.partition("?")[0].rpartition("/")[2] or url


def _bars() -> Progress:
    from rich.console import Console  # slow to import, and not needed elsewhere
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[amount]}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
