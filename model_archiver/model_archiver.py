"""torch-model-archiver's import path; the work is in torchserve.cli.packaging."""

from torchserve.cli.packaging import ModelArchiver

__all__ = ["ModelArchiver"]
