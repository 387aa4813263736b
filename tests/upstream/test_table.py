"""Which rows count as a step back, and what is told of a machine that can't run one."""

from __future__ import annotations

from pathlib import Path

import pytest

from .table import CANNOT, DEPARTED, FAILED, MENDED, PASSED, Outcome, obstacle, text, verdict

DEPARTURES = {"pytest test_a: test_known": "ours is safer", "postman c: *": "not there yet"}


@pytest.mark.parametrize(
    ("row", "state", "expected", "back"),
    [
        ("test_x", PASSED, PASSED, False),
        ("test_x", FAILED, FAILED, True),
        ("test_x", CANNOT, CANNOT, False),
        ("test_known", FAILED, DEPARTED, False),
        ("test_known", PASSED, MENDED, True),
        ("test_known", CANNOT, CANNOT, False),
        ("of a suite that departs", FAILED, DEPARTED, False),
        ("of a suite that departs", PASSED, PASSED, False),
    ],
)
def test_a_step_back_is_a_failure_that_is_new_and_a_departure_that_is_not(
    row: str, state: str, expected: str, back: bool
) -> None:
    outcome = Outcome("postman c" if row.startswith("of") else "pytest test_a", row, state, "because")
    assert verdict(outcome, DEPARTURES) == expected
    assert text([outcome], DEPARTURES)[1] == back


def test_the_table_counts_by_suite_and_gives_each_reason() -> None:
    outcomes = [
        Outcome("pytest test_a", "test_known", FAILED, "assert 1 == 2"),
        Outcome("pytest test_a", "test_new", FAILED, "assert 3 == 4"),
        Outcome("postman b", "1 Predict", PASSED),
        Outcome("postman b", "2 Predict", CANNOT, "there is no module x"),
    ]
    shown, back = text(outcomes, DEPARTURES)
    assert back
    assert shown.splitlines() == [
        "| suite | passed | departs | can't run here | failed | passes by now |",
        "|---|---|---|---|---|---|",
        "| pytest test_a |  | 1 |  | 1 |  |",
        "| postman b | 1 |  | 1 |  |  |",
        "| all | 1 | 1 | 1 | 1 | 0 |",
        "",
        "departs:",
        "- pytest test_a: test_known: ours is safer",
        "",
        "can't run here:",
        "- postman b: 2 Predict: there is no module x",
        "",
        "failed:",
        "- pytest test_a: test_new: assert 3 == 4",
    ]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("E   ModuleNotFoundError: No module named 'transformers'", "there is no module transformers"),
        ("E   ModuleNotFoundError: No module named 'ts.no_such'", ""),
        ("E   ModuleNotFoundError: No module named 'torchserve.core.gone'", ""),
        (
            "HTTPSConnectionPool(host='download.pytorch.org', port=443): Max retries exceeded with url: /x (Caused by"
            ' NameResolutionError("Failed to resolve"))',
            "there is no network that leads to download.pytorch.org",
        ),
        (
            "urllib.error.URLError: <urlopen error [Errno -3] Temporary failure in name resolution>",
            "there is no network (Temporary failure in name resolution)",
        ),
        ("wget: unable to resolve host address 'github.com'", "there is no network that leads to github.com"),
        ("Could not resolve host: huggingface.co", "there is no network that leads to huggingface.co"),
        ("HTTPConnectionPool(host='localhost', port=8080): Connection refused", ""),
        (
            "RuntimeError: No model weights could be loaded: {home}/examples/a/model.py is missing",
            "the checkout has no examples/a/model.py",
        ),
        (
            "FileNotFoundError: [Errno 2] No such file or directory: '{home}/test/gone.mar'",
            "the checkout has no test/gone.mar",
        ),
        ("FileNotFoundError: [Errno 2] No such file or directory: '{home}/test/there.mar'", ""),
        ("FileNotFoundError: [Errno 2] No such file or directory: '{home}/test/logs/ts_log.log'", ""),
        ("FileNotFoundError: [Errno 2] No such file or directory: '{home}/test/pytest/key_file.json'", ""),
        ("FileNotFoundError: [Errno 2] No such file or directory: '/elsewhere/x'", ""),
        ("E       fixture 'mocker' not found", "there is no plugin of pytest with the fixture mocker"),
        ("assert 1 == 2", ""),
    ],
)
def test_what_keeps_a_row_from_running_is_found_in_what_it_said(tmp_path: Path, said: str, told: str) -> None:
    home, checkout = tmp_path / "home", tmp_path / "checkout"
    for folder in (home / "test", checkout / "test"):
        folder.mkdir(parents=True)
    (checkout / "test/there.mar").touch()
    assert obstacle(said.replace("{home}", str(home)), home, checkout) == told
