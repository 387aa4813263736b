"""Base classes for models that run in several processes, with DeepSpeed's engine."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from typing import Any, NoReturn

from .base import BaseHandler
from .context import Context

_PIPPY = (
    "PiPPy is no longer made: build the pipeline with torch.distributed.pipelining in a handler of your own, with"
    " parallelType: pp in model-config.yaml"
)


class BaseDeepSpeedHandler(BaseHandler):
    """A handler whose `device` is the number of the rank's GPU. The subclass loads the model."""

    def initialize(self, context: Context) -> None:
        self.device = int(os.environ.get("LOCAL_RANK", "0"))


class BasePippyHandler(BaseHandler):
    """A handler that raises RuntimeError, because PiPPy is no longer developed; the message names its replacement."""

    def initialize(self, context: Context) -> None:
        raise RuntimeError(_PIPPY)


def initialize_rpc_workers(local_rank: int, world_size: int, ctx: Context) -> NoReturn:  # noqa: ARG001  (TorchServe's)
    """Raise RuntimeError, because PiPPy is no longer developed."""
    raise RuntimeError(_PIPPY)


def get_pipeline_driver(model: Any, world_size: int, ctx: Context) -> NoReturn:  # noqa: ARG001  (TorchServe's)
    """Raise RuntimeError, because PiPPy is no longer developed."""
    raise RuntimeError(_PIPPY)


def get_ds_engine(model: Any, ctx: Context) -> Any:
    """Return DeepSpeed's inference engine for `model`, configured by `deepspeed: {config, checkpoint}` in the model's
    yaml.

    Raises ValueError, which names what the yaml lacks, and ModuleNotFoundError without deepspeed.
    """
    options = ctx.model_yaml_config.get("deepspeed")
    if not isinstance(options, dict):
        raise ValueError(f"{ctx.model_name} has no deepspeed config in model config yaml file")  # noqa: TRY004
    model_path = ctx.model_yaml_config["handler"]["model_path"]
    config = checkpoint = None
    model_dir = ctx.system_properties["model_dir"]
    if "config" in options:
        config = str(Path(model_dir, options["config"]))
        if not Path(config).exists():
            raise ValueError(f"{ctx.model_name} has no deepspeed config file {config}")
    if "checkpoint" in options:
        checkpoint = str(Path(model_dir, options["checkpoint"]))
        create_checkpoints_json(model_path, checkpoint)
    deepspeed = importlib.import_module("deepspeed")
    return deepspeed.init_inference(model, config=config, base_dir=model_path, checkpoint=checkpoint)


def create_checkpoints_json(model_path: str, checkpoints_json: str) -> None:
    """Write the JSON file that lists the model's weights for DeepSpeed: all *.bin and *.pt files below `model_path`."""
    files = sorted(str(path) for suffix in ("bin", "pt") for path in Path(model_path).rglob(f"*.{suffix}"))
    described = {"type": "ds_model", "checkpoints": files, "version": 1.0}
    Path(checkpoints_json).write_text(json.dumps(described), encoding="utf-8")
