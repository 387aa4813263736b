"""What a handler raises comes back to its author: in the model's description and, with the switch, in the answer."""

from __future__ import annotations

import pytest

from .conftest import Serve
from .handlers import PROBE
from .live import eventually, make_model

BROKEN = """

def handle(data, context):
    return data[0]  # data is None while it loads
"""
ONCE = "minWorkers: 1\nmaxWorkers: 1\nmaxRetryTimeoutInSec: 1\n"


@pytest.mark.parametrize("shown", [False, True])
def test_a_request(serve: Serve, store, shown: bool):
    make_model(store, "probe", PROBE)
    server = serve("probe", properties=f"handler_errors_in_response={str(shown).lower()}")
    server.ready("probe")
    assert "lastFailure" not in server.workers("probe")[0]
    assert server.predict("probe", "refuse meant so").message == "meant so"
    assert "lastFailure" not in server.workers("probe")[0]
    answer = server.predict("probe", "raise no such row")
    assert answer.status == 503
    line = next(number for number, text in enumerate(PROBE.splitlines(), 1) if "ValueError(rest)" in text)
    if shown:
        first, *rest = answer.message.splitlines()
        assert first == f"Prediction failed: ValueError: no such row (handler.py:{line})"
        assert rest[0] == "Traceback (most recent call last):"
        assert rest[-1] == "ValueError: no such row"
    else:
        assert answer.message == "Prediction failed"
    failure = server.workers("probe")[0]["lastFailure"]
    assert list(failure) == ["time", "kind", "message", "file", "line", "traceback"]
    assert (failure["kind"], failure["message"]) == ("ValueError", "no such row")
    assert (failure["file"], failure["line"]) == ("handler.py", line)
    assert failure["traceback"][-1] == "ValueError: no such row"
    server.predict("probe", "object")
    assert server.workers("probe")[0]["lastFailure"]["kind"] == "UnsupportedOutput"
    server.predict("probe", "kill")
    eventually(lambda: server.workers("probe", "READY"))
    assert server.workers("probe")[0]["lastFailure"]["kind"] == "UnsupportedOutput"


@pytest.mark.parametrize("shown", [False, True])
def test_a_load(serve: Serve, store, shown: bool):
    make_model(store, "broken", BROKEN, config=ONCE)
    server = serve(properties=f"handler_errors_in_response={str(shown).lower()}")
    answer = server.manage("POST", "/models?url=broken&initial_workers=1&synchronous=true")
    assert answer.status == 500
    assert "TypeError: 'NoneType' object is not subscriptable (handler.py:4)" in answer.message
    assert ("Traceback (most recent call last):" in answer.message) == shown
    server.until_logged("TypeError: 'NoneType' object is not subscriptable")


def test_a_load_at_the_start_is_described(serve: Serve, store):
    make_model(store, "broken", BROKEN, config=ONCE)
    server = serve("broken")
    failure = eventually(lambda: [each["lastFailure"] for each in server.workers("broken") if "lastFailure" in each])[0]
    assert (failure["kind"], failure["file"], failure["line"]) == ("TypeError", "handler.py", 4)
    assert failure["traceback"][0] == "Traceback (most recent call last):"
