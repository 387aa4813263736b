"""DeepSpeed's engine under TorchServe's name."""

from torchserve.core.handlers.large_models import create_checkpoints_json, get_ds_engine

__all__ = ["create_checkpoints_json", "get_ds_engine"]
