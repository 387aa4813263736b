"""TorchServe's import paths for models in several processes."""
