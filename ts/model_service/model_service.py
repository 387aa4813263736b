"""Stands for TorchServe's ts.model_service.model_service, which is not part of this server."""

from torchserve.core.handlers.left_out import left_out

__getattr__ = left_out(
    __name__,
    "extend BaseHandler, or write a class with initialize(context) and handle(data, context)",
    "ModelService",
    "SingleNodeService",
)
