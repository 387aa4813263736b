"""KServev2Envelope under TorchServe's name."""

from torchserve.core.backend.envelope_classes import KServev2Envelope

__all__ = ["KServev2Envelope"]
