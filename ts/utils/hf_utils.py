"""Stands for TorchServe's ts.utils.hf_utils, which is not part of this server."""

from torchserve.core.handlers.left_out import left_out

__getattr__ = left_out(
    __name__,
    "huggingface_hub.snapshot_download does that",
    "download_model",
)
