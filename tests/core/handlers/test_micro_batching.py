"""MicroBatching: parts, order, threads, errors, and what is not cut."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from torchserve.core.handlers.base import BaseHandler
from torchserve.core.handlers.context import Context, RequestProcessor
from torchserve.core.handlers.micro_batching import MicroBatching


class Handler(BaseHandler):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, Any]] = []

    def preprocess(self, data: Any) -> Any:
        self.seen.append(("preprocess", list(data)))
        if "bad" in data:
            raise ValueError(f"bad among {data}")
        return data

    def inference(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        return [f"{value}!" for value in data]

    def postprocess(self, data: Any) -> Any:
        return data

    def explain_handle(self, data_preprocess: Any, raw_data: Any) -> Any:
        return ["explained"]

    def describe_handle(self) -> Any:
        return {"a": 1}


def make_context(**headers: str) -> Context:
    made = Context("m", "/", {"model": {}}, 1, None, "0")
    made.request_processor = [RequestProcessor(headers)]
    return made


@pytest.fixture
def handler():
    made = Handler()
    made.handle = MicroBatching(made, 2)
    yield made
    made.handle.shutdown()


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7])
@pytest.mark.parametrize("threads", [1, 3])
def test_answers_keep_their_order(handler: Handler, count: int, threads: int) -> None:
    handler.handle.parallelism = {"preprocess": threads, "inference": threads}
    context = make_context()
    assert handler.handle(list(range(count)), context) == [f"{value}!" for value in range(count)]
    expected = [list(range(start, min(start + 2, count))) for start in range(0, count, 2)]
    assert sorted(part for _, part in handler.seen) == expected
    assert handler.context is context
    assert [sample.name for sample in context.metrics.take()] == ["HandlerTime"]


def test_steps_of_different_parts_overlap(handler: Handler, monkeypatch) -> None:
    """The first part's inference ends only when the second one's preprocessing has begun."""
    second = threading.Event()
    numbers = []

    def preprocess(data: Any) -> Any:
        numbers.append(handler.handle.get_micro_batch_idx())
        if data == [3]:
            second.set()
        return data

    def inference(data: Any) -> Any:
        assert second.wait(20)
        return data

    monkeypatch.setattr(handler, "preprocess", preprocess)
    monkeypatch.setattr(handler, "inference", inference)
    assert handler.handle([1, 2, 3], make_context()) == [1, 2, 3]
    assert numbers == [0, 1]
    assert handler.handle.get_micro_batch_idx() is None


def test_an_error_is_the_batchs_and_the_next_one_runs(handler: Handler) -> None:
    with pytest.raises(ValueError, match=r"bad among \['x', 'bad'\]"):
        handler.handle([1, 2, "x", "bad", "bad"], make_context())
    assert handler.handle([1], make_context()) == ["1!"]


def test_descriptions_and_explanations_are_not_cut(handler: Handler) -> None:
    assert handler.handle([1, 2, 3], make_context(explain="True")) == ["explained"]
    assert handler.seen == [("preprocess", [1, 2, 3])]
    assert handler.handle([1], make_context(describe="True")) == [{"a": 1}]


def test_a_profile_has_the_whole_batch(handler: Handler, monkeypatch) -> None:
    monkeypatch.setenv("ENABLE_TORCH_PROFILER", "1")
    handler.profiler_args = {"on_trace_ready": lambda profile: None}
    assert handler.handle([1, 2, 3], make_context()) == ["1!", "2!", "3!"]
    assert handler.seen == [("preprocess", [1, 2, 3])]


def test_parallelism_is_told_and_checked(handler: Handler) -> None:
    assert handler.handle.parallelism == {}
    handler.handle.parallelism = {"inference": 2}
    assert handler.handle.parallelism == {"inference": 2}
    for wrong in ({"inference": 0}, {"forward": 1}):
        with pytest.raises(ValueError, match="at least 1 for each of preprocess, inference, postprocess"):
            handler.handle.parallelism = wrong
    with pytest.raises(ValueError, match="not 0"):
        MicroBatching(handler, 0)
