"""TorchServe's import paths of utilities for handlers."""
