"""The version of torch-workflow-archiver, which is the server's."""

from torchserve.core.version import __version__

__all__ = ["__version__"]
