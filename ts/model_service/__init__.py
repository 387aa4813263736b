"""TorchServe's import paths below ts.model_service."""
