"""Re-exports JSONEnvelope under TorchServe's import path."""

from torchserve.core.backend.envelope_classes import JSONEnvelope

__all__ = ["JSONEnvelope"]
