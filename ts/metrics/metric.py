"""Metric under TorchServe's name."""

from torchserve.core.handlers.metrics.older_metrics import Metric

__all__ = ["Metric"]
