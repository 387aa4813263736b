"""TorchServe's import paths of the metrics API."""
