"""Re-exports names of torch-model-archiver. torchserve.cli.manifest_objects implements them."""

from torchserve.cli.manifest_objects import ManifestModel as Model

__all__ = ["Model"]
