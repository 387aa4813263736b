"""Re-exports names of torch-workflow-archiver. torchserve.cli.workflow_packaging implements them."""

from torchserve.cli.workflow_packaging import WorkflowExportUtils

__all__ = ["WorkflowExportUtils"]
