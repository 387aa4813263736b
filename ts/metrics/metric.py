"""Metric under TorchServe's name."""

from torchserve.core.handlers.older_metrics import Metric

__all__ = ["Metric"]
