"""TorchServe's import paths of the request envelopes."""
