"""TorchServe's import paths for handlers. Nothing here but re-exports."""

from torchserve.core.version import __version__

__all__ = ["__version__"]
