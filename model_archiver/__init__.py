"""The Python package `model_archiver`, by which scripts make archives. Modules here only re-export."""

from torchserve.cli.packaging import ModelArchiver, ModelArchiverConfig
from torchserve.core.version import __version__

__all__ = ["ModelArchiver", "ModelArchiverConfig", "__version__"]
