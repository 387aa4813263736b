"""Re-exports names of torch-workflow-archiver. torchserve.cli.manifest_objects implements them."""

from torchserve.cli.manifest_objects import WorkflowManifest as Manifest

__all__ = ["Manifest"]
