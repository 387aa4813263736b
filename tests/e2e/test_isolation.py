"""isolateErrors through the whole server: one of a batch fails, and the others are answered."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from .conftest import Serve
from .live import Gate, eventually, make_model

# `raise` fails the whole batch, `in place` the request alone. "hold PATH" waits for the file, and answers its name.
ROWS = """
import pathlib, time
from ts.utils.util import PredictionException

def one(text, rows):
    if text.startswith("hold "):
        path = pathlib.Path(text.removeprefix("hold "))
        path.with_name(path.name + ".reached").touch()
        while not path.exists():
            time.sleep(0.005)
    if text == "raise":
        raise PredictionException("not this one", 422)
    if text == "in place":
        return ValueError("this one alone")
    return f"{text} of {rows}"

def handle(data, context):
    return None if data is None else [one(row["body"], len(data)) for row in data]
"""
CONFIG = "minWorkers: 1\nmaxWorkers: 1\nbatchSize: 4\nmaxBatchDelay: 60000\nbatchPolicy: fixed\n"


def test_the_others_of_a_batch_are_answered(serve: Serve, store: Path) -> None:
    make_model(store, "again", ROWS, config=CONFIG + "isolateErrors: true\n")
    make_model(store, "once", ROWS, config=CONFIG)
    server = serve("again", "once")
    for model in ("again", "once"):
        server.ready(model)
    asked = [server.later("again", text) for text in ("a", "raise", "in place", "b")]
    answers = [each.result() for each in asked]
    assert [answer.status for answer in answers] == [200, 422, 503, 200]
    assert [answers[0].body, answers[3].body] == [b"a of 1", b"b of 1"]
    assert [answers[1].message, answers[2].message] == ["not this one", "Prediction failed"]
    server.until_logged("a batch of 4 failed; its requests are run again one by one (isolateErrors)")
    (worker,) = server.workers("again")
    assert worker["lastFailure"]["message"] == "this one alone"

    asked = [server.later("once", text) for text in ("a", "raise", "in place", "b")]
    assert [each.result().status for each in asked] == [422] * 4, "as in TorchServe"
    asked = [server.later("once", text) for text in ("a", "in place", "in place", "b")]
    answers = [each.result() for each in asked]
    assert [answer.status for answer in answers] == [200, 503, 503, 200], (
        "an exception in a row's place needs no option"
    )
    assert answers[0].body == b"a of 4"


def test_a_worker_that_is_killed_while_it_runs_a_batch_again(serve: Serve, store: Path, tmp_path: Path) -> None:
    make_model(store, "again", ROWS, config=CONFIG.replace("batchSize: 4", "batchSize: 2") + "isolateErrors: true\n")
    server = serve("again")
    server.ready("again")
    gate = Gate(tmp_path / "gate")
    asked = [server.later("again", text) for text in ("raise", f"hold {gate}")]
    gate.reached()
    (worker,) = server.workers("again")
    os.kill(worker["pid"], signal.SIGKILL)
    assert [each.result().status for each in asked] == [507, 507]
    eventually(lambda: server.workers("again", "READY"))
    gate.open()
    asked = [server.later("again", text) for text in ("raise", f"hold {gate}")]
    assert [each.result().status for each in asked] == [422, 200]
