"""Re-exports the launcher of language models under TorchServe's import path. torchserve.cli.llm_launcher has it."""

from torchserve.cli.llm_launcher import create_mar_file, get_model_config, main, run
from torchserve.core.handlers.left_out import left_out

__all__ = ["create_mar_file", "get_model_config", "main"]

__getattr__ = left_out(__name__, "a handler of your own can use tensorrt_llm", "create_tensorrt_llm_engine")

if __name__ == "__main__":
    run()
