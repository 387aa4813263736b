"""The ledger: which fate a request comes to, by what happened while it was on its way."""

from __future__ import annotations

from math import inf

import pytest

from .ledger import BAD, KILL, REMOVAL, STOP, WORKER, Asked, Fate, Fault, Ledger


def asked(
    begin: float = 10.0,
    sent: float = 11.0,
    end: float = 12.0,
    *,
    first: bool = False,
    patient: bool = True,
    through: tuple[str, ...] = (),
):
    return Asked("r1", "torn", begin, sent, end, first, patient, "a kind", through)


ANSWERS = [
    ("a success of its own", [], asked(), 200, True, Fate.RIGHT),
    ("another's success", [], asked(), 200, False, Fate.WRONG),
    ("a full queue", [], asked(), 503, False, Fate.REFUSED),
    ("an error and no fault", [], asked(), 500, False, Fate.UNEXPLAINED),
    ("its worker was killed", [Fault(WORKER, 11.5, 11.6, "torn")], asked(), 507, False, Fate.FAILED),
    ("another model's worker was killed", [Fault(WORKER, 11.5, 11.6, "calm")], asked(), 507, False, Fate.UNEXPLAINED),
    ("a node's worker was killed", [Fault(WORKER, 11.5, 11.6, "n")], asked(through=("n",)), 500, False, Fate.FAILED),
    ("a worker was killed before", [Fault(WORKER, 8.0, 9.0, "torn")], asked(), 500, False, Fate.UNEXPLAINED),
    ("a worker was killed after", [Fault(WORKER, 13.0, inf, "torn")], asked(), 500, False, Fate.UNEXPLAINED),
    ("its version is not there", [Fault(REMOVAL, 5.0, inf, "torn")], asked(), 404, False, Fate.REFUSED),
    ("not found though it is there", [Fault(REMOVAL, 5.0, 6.0, "torn")], asked(), 404, False, Fate.UNEXPLAINED),
    ("a patient client is called slow", [], asked(), 408, False, Fate.UNEXPLAINED),
    ("a slow client is called slow", [], asked(patient=False), 408, False, Fate.REFUSED),
    ("a status that nothing gives", [], asked(), 502, False, Fate.UNEXPLAINED),
]


@pytest.mark.parametrize(
    ("faults", "request_", "status", "right", "fate"), [row[1:] for row in ANSWERS], ids=[row[0] for row in ANSWERS]
)
def test_an_answer(faults: list[Fault], request_: Asked, status: int, right: bool, fate: Fate) -> None:
    assert Ledger(faults).answered(request_, status, right=right, told="a text") is fate


SILENCES = [
    ("no fault", [], asked(), Fate.LOST),
    ("its client left", [], asked(patient=False), Fate.LEFT),
    ("the server was killed", [Fault(KILL, 11.5, 11.6)], asked(), Fate.CUT),
    ("the server was killed before", [Fault(KILL, 1.0, 2.0)], asked(), Fate.LOST),
    ("sent before the stop", [Fault(STOP, 11.5, 20.0)], asked(), Fate.LOST),
    ("sent after the stop", [Fault(STOP, 10.5, 20.0)], asked(), Fate.CUT),
    ("first on its connection, before the stop", [Fault(STOP, 11.5, 20.0)], asked(first=True), Fate.CUT),
    ("its worker was killed", [Fault(WORKER, 11.5, 20.0, "torn")], asked(), Fate.LOST),
]


@pytest.mark.parametrize(
    ("faults", "request_", "fate"), [row[1:] for row in SILENCES], ids=[row[0] for row in SILENCES]
)
def test_no_answer(faults: list[Fault], request_: Asked, fate: Fate) -> None:
    assert Ledger(faults).unanswered(request_, "closed") is fate


def test_an_error_without_a_text_is_unexplained() -> None:
    assert Ledger().answered(asked(), 503, right=False) is Fate.UNEXPLAINED


def test_a_request_that_ran_twice_is_found() -> None:
    ledger = Ledger()
    ledger.ran(["r1", "r2", "r1"])
    assert ledger.examples[Fate.DOUBLED] == ["r1 ran 2 times"]
    assert ledger.bad == 1


def test_a_node_that_is_tried_again_may_run_a_request_as_often() -> None:
    ledger = Ledger()
    ledger.ran(["r1@wf__a", "r1@wf__b", "r1@wf__b", "r2@wf__a", "r2@wf__a"], {"wf__b": 2})
    assert ledger.examples[Fate.DOUBLED] == ["r2@wf__a ran 2 times"]


def test_fates_are_counted_by_kind() -> None:
    ledger = Ledger()
    ledger.answered(asked(), 200, right=True)
    ledger.unanswered(asked(), "closed")
    assert ledger.kinds == {"a kind": {Fate.RIGHT: 1, Fate.LOST: 1}}


def test_all_that_is_bad_counts() -> None:
    for fate in Fate:
        ledger = Ledger()
        ledger.fates[fate] += 1
        assert ledger.bad == (fate in BAD)
