"""OWN: the metrics that TorchServe does not have, in base units. This table both makes and documents them.

The values of labels are bounded: no text from a client becomes one.
"""

from __future__ import annotations

from dataclasses import dataclass

from .family import Family

DURATIONS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
MODEL = ("model_name", "model_version")
GPU = ("gpu",)  # the GPU's number among those that this server sees


@dataclass(frozen=True, slots=True)
class Own:
    """A metric of our own: `meaning` is its HELP line and its line in the documentation."""

    kind: str
    name: str
    labels: tuple[str, ...]
    meaning: str
    buckets: tuple[float, ...] = DURATIONS

    def family(self) -> Family:
        return Family(self.kind, self.name, self.meaning, self.labels, self.buckets)


OWN = (
    Own("counter", "torchserve_requests_total", MODEL, "Predictions asked of a model version that exists."),
    Own(
        "counter", "torchserve_requests_refused_total", (*MODEL, "reason"),
        "Predictions that never ran: queue_full, server_full (max_pending_bytes), no_worker, no_ticket (useJobTicket),"
        " draining (the model is being removed), expired (waited past x-request-timeout-ms or clientTimeoutInMills),"
        " too_late (would have been answered past a deadline), invalid (tensors that the model does not take).",
    ),
    Own(
        "counter", "torchserve_requests_failed_total", (*MODEL, "reason"),
        "Predictions that ran and failed: handler (it raised or broke its contract), worker_died, internal.",
    ),
    Own(
        "counter", "torchserve_requests_cancelled_total", (*MODEL, "reason"),
        "Predictions whose client left: client_left_queued (it never ran), client_left_running.",
    ),
    Own(
        "histogram", "torchserve_request_duration_seconds", MODEL,
        "From the head of a request to its answer; successful predictions.",
    ),
    Own(
        "histogram", "torchserve_queue_duration_seconds", MODEL,
        "From a request's arrival until a worker got it; successful predictions.",
    ),
    Own(
        "histogram", "torchserve_batch_formation_seconds", MODEL,
        "From the arrival of a batch's oldest request until the batch was handed to a worker.",
    ),
    Own(
        "histogram", "torchserve_worker_duration_seconds", MODEL,
        "From handing a batch to a worker until its answers were back.",
    ),
    Own("histogram", "torchserve_handler_duration_seconds", MODEL, "The handler's own time for a batch."),
    Own("histogram", "torchserve_batch_size", MODEL, "Requests in a batch.", SIZES),
    Own(
        "counter", "torchserve_batches_total", (*MODEL, "cause", "device"),
        "Batches answered, by why they were released (full, delay, free_worker, alone, deadline) and the kind of device"
        " that ran them.",
    ),
    Own("gauge", "torchserve_queue_depth", MODEL, "Requests that wait for a worker now."),
    Own("gauge", "torchserve_requests_in_flight", MODEL, "Requests that workers run now."),
    Own(
        "gauge", "torchserve_workers", (*MODEL, "state"),
        "Workers by state: loading, ready, waiting (for their next start), stopping, given_up.",
    ),
    Own("gauge", "torchserve_workers_memory_bytes", MODEL, "Memory of the host that the workers' processes have now."),
    Own(
        "counter", "torchserve_worker_restarts_total", (*MODEL, "cause"),
        "Times that a worker is started again: load_failed, exited, killed, unresponsive (responseTimeout), protocol.",
    ),
    Own("gauge", "torchserve_gpu_memory_used_bytes", GPU, "Memory in use of a GPU that this server sees, by anybody."),
    Own("gauge", "torchserve_gpu_memory_total_bytes", GPU, "All memory of it."),
    Own(
        "counter", "torchserve_log_lines_lost_total", ("reason",),
        "Lines that no log has: write_failed (a full disk; a line of two files counts in each), backlog (the disk did"
        " not keep up).",
    ),
    Own("gauge", "torchserve_gpu_utilization_ratio", GPU, "The share of the time in which it computed, 0 to 1."),
)  # fmt: skip
