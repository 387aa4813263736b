"""Re-exports BodyEnvelope under TorchServe's import path."""

from torchserve.core.backend.envelope_classes import BodyEnvelope

__all__ = ["BodyEnvelope"]
