"""Tables off a terminal and on one; what the management API says of a model, as rows."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from torchserve.cli.model_tables import facts, in_bytes, state_of, version_row, workers_of
from torchserve.cli.progress import amount
from torchserve.cli.tables import as_texts, plain_lines, rich_table


@pytest.mark.parametrize(
    ("rows", "lines"),
    [
        ([], ["NAME  N"]),
        ([("a", 1), ("long name", 20)], ["NAME        N", "a           1", "long name  20"]),
        ([("a", "x"), ("b", 1)], ["NAME  N", "a     x", "b     1"]),
        ([(None, ""), ("b", 0)], ["NAME  N", "-     -", "b     0"]),
        ([("数", 1), ("e\u0301", 2)], ["NAME  N", "数    1", "e\u0301     2"]),
        ([("a\x1b[31m\nb", 1)], ["NAME     N", "a [31m b  1"]),
    ],
)
def test_plain(rows: list[tuple[Any, ...]], lines: list[str]) -> None:
    assert [" ".join(line.split()) for line in plain_lines(("name", "n"), as_texts(rows))] == [
        " ".join(line.split()) for line in lines
    ]
    if rows == [("a", 1), ("long name", 20)]:
        assert plain_lines(("name", "n"), as_texts(rows)) == lines


def test_on_a_terminal_nothing_is_cut_and_nothing_is_markup() -> None:
    console = Console(width=30, force_terminal=True, color_system=None, record=True, file=open("/dev/null", "w"))  # noqa: SIM115 - closed below
    console.print(rich_table(("name", "url"), as_texts([("[bold]a", "http://host/" + "x" * 40)]), "[t]"))
    console.file.close()
    text = console.export_text()
    assert "[bold]a" in text
    assert text.count("x") == 40


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, ""), (-1, ""), (1, "1 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536 << 20, "1.5 GiB"), (5 << 50, "5120.0 TiB")],
)  # fmt: skip
def test_bytes(count: int, text: str) -> None:
    assert in_bytes(count) == text


@pytest.mark.parametrize(
    ("received", "total", "text"),
    [(0, None, ""), (1024, None, "1.0 KiB"), (0, 2048, "0 B of 2.0 KiB"), (1024, 2048, "1.0 KiB of 2.0 KiB")],
)
def test_how_far_a_download_is(received: int, total: int | None, text: str) -> None:
    assert amount(received, total) == text


def entry(minimum: int, maximum: int, *states: str, **more: Any) -> dict[str, Any]:
    return {
        "modelName": "m", "modelVersion": "1", "modelUrl": "u", "minWorkers": minimum, "maxWorkers": maximum,
        "batchSize": 2, "workers": [{"status": state} for state in states], "useVenv": False,
        "jobQueueStatus": {"remainingCapacity": 9, "pendingRequests": 1},
    } | more  # fmt: skip


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (entry(0, 0), "0/0"),
        (entry(2, 2, "READY", "UNLOADING"), "1/2"),
        (entry(1, 4, "READY"), "1/1-4"),
    ],
)
def test_workers(shown: dict[str, Any], text: str) -> None:
    assert workers_of(shown) == text
    assert version_row(shown) == ("m", "1", text, 2, 1, "u")


@pytest.mark.parametrize(
    ("worker", "state"),
    [
        ({"status": "READY", "lastError": "old"}, "ready"),
        ({"status": "UNLOADING"}, "not ready"),
        ({"status": "UNLOADING", "lastError": "x"}, "failing"),
    ],
)
def test_states(worker: dict[str, Any], state: str) -> None:
    assert state_of(worker) == state


def test_facts() -> None:
    assert facts(entry(1, 1, "READY", customizedMetadata={"a": True})) == [
        ("workers", "1/1"), ("waiting requests", 1), ("room in the queue", 9), ("modelUrl", "u"), ("batchSize", 2),
        ("useVenv", "false"), ("customized: a", "true"),
    ]  # fmt: skip
