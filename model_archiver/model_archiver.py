"""Re-exports names of torch-model-archiver. torchserve.cli.packaging implements them."""

from torchserve.cli.packaging import ModelArchiver

__all__ = ["ModelArchiver"]
