"""Stands for TorchServe's ts.torch_handler.trt_llm_handler, which is not part of this server."""

from torchserve.core.handlers.left_out import HANDLERS, left_out

__getattr__ = left_out(__name__, HANDLERS["trt_llm_handler"], "TRTLLMHandler")
