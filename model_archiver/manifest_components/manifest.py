"""Re-exports names of torch-model-archiver. torchserve.cli.manifest_objects implements them."""

from torchserve.cli.manifest_objects import ModelManifest as Manifest
from torchserve.cli.packaging import RuntimeType

__all__ = ["Manifest", "RuntimeType"]
