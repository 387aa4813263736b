"""Re-exports names of torch-workflow-archiver. torchserve.cli.manifest_objects implements them."""

from torchserve.cli.manifest_objects import ManifestWorkflow as Workflow

__all__ = ["Workflow"]
