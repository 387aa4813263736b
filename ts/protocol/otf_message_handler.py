"""Re-exports the streaming function under TorchServe's older import path."""

from torchserve.core.handlers.streaming import send_intermediate_predict_response

__all__ = ["send_intermediate_predict_response"]
