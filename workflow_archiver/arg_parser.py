"""Re-exports names of torch-workflow-archiver. torchserve.cli.workflow_packaging implements them."""

from torchserve.cli.workflow_packaging import WorkflowArchiverArgParser as ArgParser

__all__ = ["ArgParser"]
