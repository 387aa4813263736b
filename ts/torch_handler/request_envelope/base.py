"""Re-exports BaseEnvelope under TorchServe's import path."""

from torchserve.core.backend.envelope_classes import BaseEnvelope

__all__ = ["BaseEnvelope"]
