"""Stands for TorchServe's ts.llm_launcher, which is not part of this server."""

from torchserve.core.handlers.left_out import left_out

__getattr__ = left_out(
    __name__,
    "a handler of your own can use vllm or tensorrt_llm",
    "create_mar_file",
    "create_tensorrt_llm_engine",
    "get_model_config",
    "main",
)
