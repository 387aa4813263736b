"""Stands for TorchServe's ts.async_service, which is not part of this server."""

from torchserve.core.handlers.left_out import left_out

__getattr__ = left_out(
    __name__,
    "`asyncCommunication: true` in model-config.yaml runs an async handler",
    "AsyncService",
)
