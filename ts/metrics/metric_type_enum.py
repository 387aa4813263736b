"""MetricTypes under TorchServe's name."""

from torchserve.core.handlers.emitter import MetricTypes

__all__ = ["MetricTypes"]
