"""Re-exports KServev2Envelope under TorchServe's import path."""

from torchserve.core.backend.envelope_classes import KServev2Envelope

__all__ = ["KServev2Envelope"]
