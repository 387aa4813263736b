"""torch-model-archiver's import path; the work is in torchserve.cli.packaging."""

from torchserve.cli.packaging import ModelArchiverConfig

__all__ = ["ModelArchiverConfig"]
