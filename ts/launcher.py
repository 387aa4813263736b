"""Re-exports the launcher of servers under TorchServe's import path. torchserve.cli.launcher implements it."""

from torchserve.cli.launcher import register_model, register_model_with_params, start, stop

__all__ = ["register_model", "register_model_with_params", "start", "stop"]
