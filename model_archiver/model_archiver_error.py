"""Re-exports names of torch-model-archiver. torchserve.cli.packaging implements them."""

from torchserve.cli.packaging import ModelArchiverError

__all__ = ["ModelArchiverError"]
