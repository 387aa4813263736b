"""Graphs on a pretended GPU: the right answers for every size of batch, and wrong ones once any wait is left out."""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from torchserve.kernels import graphs, pipeline
from torchserve.kernels.graphs import Unrecorded, answer_of, record_rows
from torchserve.kernels.pipeline import ImagePipeline, prepare, record_images

from .simulated import Gpu, gpu
from .test_pipeline import CUDA, FIT, HALF, by_tables, expected, pictures

SIZES = (1, 2, 4)


def doubled(device: Gpu) -> Any:
    """A model of the shared buffer's first rows, the work of which is the stream's."""

    def work(source: Tensor, rows: int) -> Any:
        rows_of = source[:rows]
        answer = torch.empty(rows_of.shape)
        device.late(lambda answer, given: torch.mul(given, 2, out=answer))(answer, rows_of)
        return {"doubled": answer, "all": [answer]}

    return work


def served(device: Gpu, module: Any, batches: int = 9) -> list[bool]:
    """Batches of 1 to 4 rows from two streams by turns; the streams do a piece of work each in turn."""
    made = module.Graphs(torch.zeros(4, 3), SIZES, doubled(device))
    streams = [torch.cuda.Stream(), torch.cuda.Stream()]
    asked, answers = [], []
    for number in range(batches):
        batch = torch.full((1 + number % 4, 3), float(number + 1))
        with torch.cuda.stream(streams[number % 2]):
            fill = lambda source, batch=batch: source[: len(batch)].copy_(batch, non_blocking=True)
            answers.append(made.run(len(batch), fill))
        asked.append(2 * batch)
    device.finish_in_turns()
    return [
        torch.equal(answer["doubled"], wanted) and torch.equal(answer["all"][0], wanted)
        for answer, wanted in zip(answers, asked, strict=True)
    ]


def test_every_batch_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    with gpu(monkeypatch) as device:
        assert served(device, graphs) == [True] * 9


SOURCE = inspect.getsource(graphs)
WAITS = re.findall(r"^ +\S*wait_event\(.*$", SOURCE, re.MULTILINE)


def test_the_waits_are_known() -> None:
    """So that a new one gets a test as well."""
    assert [wait.strip() for wait in WAITS] == [
        "current.wait_event(self._read)",
        "apart.wait_event(ready)",
        "current.wait_event(done)",
    ]


def without(wait: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module with one of its waits left out."""
    assert SOURCE.count(wait) == 1
    spoilt = folder / "planted_graphs.py"
    spoilt.write_text(SOURCE.replace(wait, f"{wait[: len(wait) - len(wait.lstrip())]}pass"))
    spec = importlib.util.spec_from_file_location("torchserve.kernels.planted_graphs", spoilt)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def test_the_wait_for_the_batch_before_is_missed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with gpu(monkeypatch) as device:
        assert False in served(device, without(WAITS[0], tmp_path, monkeypatch))


def learned(device: Gpu, module: Any, *, hasty: bool) -> list[float]:
    """What first runs see of a weight that is still on its way, and what is seen later of what they leave behind.

    The stream that they run in goes first if it is `hasty`, else last.
    """
    weight, seen, left = torch.empty(1), torch.empty(1), torch.empty(1)
    device.late(lambda: weight.fill_(3.0))()

    def work(source: Tensor, rows: int) -> Tensor:
        device.late(lambda: seen.copy_(weight))()
        device.late(lambda: left.copy_(seen + 1))()
        return source[:rows]

    real = torch.cuda.graph
    found: list[float] = []

    def looked(*arguments: Any, **options: Any) -> Any:
        """Before a recording waits for the whole device, as it does."""
        device.late(lambda: found.extend([float(seen), float(left)]))()
        for stream in reversed(device.streams) if hasty else device.streams:
            stream.run()
        return real(*arguments, **options)

    torch.cuda.graph = looked
    module.Graphs(torch.zeros(4, 3), (1,), work)
    torch.cuda.graph = real
    return found


@pytest.mark.parametrize("wait", [None, *WAITS[1:]], ids=str)
def test_what_first_runs_wait_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wait: str | None) -> None:
    module = graphs if wait is None else without(wait, tmp_path, monkeypatch)
    with gpu(monkeypatch) as device:
        found = [learned(device, module, hasty=hasty) for hasty in (True, False)]
    assert (found == [[3.0, 4.0]] * 2) == (wait is None)


def test_the_least_size_that_holds_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    with gpu(monkeypatch) as device:
        made = graphs.Graphs(torch.zeros(4, 3), SIZES, doubled(device))
        assert [made.size(rows) for rows in range(1, 6)] == [1, 2, 4, 4, None]


@pytest.mark.parametrize(
    ("work", "why"),
    [
        (lambda source, rows: source.numpy().no_such, "a batch of 4: AttributeError: "),
        (lambda source, rows: [source[:rows], 1.5], "a batch of 4: TypeError: the answer has a float, and not tensors"),
    ],
)
def test_what_can_not_be_recorded(monkeypatch: pytest.MonkeyPatch, work: Any, why: str) -> None:
    with gpu(monkeypatch), pytest.raises(Unrecorded, match=why):
        graphs.Graphs(torch.zeros(4, 3), SIZES, work)


def test_elsewhere_nothing_is_recorded() -> None:
    with pytest.raises(Unrecorded, match="the model runs on cpu"):
        record_rows(torch.zeros(3), SIZES, torch.neg)
    with pytest.raises(Unrecorded, match="the model runs on cpu"):
        record_images(torch.device("cpu"), (12, 14), HALF, HALF, SIZES, torch.neg)


# ---- pictures: the kernel and the model in one graph


def negative(device: Gpu) -> Any:
    def model(batch: Tensor) -> Tensor:
        answer = torch.empty(batch.shape)
        device.late(lambda answer, given: torch.neg(given, out=answer))(answer, batch)
        return answer

    return model


def prepared(monkeypatch: pytest.MonkeyPatch, device: Gpu, batches: list[list[Tensor]]) -> list[bool]:
    subject = ImagePipeline(CUDA, device.late(by_tables))
    monkeypatch.setattr(pipeline, "_pipeline", {CUDA: subject}.__getitem__)
    made = record_images(CUDA, (12, 14), HALF, HALF, SIZES, negative(device))
    asked, answers = [], []
    for batch in batches:
        asked.append(expected(batch))
        answers.append(prepare(batch, FIT, HALF, HALF, filter="bilinear", device=CUDA, graphs=made))
        for picture in batch:
            picture.fill_(7)  # the pictures are the caller's again
    waiting = [subject.download(answer_of(answer)) for answer in answers]
    right = [torch.allclose(pending.wait(), -wanted, atol=1e-5) for pending, wanted in zip(waiting, asked, strict=True)]
    device.finish()
    return right + [torch.allclose(batch, wanted, atol=1e-5) for batch, wanted in zip(answers, asked, strict=True)]


def test_pictures_become_answers_in_one_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    batches = [pictures(0), [*pictures(1), *pictures(3)], pictures(5), [*pictures(1), *pictures(2)], pictures(4)]
    with gpu(monkeypatch) as device:
        assert prepared(monkeypatch, device, batches) == [True] * 10


def test_a_batch_that_no_graph_holds_has_its_kernel_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "_ROOM", 1 << 13)
    large = [torch.zeros(400, 500, 3, dtype=torch.uint8)]
    many = [picture for number in range(5) for picture in pictures(number)]
    with gpu(monkeypatch) as device:
        subject = ImagePipeline(CUDA, device.late(by_tables))
        monkeypatch.setattr(pipeline, "_pipeline", {CUDA: subject}.__getitem__)
        made = record_images(CUDA, (12, 14), HALF, HALF, SIZES, negative(device))
        for batch in (large, many, []):
            answer = prepare(batch, FIT, HALF, HALF, filter="bilinear", device=CUDA, graphs=made)
            device.finish()
            assert answer_of(answer) is None
            if batch:
                torch.testing.assert_close(answer, expected(batch), atol=1e-5, rtol=0)


def test_without_a_kernel_nothing_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "runs_triton", lambda _: False)
    with gpu(monkeypatch), pytest.raises(Unrecorded, match="the kernel doesn't run on this device"):
        ImagePipeline(CUDA).record((12, 14), HALF, HALF, SIZES, lambda batch: batch)
