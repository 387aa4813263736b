"""Redaction of payloads by a function of an archive, in a process of its own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from torchserve.core.payload_log import redactor as redactor_module
from torchserve.core.payload_log.record import REQUEST, RESPONSE, PayloadRecord
from torchserve.core.payload_log.redactor import Redaction, Redactor
from torchserve.core.payload_log.writer import NotRedacted

WAIT = 60.0  # seconds, for what comes at once
RECORD = PayloadRecord(REQUEST, "r1", "cats", "1.0", 1764526200.25, "text/plain", b"hello", 5)

REDACT = """
import os, time

def stars(record):
    if record["body"] == b"hang":
        time.sleep(600)
    if record["body"] == b"die":
        os._exit(1)
    if record["body"] == b"drop":
        return None
    if record["body"] == b"raise":
        raise ValueError("not a name")
    print("to nobody")
    return record["kind"] + ":" + "*" * len(record["body"])

class Handler:
    @staticmethod
    def hide(record):
        record["body"] = b"hidden"
        return record
"""


@pytest.fixture
def redactor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Redactor]]:
    (tmp_path / "redact.py").write_text(REDACT)
    monkeypatch.setattr(redactor_module, "_AGAIN", 0.0)
    made: list[Redactor] = []

    def make(name: str, module: str = "redact", timeout: float = WAIT) -> Redactor:
        made.append(Redactor(Redaction(str(tmp_path), (module, name), sys.executable), timeout))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_a_function_of_the_archive_changes_or_drops_what_is_logged(redactor: Callable[..., Redactor]) -> None:
    subject = redactor("stars")
    found = subject.redact(RECORD)
    assert found == RECORD._replace(body=b"request:*****", size=13)
    assert subject.redact(RECORD._replace(body=b"drop", size=4)) is None
    cut = subject.redact(RECORD._replace(kind=RESPONSE, size=99))
    assert (cut is not None) and (cut.body, cut.size) == (b"response:*****", 99)
    with pytest.raises(NotRedacted, match="ValueError: not a name"):
        subject.redact(RECORD._replace(body=b"raise"))
    with pytest.raises(NotRedacted, match="has ended"):
        subject.redact(RECORD._replace(body=b"die"))
    assert subject.redact(RECORD) == found
    subject.close()
    with pytest.raises(NotRedacted):
        subject.redact(RECORD)


def test_a_function_that_hangs_is_ended_and_one_that_is_not_there_is_told(redactor: Callable[..., Redactor]) -> None:
    subject = redactor("stars", timeout=0.05)
    assert subject.redact(RECORD) is not None
    with pytest.raises(NotRedacted, match="timed out"):
        subject.redact(RECORD._replace(body=b"hang"))
    with pytest.raises(NotRedacted, match="AttributeError"):
        redactor("nowhere").redact(RECORD)
    hidden = redactor("Handler.hide").redact(RECORD)
    assert hidden is not None
    assert hidden.body == b"hidden"
