"""Re-exports the names that handlers import from ts.metrics.metric_cache_abstract."""

from torchserve.core.handlers.metrics.emitter import MetricsEmitter as MetricCacheAbstract

__all__ = ["MetricCacheAbstract"]
