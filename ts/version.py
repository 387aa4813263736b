"""__version__ under TorchServe's name."""

from torchserve.core.version import __version__

__all__ = ["__version__"]
