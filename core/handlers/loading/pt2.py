"""The key `pt2` of model-config.yaml: whether torch.compile compiles a model, and how. Does not import torch."""

from __future__ import annotations

import enum
import logging
from typing import Any

log = logging.getLogger(__name__)


class PT2Backend(enum.StrEnum):
    """The back ends of torch.compile that TorchServe accepts."""

    EAGER = "eager"
    AOT_EAGER = "aot_eager"
    INDUCTOR = "inductor"
    NVFUSER = "nvfuser"
    AOT_NVFUSER = "aot_nvfuser"
    AOT_CUDAGRAPHS = "aot_cudagraphs"
    OFI = "ofi"
    FX2TRT = "fx2trt"
    ONNXRT = "onnxrt"
    IPEX = "ipex"
    TORCHXLA_TRACE_ONCE = "torchxla_trace_once"
    OPENVINO = "openvino"
    TENSORRT = "tensorrt"
    HPU_BACKEND = "hpu_backend"


def check_valid_pt2_backend(backend: str) -> bool:
    """Return whether `backend` is one of PT2Backend. Log a warning if not."""
    if backend in {member.value for member in PT2Backend}:
        return True
    log.warning("%s is not a supported backend", backend)
    return False


def compile_options(pt2: Any) -> dict[str, Any] | None:
    """Return the options for torch.compile, or None for a model that is not compiled.

    The yaml may have `pt2: back end`, `pt2: {option: value}` or `pt2: {compile: {enable: true, …}}`. A model with an
    unknown back end is not compiled. Raises ValueError for anything else.
    """
    if pt2 is None:
        return None
    if isinstance(pt2, str):
        options = {"backend": pt2}
    elif not isinstance(pt2, dict):
        raise ValueError(f"model-config.yaml: pt2 should be str or dict, not {pt2!r}")  # noqa: TRY004
    elif "compile" in pt2:
        section = pt2["compile"]
        if not isinstance(section, dict):
            raise ValueError(f"model-config.yaml: pt2: compile must be a mapping, not {section!r}")  # noqa: TRY004
        options = {key: value for key, value in section.items() if key != "enable"}
        if section.get("enable") is not True:
            return None
    elif "export" in pt2:
        return None
    else:
        options = dict(pt2)
    known = "backend" not in options or check_valid_pt2_backend(options["backend"])
    return options if known else None


def asks_for_aot(pt2: Any) -> bool:
    """Return whether the yaml says `pt2: {export: {aot_compile: true}}`."""
    export = pt2.get("export") if isinstance(pt2, dict) else None
    return isinstance(export, dict) and export.get("aot_compile") is True
