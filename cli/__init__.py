"""The commands `torchserve`, `torch-model-archiver` and `torch-workflow-archiver`. Nothing here imports torch."""
