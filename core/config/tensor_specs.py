"""The keys `inputs`, `outputs` and `batchDimension` of model-config.yaml: which tensors a model takes and returns."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from ..oip.datatypes import MOST_DIMENSIONS, SIZES
from ..oip.infer_request import LONGEST_NAME, MOST_TENSORS
from ..oip.signature import Signature, TensorSpec

log = logging.getLogger(__name__)

_KEYS: Final = {"name", "datatype", "shape"}


def read_signature(config: Mapping[str, Any]) -> Signature | None:
    """Return what a model's yaml says of its tensors, None if it says nothing.

    What can't be understood is logged, and then none of it is used: the yaml belongs to the handler's author, who may
    have meant something else by these keys.
    """
    try:
        return _signature(config)
    except ValueError as error:
        log.warning("model-config.yaml: %s; the model's inputs and outputs are not checked", error)
        return None


def _signature(config: Mapping[str, Any]) -> Signature | None:
    inputs, outputs = _specs(config, "inputs"), _specs(config, "outputs")
    batch_dimension = config.get("batchDimension", False)
    if not isinstance(batch_dimension, bool):
        raise ValueError(f"batchDimension must be true or false, not {batch_dimension!r}")  # noqa: TRY004
    if batch_dimension and any(spec.shape is not None and not spec.shape for spec in (*inputs, *outputs)):
        raise ValueError("with batchDimension the shapes of inputs and outputs begin with the rows")
    return Signature(inputs, outputs, batch_dimension) if inputs or outputs or batch_dimension else None


def _specs(config: Mapping[str, Any], key: str) -> tuple[TensorSpec, ...]:
    said = config.get(key)
    if said is None:
        return ()
    if not isinstance(said, list) or not said or len(said) > MOST_TENSORS:
        raise ValueError(f"{key} must be a list of 1 to {MOST_TENSORS} tensors")
    specs = tuple([_spec(f"{key}: entry {index + 1}", each) for index, each in enumerate(said)])
    if len({spec.name for spec in specs}) < len(specs):
        raise ValueError(f"two of {key} have the same name")
    return specs


def _spec(where: str, said: Any) -> TensorSpec:
    if not isinstance(said, dict) or not said.keys() <= _KEYS or "name" not in said:
        raise ValueError(f"{where} must have name, and may have datatype and shape, not {str(said)[:80]!r}")
    name, datatype, shape = said["name"], said.get("datatype", ""), said.get("shape")
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME:
        raise ValueError(f"{where}: name must be a text of 1 to {LONGEST_NAME} characters, not {str(name)[:80]!r}")
    if not isinstance(datatype, str) or (datatype and datatype not in SIZES):
        raise ValueError(f"{where}: datatype must be one of {', '.join(SIZES)}, not {str(datatype)[:80]!r}")
    if shape is not None and not _is_shape(shape):
        raise ValueError(f"{where}: shape must be a list of sizes, -1 for any, not {str(shape)[:80]!r}")
    return TensorSpec(name, datatype, None if shape is None else tuple(shape))


def _is_shape(shape: Any) -> bool:
    return (
        isinstance(shape, list)
        and len(shape) <= MOST_DIMENSIONS
        and all(type(size) is int and -1 <= size < 2**63 for size in shape)
    )
