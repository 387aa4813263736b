"""BodyEnvelope under TorchServe's name."""

from torchserve.core.backend.envelope_classes import BodyEnvelope

__all__ = ["BodyEnvelope"]
