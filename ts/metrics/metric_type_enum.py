"""Re-exports MetricTypes under TorchServe's import path."""

from torchserve.core.handlers.metrics.emitter import MetricTypes

__all__ = ["MetricTypes"]
