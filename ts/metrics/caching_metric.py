"""CachingMetric under TorchServe's name."""

from torchserve.core.handlers.metrics.emitter import CachingMetric

__all__ = ["CachingMetric"]
