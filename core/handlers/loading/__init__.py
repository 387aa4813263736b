"""How a model is loaded from its file: pickled weights, TorchScript, exported programs, ONNX and compiled libraries."""
