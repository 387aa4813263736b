"""The key `pt2` of model-config.yaml: which models torch.compile compiles, and with what. Loads no torch."""

from __future__ import annotations

import enum
import logging

log = logging.getLogger(__name__)


class PT2Backend(enum.StrEnum):
    """The back ends of torch.compile that TorchServe lets through."""

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
    """Whether it is one of those; a warning if not."""
    if backend in {member.value for member in PT2Backend}:
        return True
    log.warning("%s is not a supported backend", backend)
    return False
