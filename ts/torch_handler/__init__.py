"""TorchServe's import paths for the default handlers."""
