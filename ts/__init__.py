"""TorchServe's import paths. Modules here only re-export."""

from torchserve.core.version import __version__

__all__ = ["__version__"]
