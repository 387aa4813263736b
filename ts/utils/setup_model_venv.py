"""Stands for TorchServe's ts.utils.setup_model_venv, which is not part of this server."""

from torchserve.core.handlers.left_out import left_out

__getattr__ = left_out(
    __name__,
    "with useVenv the server makes the environment of a model itself",
    "create_venv",
    "inherit_site_packages",
)
