"""TorchServe's import path of PredictionException and the label functions."""
