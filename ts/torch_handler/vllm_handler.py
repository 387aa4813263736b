"""Stands for TorchServe's ts.torch_handler.vllm_handler, which is not part of this server."""

from torchserve.core.handlers.left_out import HANDLERS, left_out

__getattr__ = left_out(__name__, HANDLERS["vllm_handler"], "VLLMHandler")
