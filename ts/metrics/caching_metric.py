"""Re-exports CachingMetric under TorchServe's import path."""

from torchserve.core.handlers.metrics.emitter import CachingMetric

__all__ = ["CachingMetric"]
