"""TorchServe's older import path of streaming."""
