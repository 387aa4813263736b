"""The commands: `torchserve` and `torch-model-archiver`. Never imports torch."""
