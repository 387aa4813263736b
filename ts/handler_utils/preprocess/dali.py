"""Stands for TorchServe's ts.handler_utils.preprocess.dali, which is not part of this server."""

from torchserve.core.handlers.left_out import left_out

__getattr__ = left_out(
    __name__,
    "the image handlers preprocess on the GPU; a handler of your own can use nvidia.dali",
    "get_dali_pipeline",
)
