"""The memory of processes under TorchServe's names."""

from torchserve.core.handlers.metrics.process_memory import check_process_mem_usage, get_cpu_usage

__all__ = ["check_process_mem_usage", "get_cpu_usage"]
