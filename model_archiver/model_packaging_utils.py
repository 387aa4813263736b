"""Re-exports the names that export scripts import from model_archiver.model_packaging_utils."""

from torchserve.cli.export_utils import ModelExportUtils

__all__ = ["ModelExportUtils"]
