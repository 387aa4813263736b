"""Re-exports the functions that measure a process's memory under TorchServe's import path."""

from torchserve.core.handlers.metrics.process_memory import check_process_mem_usage, get_cpu_usage

__all__ = ["check_process_mem_usage", "get_cpu_usage"]
