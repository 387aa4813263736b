"""torch-workflow-archiver's import path."""
