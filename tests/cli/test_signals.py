"""What signals ask for, by the order and time in which they come."""

from __future__ import annotations

import signal
from signal import SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2

import pytest

from torchserve.cli.signals import REPEATED, Wish, Wishes

LATER = REPEATED
SOON = REPEATED / 2


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize(
    ("came", "wishes"),
    [
        ([(SIGTERM, 0)], "STOP"),
        ([(SIGINT, 0)], "STOP"),
        ([(SIGTERM, 0), (SIGTERM, LATER)], "STOP NOTHING"),
        ([(SIGINT, 0), (SIGTERM, LATER)], "STOP NOTHING"),
        ([(SIGINT, 0), (SIGINT, SOON)], "STOP NOTHING"),
        ([(SIGINT, 0), (SIGINT, SOON), (SIGINT, LATER)], "STOP NOTHING END"),
        ([(SIGTERM, 0), (SIGINT, LATER)], "STOP END"),
        ([(SIGUSR1, 0), (SIGTERM, 0), (SIGUSR1, LATER)], "REOPEN STOP REOPEN"),
        ([(SIGUSR2, 0), (SIGTERM, 0), (SIGUSR2, LATER)], "NOTHING STOP NOTHING"),
    ],
)
def test_what_signals_ask_for(terminal: bool, came: list[tuple[signal.Signals, float]], wishes: str) -> None:
    asked = Wishes(terminal=terminal)
    assert [asked.of(number, at) for number, at in came] == [Wish[each] for each in wishes.split()]


@pytest.mark.parametrize(("terminal", "wishes"), [(True, "STOP NOTHING"), (False, "REOPEN REOPEN")])
def test_sighup_means_the_terminal_if_there_is_one(terminal: bool, wishes: str) -> None:
    asked = Wishes(terminal=terminal)
    assert [asked.of(SIGHUP, at) for at in (0, LATER)] == [Wish[each] for each in wishes.split()]
