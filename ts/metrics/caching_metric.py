"""CachingMetric under TorchServe's name."""

from torchserve.core.handlers.emitter import CachingMetric

__all__ = ["CachingMetric"]
