"""Re-exports the functions that say what has replaced PiPPy under TorchServe's import path."""

from torchserve.core.handlers.large_models import get_pipeline_driver, initialize_rpc_workers

__all__ = ["get_pipeline_driver", "initialize_rpc_workers"]
