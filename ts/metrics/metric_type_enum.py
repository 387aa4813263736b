"""MetricTypes under TorchServe's name."""

from torchserve.core.handlers.metrics.emitter import MetricTypes

__all__ = ["MetricTypes"]
