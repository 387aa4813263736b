"""Continuous batching and stateful models over HTTP, with handlers as TorchServe's users write them."""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from .conftest import Serve
from .live import Gate, LiveServer, eventually, make_model
from .test_faults import ONE_WORKER

# A request takes as many steps as it says; its second one waits for a gate, as in handlers.PROBE, if it names one.
COUNTDOWN = """
import os, time

class Countdown:
    def initialize(self, context):
        self.left, self.gates = {}, {}

    def handle(self, data, context):
        time.sleep(0.01)
        answers = []
        for index, row in enumerate(data):
            request = context.get_request_id(index)
            if request not in self.left:
                steps, _, self.gates[request] = row["body"].partition(" ")
                self.left[request] = int(steps)
                new = "new"
            else:
                assert row == {}
                new = "old"
                if gate := self.gates.pop(request, ""):
                    open(gate + ".reached", "w").close()
                    while not os.path.exists(gate):
                        time.sleep(0.01)
            answers.append(f"{new}{len(data)}|")
        def criterion(request):
            def stop(answer):
                self.left[request] -= 1
                return self.left[request] <= 0
            return stop
        context.stopping_criteria = [criterion(context.get_request_id(index)) for index in range(len(data))]
        return answers
"""

STATE = """
class State:
    def initialize(self, context):
        self.counts = {}

    def handle(self, data, context):
        answers = []
        for index, row in enumerate(data):
            name = context.get_sequence_id(index)
            if context.get_request_header(index, context.header_key_sequence_start) == "true":
                self.counts.pop(name, None)
            self.counts[name] = self.counts.get(name, 0) + 1
            context.set_response_header(index, context.header_key_sequence_id, name)
            answers.append(f"{row['body']} {self.counts[name]}")
        return answers
"""


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[LiveServer]:
    """A server without models: each test registers one of its own."""
    server = LiveServer(home, ()).wait()
    yield server
    assert server.stop() == 0


def register(server: LiveServer, name: str, handler: str, config: str, workers: int = 1) -> None:
    make_model(server.store, name, handler, config=config)
    assert server.manage("POST", f"/models?url={name}").status == 200
    server.ready(name, workers)


def test_requests_join_and_leave_a_batch_between_steps(server: LiveServer, tmp_path: Path):
    register(server, "joined", COUNTDOWN, ONE_WORKER + "batchSize: 3\ncontinuousBatching: true\n")
    assert server.manage("GET", "/models/joined").json[0]["continuousBatching"] is True
    lone = server.predict("joined", "1")
    assert (lone.status, lone.body) == (200, b"new1|")
    gate = Gate(tmp_path / "gate")
    long = server.later("joined", f"12 {gate}")
    gate.reached()
    joining = server.later("joined", "2")
    eventually(lambda: server.accepted("joined") == (1, 1))
    gate.open()
    first, short = long.result(), joining.result()
    assert (first.status, first.headers["ts_stream_next"]) == (200, "true")
    assert short.body == b"new2|old2|", "it joined, and had its answer while the other went on"
    steps = first.body.decode().rstrip("|").split("|")
    assert steps == ["new1", "old1", "old2", "old2", *["old1"] * 8]


def test_a_client_that_leaves_frees_its_place(server: LiveServer):
    register(server, "left", COUNTDOWN, ONE_WORKER + "batchSize: 1\ncontinuousBatching: true\n")
    connection = http.client.HTTPConnection("127.0.0.1", server.ports["Inference"], timeout=20)
    connection.request("POST", "/predictions/left", body="100000", headers={"Content-Type": "text/plain"})
    assert connection.getresponse().read(5)
    connection.close()
    assert server.predict("left", "1").body == b"new1|", "a hundred thousand steps would take longer than it waits"


def test_each_sequence_has_its_own_state_and_order(server: LiveServer):
    config = "batchSize: 4\nsequenceBatching: true\nmaxNumSequence: 2\nmaxSequenceJobQueueSize: 2\nsequenceMaxIdleMSec: 60000\n"
    register(server, "ordered", STATE, "minWorkers: 2\nmaxWorkers: 2\n" + config, 2)
    shown = server.manage("GET", "/models/ordered").json[0]
    assert (shown["stateful"], shown["maxNumSequence"], shown["sequenceMaxIdleMSec"]) == (True, 2, 60000)
    for number in range(1, 4):
        for name, header in (("A", "ts_request_sequence_id"), ("B", "Ts_Request_Sequence_Id")):
            answer = server.call(
                "Inference", "POST", "/predictions/ordered", b"x", **{"content_type": "text/plain", header: name}
            )
            assert (answer.status, answer.body.decode()) == (200, f"x {number}"), name
            assert answer.headers["ts_request_sequence_id"] == name
    refused = server.predict("ordered", "x", ts_request_sequence_id="C")
    assert refused.status == 503
    assert refused.message.startswith('Model "ordered" has no worker to serve inference request.')
    assert "maxNumSequence=2" in refused.message


def test_a_sequence_of_which_nothing_more_comes_makes_room(server: LiveServer):
    config = "batchSize: 1\nsequenceBatching: true\nmaxNumSequence: 1\nsequenceMaxIdleMSec: 300\n"
    register(server, "idle", STATE, ONE_WORKER + config)
    assert server.predict("idle", "x", ts_request_sequence_id="A").body == b"x 1"
    new = eventually(lambda: (answer := server.predict("idle", "y")).status == 200 and answer)
    assert new.headers["ts_request_sequence_id"].startswith("ts-seq-")
    assert new.body == b"y 1"


def test_a_websocket_is_a_sequence_and_its_end_makes_room(server: LiveServer):
    config = "batchSize: 1\nsequenceBatching: true\nmaxNumSequence: 1\nsequenceMaxIdleMSec: 60000\n"
    register(server, "spoken", STATE, ONE_WORKER + config)
    register(server, "streamed", COUNTDOWN, ONE_WORKER + "batchSize: 1\ncontinuousBatching: true\n")
    url = f"http://127.0.0.1:{server.ports['Inference']}/predictions/"

    async def talk() -> None:
        async with aiohttp.ClientSession() as session:
            async with session.ws_connect(url + "spoken") as one, session.ws_connect(url + "spoken") as other:
                for number in (1, 2):
                    await one.send_str("x")
                    assert await one.receive_str(timeout=60) == f"x {number}"
                await other.send_str("y")
                assert "maxNumSequence=1" in (await other.receive_json(timeout=60))["message"]
                await one.close()
                while (told := await _asked(other, "y")).startswith("{"):  # the handler has not seen the end yet
                    await asyncio.sleep(0.01)
                assert told == "y 1"
            async with session.ws_connect(url + "streamed") as ws:
                await ws.send_str("3")
                assert [await ws.receive_str(timeout=60) for _ in range(4)] == ["new1|", "old1|", "old1|", ""]

    asyncio.run(talk())


async def _asked(ws: aiohttp.ClientWebSocketResponse, text: str) -> str:
    await ws.send_str(text)
    return await ws.receive_str(timeout=60)


def test_the_end_of_a_sequence_is_its_end(serve: Serve, store: Path):
    config = "batchSize: 2\nsequenceBatching: true\nsequenceMaxIdleMSec: 60000\n"
    make_model(store, "state", STATE, config=ONE_WORKER + config)
    server = serve("state", properties="ts_header_key_sequence_id=X-Session\n")
    server.ready("state")
    assert server.predict("state", "x", x_session="A").body == b"x 1"
    assert server.predict("state", "x", x_session="B").status == 503
    assert server.predict("state", "x", x_session="A", ts_request_sequence_end="true").body == b"x 2"
    assert server.predict("state", "x", x_session="B").body == b"x 1"
