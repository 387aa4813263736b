"""Re-exports names of torch-model-archiver. torchserve.cli.packaging implements them."""

from torchserve.cli.packaging import RuntimeType
from torchserve.core.handlers.left_out import left_out

__all__ = ["RuntimeType"]

__getattr__ = left_out(__name__, "ModelExportUtils.generate_manifest_json(config) makes the manifest", "Manifest")
