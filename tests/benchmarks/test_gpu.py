"""What of the GPU's benchmark runs without one: its checks, its report, and that nothing is timed where one is red."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks import gpu, gpu_ways
from benchmarks.device_clock import Clock
from benchmarks.photo import jpeg
from torchserve.kernels.graphs import answered
from torchserve.kernels.jpeg import Jpeg, Source, Undecoded
from torchserve.kernels.softmax_topk import SOFTMAX_TOPK

CPU = torch.device("cpu")
BATCHES = {"80 x 60": [jpeg(80, 60)] * 2}
SCRIPT = Path(gpu.__file__).with_suffix(".sh").read_text()


def network(batch: Tensor) -> Tensor:
    return batch.mean(dim=(2, 3))


class NeverClock(Clock):
    """One that must not be asked."""

    def seconds(self, work: Callable[[], object]) -> float:
        raise AssertionError("timed")

    wall = seconds


def test_a_report_on_a_cpu() -> None:
    ops, ways = gpu.reports(Clock(CPU, 1), [SOFTMAX_TOPK], BATCHES, network, 2)
    assert len(ops) == 4 + len(SOFTMAX_TOPK.budgets)
    rows = dict(row.removeprefix("| ").split(" | 2 of 80 x 60 | ") for row in ways[2:])
    for name in ("the CPU path, then one upload", "torchvision on the device", "ours"):
        assert re.fullmatch(r"\d+ \| \d+ \| \d+ \|", rows.pop(name))
    assert rows == dict.fromkeys(
        ("ours, CUDA graphs", "ours, nvJPEG", "ours, CUDA graphs, nvJPEG"), "none: the model runs on cpu | | |"
    )


def gone_wrong(sources: list[Source]) -> Tensor:
    return torch.zeros(len(sources), 3, 224, 224)


def right(sources: list[Source]) -> Tensor:
    pixels = [
        source if isinstance(source, Tensor) else source.otherwise(Undecoded("the host does")) for source in sources
    ]
    return gpu_ways.resize_normalize(pixels, gpu_ways.FIT)


def graph_of_another(sources: list[Source]) -> Tensor:
    return answered(right(sources), network(right(sources)) + 1)


def graph(sources: list[Source]) -> Tensor:
    return answered(right(sources), network(right(sources)))


@pytest.mark.parametrize(
    ("way", "without", "red"),
    [
        (gpu_ways.Way("w", gpu_ways.pixels, right), "", ""),
        (gpu_ways.Way("w", gpu_ways.pixels, gone_wrong), "", r"w: a picture is \d+\.\d\d levels off on average"),
        (gpu_ways.Way("w", gpu_ways.pixels, gone_wrong, without="no"), "no", ""),
        (gpu_ways.Way("w", gpu_ways.pixels, graph, by_graph=True), "", ""),
        (gpu_ways.Way("w", gpu_ways.pixels, graph_of_another, by_graph=True), "", "w: the graph's answers are not .*"),
        (gpu_ways.Way("w", gpu_ways.pixels, right, by_graph=True), "they are too large for the graphs", ""),
        (gpu_ways.Way("w", gpu_ways.for_device, right, by_device=True), "the host does", ""),
    ],
)
def test_a_way_is_checked(way: gpu_ways.Way, without: str, red: str) -> None:
    subject, found = gpu_ways.checked(way, BATCHES["80 x 60"], network)
    assert subject.without == without
    assert re.fullmatch(red, found)


def test_the_device_is_the_one_to_decode() -> None:
    source = gpu_ways.for_device(BATCHES["80 x 60"][0])
    assert isinstance(source, Jpeg)
    with pytest.raises(Undecoded, match="RuntimeError: no nvJPEG"):
        source.otherwise(RuntimeError("no nvJPEG"))


def test_nothing_is_timed_on_a_red_check(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = [gpu_ways.Way("spoilt", gpu_ways.pixels, gone_wrong)]
    monkeypatch.setattr(gpu_ways, "ways", lambda *_: wrong)
    with pytest.raises(gpu.Red, match=r"^spoilt: a picture is .* \(80 x 60\)$"):
        next(gpu.reports(NeverClock(CPU, 1), [SOFTMAX_TOPK], BATCHES, network, 1))


def test_an_op_that_is_off() -> None:
    case = SOFTMAX_TOPK.budgets[0].case
    out = case.output()
    SOFTMAX_TOPK.reference(*case.inputs(), out=out)
    assert not gpu.off(SOFTMAX_TOPK, case, out)
    out[0] += 1
    assert gpu.off(SOFTMAX_TOPK, case, out)
    assert gpu.off(SOFTMAX_TOPK, case, out.fill_(torch.nan))


def test_all_of_it_ends_within_8_minutes() -> None:
    limits = [int(seconds) for seconds in re.findall(r"^(?:exec )?timeout (\d+) ", SCRIPT, re.MULTILINE)]
    stated = [int(seconds) for seconds in re.findall(r"^# +(\d+) s  ", SCRIPT, re.MULTILINE)]
    assert sum(limits) == sum(stated) <= 480
