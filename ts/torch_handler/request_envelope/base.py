"""BaseEnvelope under TorchServe's name."""

from torchserve.core.backend.envelope_classes import BaseEnvelope

__all__ = ["BaseEnvelope"]
