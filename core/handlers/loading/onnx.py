"""ONNX models: a session of onnxruntime (extra `onnx`) in place of a torch model, as TorchServe has it."""

from __future__ import annotations

from typing import Any

import torch


def open_session(path: str, device: torch.device) -> Any:
    """Return an onnxruntime.InferenceSession, on CUDA if `device` is a GPU and onnxruntime supports it.

    The session uses as many threads as torch does, which is the worker's share of the cores. Raises RuntimeError
    without onnxruntime, and onnxruntime's own errors for a file that it can't read.
    """
    try:
        import onnxruntime  # pyright: ignore[reportMissingImports]  (optional)
    except ModuleNotFoundError as error:
        raise RuntimeError(
            f"No model weights could be loaded: a .onnx file needs onnxruntime (pip install onnxruntime): {error}"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    providers: list[Any] = ["CPUExecutionProvider"]
    if device.type == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": device.index or 0}))
    return onnxruntime.InferenceSession(path, options, providers=providers)


def is_session(model: Any) -> bool:
    """Return whether `model` is a session, without importing onnxruntime."""
    return type(model).__module__.partition(".")[0] == "onnxruntime"


def run_session(session: Any, data: Any) -> Any:
    """Return the outputs for a tensor, for a list of tensors in the order of the model's inputs, or for a dict by name.

    The result is a tensor on the CPU, or a list of tensors if the model has several outputs.
    """
    if not isinstance(data, dict):
        names = [each.name for each in session.get_inputs()]
        data = dict(zip(names, data if isinstance(data, list | tuple) else [data], strict=False))
    arrays = {name: tensor.cpu().numpy() for name, tensor in data.items()}
    outputs = [torch.from_numpy(array) for array in session.run(None, arrays)]
    return outputs[0] if len(outputs) == 1 else outputs
