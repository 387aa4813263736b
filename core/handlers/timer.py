"""A decorator that measures a handler's hooks if the model's yaml says `handler: {profile: true}`."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar, cast

F = TypeVar("F", bound="Callable[..., Any]")


def timed(func: F) -> F:
    """Emit the metric `ts_handler_<function>` (milliseconds, with the device's work included) for each call."""

    @functools.wraps(func)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        context = getattr(self, "context", None)
        options = (getattr(context, "model_yaml_config", None) or {}).get("handler")
        if context is None or not isinstance(options, dict) or not options.get("profile", False):
            return func(self, *args, **kwargs)
        _synchronize(self)
        started = time.perf_counter()
        result = func(self, *args, **kwargs)
        _synchronize(self)
        took = (time.perf_counter() - started) * 1000.0
        context.metrics.add_time(f"ts_handler_{func.__name__}", took)
        return result

    return cast("F", wrapper)


def _synchronize(handler: Any) -> None:
    torch = sys.modules.get("torch")
    if torch is not None and getattr(getattr(handler, "device", None), "type", None) == "cuda":
        torch.cuda.synchronize(handler.device)
