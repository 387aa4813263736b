"""MetricEncoder under TorchServe's name."""

from torchserve.core.handlers.older_metrics import MetricEncoder

__all__ = ["MetricEncoder"]
