"""Re-exports names of torch-workflow-archiver. torchserve.cli.workflow_packaging implements them."""

from torchserve.cli.workflow_packaging import generate_workflow_archive, package_workflow

__all__ = ["generate_workflow_archive", "package_workflow"]
