"""Re-exports names of torch-workflow-archiver. torchserve.cli.workflow_packaging implements them."""

from torchserve.cli.workflow_packaging import WorkflowArchiverError

__all__ = ["WorkflowArchiverError"]
