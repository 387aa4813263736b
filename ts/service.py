"""Re-exports the names that handlers import from ts.service."""

from torchserve.core.backend.model_loader import Service
from torchserve.core.handlers.metrics.older_metrics import emit_metrics
from torchserve.core.handlers.prediction_exception import PredictionException

__all__ = ["PredictionException", "Service", "emit_metrics"]
