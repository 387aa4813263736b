"""Re-exports KServeEnvelope under TorchServe's import path."""

from torchserve.core.backend.envelope_classes import KServeEnvelope

__all__ = ["KServeEnvelope"]
