"""Re-exports the names that handlers import from ts.utils.timeit_decorator."""

from torchserve.core.handlers.timeit_decorator import timeit

__all__ = ["timeit"]
