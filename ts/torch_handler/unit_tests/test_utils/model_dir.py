"""The files of handlers' tests under TorchServe's names."""

from torchserve.core.handlers.model_dir import copy_files, download_model

__all__ = ["copy_files", "download_model"]
