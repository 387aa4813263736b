"""The older name of streaming."""

from torchserve.core.handlers.streaming import send_intermediate_predict_response

__all__ = ["send_intermediate_predict_response"]
