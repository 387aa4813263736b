"""A compiled model with paddedBatchSizes, under requests of all batch sizes: what it sees, compiles and answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Serve
from .live import eventually, make_model
from .test_faults import ONE_WORKER, queued

HANDLER = """
import os, time
import torch
from torch._dynamo.utils import counters
from ts.torch_handler.base_handler import BaseHandler

class Seen(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model
    def forward(self, x):
        found = self.model(x)
        with open(os.environ["RECORD_HERE"], "a") as file:
            print(len(x), counters["stats"]["unique_graphs"], file=file)
        return found

class Doubling(BaseHandler):
    def initialize(self, context):
        super().initialize(context)
        self.model = Seen(self.model)

    def preprocess(self, data):
        rows = [row.get("body") for row in data]
        if "wait" in str(rows):
            open(os.environ["RECORD_HERE"] + ".held", "w").close()
            while not os.path.exists(os.environ["RECORD_HERE"] + ".gate"):
                time.sleep(0.01)
        return torch.tensor([[0.0 if "wait" in str(row) else float(row)] for row in rows])

    def postprocess(self, data):
        return [{"twice": row[0], "batch": len(data)} for row in data.tolist()]
"""
NET = """
import torch
class Net(torch.nn.Module):
    def forward(self, x):
        return x * 2
"""
CONFIG = (
    f"{ONE_WORKER}batchSize: 7\npaddedBatchSizes: [1, 2, 4, 8]\nwarmUp: [1]\npt2: {{backend: eager, dynamic: false}}\n"
)


@pytest.mark.parametrize("policy", ["eager", pytest.param("adaptive", marks=pytest.mark.thorough)])
def test_a_model_never_sees_or_compiles_another_size(serve: Serve, store: Path, policy: str) -> None:
    folder = make_model(store, "record", HANDLER, f"{CONFIG}batchPolicy: {policy}\n", **{"net.py": NET})
    manifest = folder / "MAR-INF" / "MANIFEST.json"
    manifest.write_text(manifest.read_text().replace('"handler"', '"modelFile": "net.py", "handler"'))
    seen, gate, holds = store.parent / "seen", store.parent / "seen.gate", store.parent / "seen.held"
    server = serve("record", env={"RECORD_HERE": str(seen)})
    server.ready("record")
    assert server.workers("record")[0]["notes"]["warm-up"].startswith("batches of 1, 2, 4, 8 in ")
    warmed = [line.split() for line in seen.read_text().splitlines()]
    assert {size for size, _ in warmed} == {"1", "2", "4", "8"}
    batches: set[int] = set()
    for count in range(1, 8):
        gate.unlink(missing_ok=True)
        holds.unlink(missing_ok=True)
        held = server.later("record", "wait")
        eventually(holds.exists)
        waiting = [server.later("record", str(number)) for number in range(count)]
        # Adaptive may have handed some over ahead.
        eventually(lambda: policy == "adaptive" or queued(server) == count)  # noqa: B023
        gate.touch()
        answers = [each.result(30) for each in waiting]
        assert [answer.json["twice"] for answer in answers] == [2.0 * number for number in range(count)]
        batches |= {answer.json["batch"] for answer in answers}
        held.result(30)
    lines = [line.split() for line in seen.read_text().splitlines()]
    assert {size for size, _ in lines} == {"1", "2", "4", "8"}
    assert {graphs for _, graphs in lines[len(warmed) :]} == {warmed[-1][1]}, "nothing is compiled under load"
    if policy == "eager":
        assert batches == set(range(1, 8)), "what the handler sees is not padded"
