"""BaseHandler under TorchServe's name."""

from torchserve.core.handlers.base import BaseHandler
from torchserve.core.handlers.profiling import PROFILER_AVAILABLE

__all__ = ["PROFILER_AVAILABLE", "BaseHandler"]
