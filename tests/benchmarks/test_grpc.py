"""benchmarks.grpc: a goal is met only by what was measured, wrong answers are seen, and each server gets the same calls."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.call_goals import Results, Sample, goals, table
from benchmarks.calls import BODY, Means, _shared_message, an_image, ends_with_body, images, means_of
from benchmarks.process import free_ports
from benchmarks.servers import Server
from benchmarks.workload import CALLS, Workload
from torchserve.cli.infer_messages import read_message
from torchserve.http.rpc.protos.messages import message


def echo_results(ours: float = 30.0, cpu: float = 50.0, p99: float = 1.0) -> Results:
    """Runs of `echo` in which ours does `ours` calls a second, and each rival 10."""
    found = Results()
    for cell in ((1, 1), (64, 8)):
        for server, by in (
            ("ours", "Predictions"), ("ours", "ModelInfer"), ("torchserve", "Predictions"), ("triton", "ModelInfer"),
        ):  # fmt: skip
            mine = server == "ours"
            sample = Sample(ours if mine else 10.0, 1.0, p99 if mine else 2.0, cpu if mine else 300.0)
            found.samples[(*cell, server, by)] = [sample] * 3
    return found


def met(results: dict[str, Results]) -> dict[str, bool | None]:
    return {goal.text: goal.met for goal in goals(results)}


def test_goals_are_met_by_ratios_within_a_round() -> None:
    assert set(met({"echo": echo_results()}).values()) == {True}
    slower = met({"echo": echo_results(ours=29.0)})
    assert [text for text, each in slower.items() if not each] == ["≥ 3 times torchserve's calls/s"]
    late = met({"echo": echo_results(p99=2.5)})
    assert [text for text, each in late.items() if not each] == [
        "a lower p99 than torchserve's (ours/it)", "a lower p99 than triton's (ours/it)",
    ]  # fmt: skip
    dear = met({"echo": echo_results(cpu=91.0)})
    assert [text[:7] for text, each in dear.items() if not each] == ["≤ 90 us"]


def test_one_slow_cell_is_enough_for_a_goal_to_be_missed() -> None:
    found = echo_results()
    found.samples[64, 8, "triton", "ModelInfer"] = [Sample(20.0, 1.0, 2.0, 300.0)] * 3
    assert met({"echo": found})["≥ 2 times triton's calls/s"] is False


def test_a_rival_that_is_left_out_is_no_goal_that_is_met() -> None:
    found = echo_results()
    for key in [key for key in found.samples if key[2] == "triton"]:
        del found.samples[key]
    told = met({"echo": found, "image": Results(), "stream": Results()})
    assert told["≥ 2 times triton's calls/s"] is None
    assert told["≥ 1.5 times triton's images/s, gRPC raw"] is None
    assert told["a stream's first piece sooner than torchserve's (ours/it)"] is None
    assert "not measured" in str(goals({"image": Results()})[0])


def test_a_fault_is_a_goal_that_is_missed() -> None:
    found = echo_results()
    found.faults.append("ours, ModelInfer: 1 wrong answer")
    assert met({"echo": found})["every call is answered, and rightly"] is False


def test_the_table_has_each_row_and_its_ratio() -> None:
    lines = table(echo_results(), stream=False).splitlines()
    assert len(lines) == 2 + 8
    assert "| 1 | 1 | triton | ModelInfer | 10.00 (10.00 to 10.00) |" in lines[5]
    assert lines[5].endswith("| 3.00 (3.00 to 3.00) |")


def answer(means: list[float]) -> bytes:
    made = message("inference.ModelInferResponse")(model_name="calls")
    made.outputs.add(name="means", datatype="FP32", shape=[1, 3])
    made.raw_output_contents.append(np.array(means, np.float32).tobytes())
    return made.SerializeToString()


def test_wrong_means_are_seen() -> None:
    expected = means_of(an_image())
    check = Means(expected, read_message)
    right = answer(expected)
    assert check(0, b"", right)
    assert check(0, b"", right), "one that is known"
    assert not check(0, b"", answer([expected[0], expected[1], expected[2] + 0.01]))
    assert not check(0, b"", b"nothing")
    assert not check(0, b"", b"")


def test_an_echo_is_the_end_of_its_answer() -> None:
    assert ends_with_body(0, BODY, b"head" + BODY)
    assert not ends_with_body(0, BODY, b"head" + BODY[:-1] + b"x")


def test_an_image_in_shared_memory_is_not_in_the_message() -> None:
    made = message("inference.ModelInferRequest").FromString(_shared_message("calls", 602_112))
    assert not made.raw_input_contents
    assert made.inputs[0].parameters["shared_memory_byte_size"].int64_param == 602_112
    assert list(made.inputs[0].shape) == [1, 3, 224, 224]


def test_the_calls_of_a_server_go_to_its_ports(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "torchserve").touch()
    server = Server("ours", tmp_path, Workload("calls", tmp_path, b"", "", bodies=lambda n: []))
    by_rpc, by_rest = images(server)
    assert by_rpc.address.port == server.ports["grpc_inference_port"]
    assert by_rest.address.port == server.ports["inference_address"]
    assert (by_rpc.scenario(16, 2, 1.0).rpc, by_rest.scenario(16, 1, 1.0).rpc) == (True, False)
    assert by_rpc.scenario(16, 2, 1.0).channels == 2
    server.folder.rmdir()
    assert free_ports(2)


@pytest.fixture
def handler() -> Any:
    spec = importlib.util.spec_from_file_location("calls_handler", CALLS / "handler.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made = module.Calls()
    made.initialize(None)
    return made


def test_the_handler_answers_by_what_a_request_has(handler: Any) -> None:
    image = an_image()
    (found,) = handler.handle([{"image": image}], None)
    assert found["means"].tolist() == [means_of(image)]
    assert handler.handle([{"IN": b"a"}, {"IN": b"b"}], None) == [{"OUT": b"a"}, {"OUT": b"b"}]
    assert handler.handle([{"data": b"a"}, {"body": b"b"}], None) == [b"a", b"b"]
