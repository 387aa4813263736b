"""asyncCommunication: one worker runs many requests side by side, and what becomes of one is its own affair."""

from __future__ import annotations

import time
from pathlib import Path

from .conftest import Serve
from .live import LiveServer, eventually, gone, make_model

# A request does what its text says, word by word; `meet N` waits until N of them have come.
HANDLER = """
import asyncio, os, time
from ts.handler_utils.utils import send_intermediate_predict_response
from ts.utils.util import PredictionException

class Handler:
    def initialize(self, context):
        self.loop = asyncio.get_event_loop()
        self.here, self.together = 0, asyncio.Event()

    async def handle(self, data, context):
        assert asyncio.get_running_loop() is self.loop
        verb, _, rest = data[0]["body"].decode().partition(" ")
        context.metrics.add_counter("Seen", 1, 0)
        if verb == "meet":
            self.here += 1
            if self.here == int(rest):
                self.together.set()
            await self.together.wait()
        elif verb == "raise":
            raise ValueError(rest)
        elif verb == "refuse":
            raise PredictionException(rest, 422)
        elif verb == "stream":
            for word in rest.split():
                send_intermediate_predict_response([word], context.request_ids, "", 200, context)
                await asyncio.sleep(0)
            return [""]
        elif verb == "never":
            await asyncio.Event().wait()
        elif verb == "block":
            time.sleep(600)
        elif verb == "gate":
            print("at the gate")
            while not os.path.exists(rest):
                await asyncio.sleep(0.01)
        elif verb == "exit":
            os._exit(3)
        context.set_response_header(0, "x-verb", verb)
        return [f"{context.get_request_id()} {len(data)} {os.getpid()}"]
"""
CONFIG = "minWorkers: 1\nmaxWorkers: 1\nasyncCommunication: true\nbatchSize: 4\nresponseTimeout: 100\n"


def begin(serve: Serve, store: Path, config: str = CONFIG, handler: str = HANDLER) -> LiveServer:
    make_model(store, "side", handler, config=config)
    server = serve("side=side")
    server.ready("side")
    return server


def test_requests_that_wait_for_each_other_all_get_their_own_answer(serve: Serve, store: Path) -> None:
    server = begin(serve, store)
    answers = [each.result() for each in [server.later("side", b"meet 12") for _ in range(12)]]
    assert [answer.status for answer in answers] == [200] * 12
    bodies = [answer.body.decode().split() for answer in answers]
    assert [body[0] for body in bodies] == [answer.headers["x-request-id"] for answer in answers]
    assert {(body[1], body[2]) for body in bodies} == {("1", bodies[0][2])}
    assert {answer.headers["x-verb"] for answer in answers} == {"meet"}
    assert not server.has_logged("asyncCommunication is not supported")


def test_a_failure_is_the_failing_requests_alone(serve: Serve, store: Path) -> None:
    server = begin(serve, store)
    waiting = [server.later("side", b"meet 3") for _ in range(2)]
    assert server.predict("side", b"raise no").status == 503
    refused = server.predict("side", b"refuse so")
    assert (refused.status, refused.message) == (422, "so")
    streamed = server.predict("side", b"stream one two")
    assert (streamed.headers["transfer-encoding"], streamed.body) == ("chunked", b"onetwo")
    assert server.predict("side", b"meet 3").status == 200
    assert [each.result().status for each in waiting] == [200, 200]


def test_a_worker_that_dies_fails_all_that_it_ran_and_is_started_again(serve: Serve, store: Path) -> None:
    server = begin(serve, store)
    waiting = [server.later("side", b"meet 9") for _ in range(3)]
    eventually(lambda: server.accepted("side") == (3, 0))
    assert server.predict("side", b"exit").status == 500
    assert [each.result().status for each in waiting] == [500] * 3
    assert all("Worker died" in each.result().message for each in waiting)
    eventually(lambda: server.predict("side", b"hello").status == 200)


def test_a_request_without_end_costs_no_other_and_a_hung_worker_is_replaced(serve: Serve, store: Path) -> None:
    server = begin(serve, store, CONFIG.replace("100", "3"))
    pid = server.workers("side")[0]["pid"]
    stuck = server.later("side", b"never")
    until = time.monotonic() + 60
    while not stuck.done() and time.monotonic() < until:
        assert server.predict("side", b"hello").body.split()[2] == str(pid).encode()
    answer = stuck.result()
    assert (answer.status, "responseTimeout" in answer.message) == (500, True)
    assert server.workers("side")[0]["pid"] == pid
    blocked = server.predict("side", b"block")
    assert (blocked.status, "responseTimeout" in blocked.message) == (500, True)
    eventually(lambda: gone(pid))
    eventually(lambda: server.predict("side", b"hello").status == 200)


def test_two_workers_share_what_comes_and_a_stop_waits_for_it(serve: Serve, store: Path, tmp_path: Path) -> None:
    config = CONFIG.replace("Workers: 1", "Workers: 2")
    make_model(store, "side", HANDLER, config=config)
    server = serve("side=side")
    server.ready("side", 2)
    seen = {server.predict("side", b"hello").body.split()[2] for _ in range(4)}
    assert len(seen) == 2
    gate = tmp_path / "gate"
    waiting = [server.later("side", f"gate {gate}".encode()) for _ in range(3)]
    eventually(lambda: sum("at the gate" in line for line in server.lines) == 3)
    server.terminate()
    server.until_logged("Stopping:")
    assert not any(each.done() for each in waiting)
    gate.touch()
    assert [each.result().status for each in waiting] == [200] * 3
    assert server.stop() == 0


def test_a_plain_handler_serves_as_well(serve: Serve, store: Path) -> None:
    server = begin(
        serve,
        store,
        handler=HANDLER.replace("async def", "def")
        .replace("await ", "")
        .replace("asyncio.get_running_loop() is self.loop", "True"),
    )
    assert server.predict("side", b"hello").status == 200
