"""Re-exports the functions that make DeepSpeed's engine under TorchServe's import path."""

from torchserve.core.handlers.large_models import create_checkpoints_json, get_ds_engine

__all__ = ["create_checkpoints_json", "get_ds_engine"]
