"""Stands for TorchServe's model_archiver.manifest_components.model, which is not part of this server."""

from torchserve.core.handlers.left_out import left_out

__getattr__ = left_out(
    __name__,
    "ModelExportUtils.generate_manifest_json(config) makes the manifest",
    "Model",
)
