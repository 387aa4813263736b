"""Re-exports BaseHandler under TorchServe's import path."""

from torchserve.core.handlers.base import BaseHandler
from torchserve.core.handlers.profiling import PROFILER_AVAILABLE

__all__ = ["PROFILER_AVAILABLE", "BaseHandler"]
