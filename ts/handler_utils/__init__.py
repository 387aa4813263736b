"""TorchServe's import path of what handlers use beside their context."""
