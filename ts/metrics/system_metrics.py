"""Stands for TorchServe's ts.metrics.system_metrics, which is not part of this server."""

from torchserve.core.handlers.left_out import left_out

__getattr__ = left_out(
    __name__,
    "GET /metrics has what the server measures of its machine; in a script, psutil measures it",
    "collect_all",
    "cpu_utilization",
    "disk_available",
    "disk_used",
    "disk_utilization",
    "gpu_utilization",
    "memory_available",
    "memory_used",
    "memory_utilization",
    "system_metrics",
)
