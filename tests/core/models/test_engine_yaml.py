"""What the front reads in the yaml of a model with an engine of its own. What is wrong there is for the worker to refuse."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.config.parallel import Parallel
from torchserve.core.models.engine_yaml import engine_gpus, engine_names


@pytest.mark.parametrize(
    ("handler", "names"),
    [
        ({}, ()),
        ({"adapters": {"a": "x", "b": "y"}}, ("a", "b")),
        ({"served_model_name": "s", "vllm_engine_config": {"served_model_name": ["t", "s"]}}, ("s", "t")),
        ({"served_model_name": [1, None, ""], "adapters": ["a", 2]}, ()),
        ({"adapters": {str(number): "x" for number in range(5000)}}, tuple(map(str, range(1000)))),
    ],
)
def test_names(handler: Any, names: tuple[str, ...]) -> None:
    assert engine_names({"handler": handler})[: len(names)] == names
    assert len(engine_names({"handler": handler})) <= 1000


@pytest.mark.parametrize(
    ("config", "level"),
    [
        ({}, None),
        ({"handler": {"vllm_engine_config": {"tensor_parallel_size": 4}}}, 4),
        ({"handler": {"engine_config": {"tensor_parallel_size": 2, "pipeline_parallel_size": 2}}}, 4),
        ({"handler": {"trt_llm_engine_config": {"tp_size": 2}}}, 2),
        ({"parallelLevel": 2}, 2),
        ({"parallelLevel": 1}, None),
        ({"parallelLevel": True}, None),
        ({"handler": {"vllm_engine_config": {"tensor_parallel_size": "4"}}}, None),
        ({"handler": {"vllm_engine_config": {"tensor_parallel_size": 10**9}}}, None),
    ],
)
def test_gpus(config: dict[str, Any], level: int | None) -> None:
    found = engine_gpus(config)
    assert (found and (found.kind, found.level)) == (level and ("custom", level))


def test_an_engine_has_no_ranks() -> None:
    assert engine_gpus({}, Parallel(kind="tp", level=2)) == Parallel(kind="custom", level=2)


ANYTHING = st.recursive(
    st.none() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["handler", "adapters", "served_model_name", "engine_config", "tp_size"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@given(ANYTHING)
def test_whatever_it_says(handler: Any) -> None:
    assert all(isinstance(name, str) for name in engine_names({"handler": handler}))
    engine_gpus({"handler": handler, "parallelLevel": handler})
