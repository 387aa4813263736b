"""What the front reads in the model-config.yaml of a model with an engine of its own: its names, and its GPUs.

The worker checks the same keys and refuses to load what is wrong, so that nothing is refused here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from ..config.parallel import MOST_LEVEL, Parallel

_CONFIGS = ("vllm_engine_config", "engine_config")
_PARALLEL = ("tensor_parallel_size", "pipeline_parallel_size", "tp_size", "pp_size")  # GPUs are their product
_MOST_NAMES = 1000


def engine_names(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names, beside the model's own, that a client may ask the engine for: served names, and adapters."""
    handler = _table(config.get("handler"))
    said: list[Any] = [handler.get("served_model_name")]
    said += [_table(handler.get(key)).get("served_model_name") for key in _CONFIGS]
    names: list[Any] = []
    for each in said:
        names += each if isinstance(each, list | tuple) else [each]
    names += _table(handler.get("adapters"))
    return tuple(dict.fromkeys(name for name in names if isinstance(name, str) and name))[:_MOST_NAMES]


def engine_gpus(config: Mapping[str, Any], said: Parallel | None = None) -> Parallel | None:
    """Return the layout of an engine that computes on several GPUs; None for one.

    An engine starts its ranks itself, so that there is one worker for all of its GPUs, whatever parallelType `said`.
    """
    if said is not None:
        return replace(said, kind="custom")
    handler = _table(config.get("handler"))
    level = 1
    for key in (*_CONFIGS, "trt_llm_engine_config"):
        for name in _PARALLEL:
            value = _table(handler.get(key)).get(name, 1)
            level *= value if type(value) is int and value > 0 else 1
    if level == 1 and type(config.get("parallelLevel")) is int:
        level = config["parallelLevel"]
    return Parallel(kind="custom", level=level) if 1 < level <= MOST_LEVEL else None


def _table(said: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", said) if isinstance(said, Mapping) else {}
