"""Signature: the inputs and outputs that a model says it has, and the check of a request against them.

A model says them in its model-config.yaml, or they are learnt from what a worker has loaded.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ..errors import BadRequest
from ..payload import Infer, TensorHead
from .datatypes import shown


class TensorSpec(msgspec.Struct, frozen=True, array_like=True):
    """A tensor as a model declares it. -1 in a shape is any size. `datatype` is "" and `shape` None if not known."""

    name: str
    datatype: str = ""
    shape: tuple[int, ...] | None = None


class Signature(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """The tensors that a model takes and returns. Without `inputs` it takes any, without `outputs` it may return any.

    If `batch_dimension`, the first dimension of each tensor counts rows, which can be computed apart from each other.
    """

    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    batch_dimension: bool = False


def check_signature(infer: Infer, signature: Signature, model: str) -> None:
    """Raise BadRequest, naming what is expected and what was given, if a request doesn't fit the model's signature."""
    if signature.inputs:
        given = {head.name: head for head in infer.inputs}
        _same_names(model, "inputs", signature.inputs, list(given))
        for spec in signature.inputs:
            _check_tensor(model, spec, given[spec.name])
    if signature.outputs:
        names = {spec.name for spec in signature.outputs}
        for wanted in infer.outputs:
            if wanted.name not in names:
                raise BadRequest(f"Model {model} has no output {wanted.name!r}; its outputs are {_listed(names)}.")
    if signature.batch_dimension:
        _rows_of(infer, model)


def rows_of(infer: Infer) -> int:
    """Return how many rows a checked request has, whose model declares a batch dimension."""
    return infer.inputs[0].shape[0]


def _rows_of(infer: Infer, model: str) -> None:
    for head in infer.inputs:
        if not head.shape or not head.shape[0]:
            raise BadRequest(
                f"Input {head.name!r} has the shape {shown(head.shape)}; the first dimension of the inputs of model"
                f" {model} is the number of rows, 1 at least (batchDimension)."
            )
    first = infer.inputs[0]
    for head in infer.inputs:
        if head.shape[0] != first.shape[0]:
            raise BadRequest(
                f"Input {first.name!r} has {first.shape[0]} rows and input {head.name!r} has {head.shape[0]}; the"
                f" inputs of model {model} have equally many (batchDimension)."
            )


def _same_names(model: str, what: str, specs: Sequence[TensorSpec], given: Sequence[str]) -> None:
    names = [spec.name for spec in specs]
    missing = [name for name in names if name not in given]
    unknown = [name for name in given if name not in names]
    if missing:
        raise BadRequest(f"Model {model} needs the {what} {_listed(names)}, and {_listed(missing)} is not there.")
    if unknown:
        raise BadRequest(f"Model {model} has the {what} {_listed(names)}, and none named {_listed(unknown)}.")


def _check_tensor(model: str, spec: TensorSpec, head: TensorHead) -> None:
    if spec.datatype and head.datatype != spec.datatype:
        raise BadRequest(
            f"Input {head.name!r} of model {model} is {spec.datatype}, and the request's is {head.datatype[:40]}."
        )
    if spec.shape is None:
        return
    fits = len(spec.shape) == len(head.shape) and all(
        wanted in {-1, size} for wanted, size in zip(spec.shape, head.shape, strict=True)
    )
    if not fits:
        raise BadRequest(
            f"Input {head.name!r} of model {model} has the shape {shown(spec.shape)}, -1 being any size, and the"
            f" request's has {shown(head.shape)}."
        )


def _listed(names: Sequence[str] | set[str]) -> str:
    return ", ".join(repr(name) for name in sorted(names)[:20])
