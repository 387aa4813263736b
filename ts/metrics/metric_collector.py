"""Stands for TorchServe's ts.metrics.metric_collector, which is not part of this server."""

from torchserve.core.handlers.left_out import left_out

__getattr__ = left_out(
    __name__,
    "GET /metrics has what the server measures of its machine; in a script, psutil measures it",
    "check_process_mem_usage",
    "system_metrics",
)
