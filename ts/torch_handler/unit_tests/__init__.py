"""TorchServe's import path of its test doubles."""
