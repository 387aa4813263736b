"""JSONEnvelope under TorchServe's name."""

from torchserve.core.backend.envelope_classes import JSONEnvelope

__all__ = ["JSONEnvelope"]
