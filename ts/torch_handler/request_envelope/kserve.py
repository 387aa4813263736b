"""KServeEnvelope under TorchServe's name."""

from torchserve.core.backend.envelope_classes import KServeEnvelope

__all__ = ["KServeEnvelope"]
