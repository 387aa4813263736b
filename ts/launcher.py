"""TorchServe's import path; the work is in torchserve.cli.launcher."""

from torchserve.cli.launcher import register_model, register_model_with_params, start, stop

__all__ = ["register_model", "register_model_with_params", "start", "stop"]
