"""The Python package `workflow_archiver`, by which scripts make workflow archives. Modules here only re-export."""

from torchserve.core.version import __version__

__all__ = ["__version__"]
