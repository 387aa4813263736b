"""torch-model-archiver's import path."""
