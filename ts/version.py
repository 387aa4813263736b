"""Re-exports __version__ under TorchServe's import path."""

from torchserve.core.version import __version__

__all__ = ["__version__"]
