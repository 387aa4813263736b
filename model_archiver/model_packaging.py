"""torch-model-archiver's import path; the work is in torchserve.cli.packaging."""

from torchserve.cli.packaging import generate_model_archive, package_model

__all__ = ["generate_model_archive", "package_model"]
