"""Re-exports the names that handlers import from ts.metrics.metric_abstract."""

from torchserve.core.handlers.metrics.emitter import CachingMetric as MetricAbstract

__all__ = ["MetricAbstract"]
