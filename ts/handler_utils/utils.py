"""Re-exports the names that handlers import from ts.handler_utils.utils."""

from torchserve.core.handlers.classes import import_class
from torchserve.core.handlers.streaming import send_intermediate_predict_response

__all__ = ["import_class", "send_intermediate_predict_response"]
