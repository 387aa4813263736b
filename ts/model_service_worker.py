"""Stands for TorchServe's ts.model_service_worker, which is not part of this server."""

from torchserve.core.handlers.left_out import left_out

__getattr__ = left_out(
    __name__,
    "the server starts its own worker processes; `torchserve predict` runs a handler without a server",
    "TorchModelServiceWorker",
)
