"""Loads models of torch.export and AOTInductor, and compiles models by torch.compile. Imports torch."""

from __future__ import annotations

import json
import logging
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ....kernels.one_thread import on_one_thread
from .weights import existing

log = logging.getLogger(__name__)


def load_package(path: str, device: torch.device) -> Callable[..., Any]:
    """Load a .pt2 file, written by torch.export.save or by AOTInductor, for the device.

    Raises RuntimeError for a file that is neither, or that was compiled for another kind of device.
    """
    try:
        with zipfile.ZipFile(existing(path)) as package:
            names = package.namelist()
            compiled_for = {
                str(json.loads(package.read(name)).get("AOTI_DEVICE_KEY", device.type))
                for name in names
                if "/data/aotinductor/" in name and name.endswith("metadata.json")
            }
    except (zipfile.BadZipFile, ValueError) as error:
        raise RuntimeError(
            f"No model weights could be loaded: {Path(path).name} is no .pt2 package: {error}"
        ) from error
    if any("/data/aotinductor/" in name for name in names):
        return _load_compiled(path, device, compiled_for)
    program = torch.export.load(path)
    if device.type != "cpu" or _devices(program) - {"cpu"}:
        from torch.export.passes import move_to_device_pass  # slow to import, so only if it is needed

        program = move_to_device_pass(program, str(device))
    return program.module()


def load_shared_library(path: str, device: torch.device, *, asked_for: bool) -> Callable[..., Any]:
    """Load a .so file of torch._export.aot_compile. Raises RuntimeError unless the yaml has asked for it
    (`asked_for`).
    """
    if not asked_for:
        raise RuntimeError(
            f"No model weights could be loaded: {Path(path).name} needs pt2: {{export: {{aot_compile: true}}}} in"
            " model-config.yaml"
        )
    from torch import _export  # private, but the only loader of these files; newer archives are .pt2

    if device.type == "cuda":
        torch.cuda.set_device(device)  # aot_load allocates on the current device
    return _export.aot_load(existing(path), str(device))


def compiled(model: Any, options: dict[str, Any], device: torch.device, *, shapes: int = 0) -> Any:
    """Return `model` compiled by torch.compile with `options`, or `model` with a warning if it can't be compiled.

    On a GPU one thread runs it, because CUDA graphs belong to a thread. `shapes` is the number of batch sizes that will
    come; torch's bound on recompilations is raised to it.
    """
    told = ", ".join(f"{key} {value}" for key, value in options.items())
    if not isinstance(model, torch.nn.Module):
        log.warning("pt2 in the model's yaml is not applied: a %s can't be compiled", type(model).__name__)
        return model
    try:
        from torch import _dynamo

        _dynamo.config.suppress_errors = True
        _dynamo.config.recompile_limit = max(shapes, _dynamo.config.recompile_limit)
        made: Any = torch.compile(model, **options)
        made.forward = on_one_thread(made.forward, device)
    except Exception as error:  # noqa: BLE001  a back end may raise anything, and the model runs without it
        log.warning("Compiling model model with %s has failed \n Proceeding without compilation", told)
        log.warning(error)
        return model
    log.info("Compiled model with %s", told)
    return made


def _load_compiled(path: str, device: torch.device, compiled_for: set[str]) -> Callable[..., Any]:
    if compiled_for - {device.type}:
        raise RuntimeError(
            f"No model weights could be loaded: {Path(path).name} is compiled for {', '.join(sorted(compiled_for))},"
            f" and this worker has {device.type} (deviceType in model-config.yaml, number_of_gpu)"
        )
    from torch import _inductor  # slow to import

    return _inductor.aoti_load_package(path, device_index=-1 if device.index is None else device.index)


def _devices(program: Any) -> set[str]:
    return {tensor.device.type for tensor in program.state_dict.values()}
