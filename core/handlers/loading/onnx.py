"""ONNX models: a session of onnxruntime (extra `onnx`) in the place of a torch model, as TorchServe has it."""

from __future__ import annotations

from typing import Any

import torch


def open_session(path: str, device: torch.device) -> Any:
    """An onnxruntime.InferenceSession on the device, CUDA's first where that is a GPU and onnxruntime knows it.

    It computes with as many threads as torch does, which is the worker's share of the cores. Raises RuntimeError
    without onnxruntime, and what onnxruntime raises for a file that it can't read.
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
    """Whether `model` is what `open_session` gives, without importing onnxruntime to ask."""
    return type(model).__module__.partition(".")[0] == "onnxruntime"


def run_session(session: Any, data: Any) -> Any:
    """The outputs for a tensor, or for several as a list, in the order of the model's inputs: a tensor, or, if the
    model has more outputs than one, a list of them. On the CPU.
    """
    tensors = data if isinstance(data, list | tuple) else [data]
    names = [each.name for each in session.get_inputs()]
    arrays = {name: tensor.cpu().numpy() for name, tensor in zip(names, tensors, strict=False)}
    outputs = [torch.from_numpy(array) for array in session.run(None, arrays)]
    return outputs[0] if len(outputs) == 1 else outputs
