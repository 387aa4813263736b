"""TorchServe's import paths below ts.handler_utils.preprocess."""
