"""OWN: the metrics that TorchServe does not have, in base units. This table both makes and documents them.

LANGUAGE_MODELS: those of models that generate text, under vLLM's names, which dashboards and autoscalers read. They are
shown only while there is such a model: an engine behind this server may show its own under these names.

The values of labels are bounded: no text from a client becomes one.
"""

from __future__ import annotations

from dataclasses import dataclass

from .family import Family

DURATIONS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
# As in vLLM.
FIRST_TOKEN = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0,
)  # fmt: skip
NEXT_TOKEN = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0)
WHOLE_TEXT = (0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0)
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
        " too_late (would have been answered past a deadline), invalid (tensors that the model does not take, or more"
        " tokens than its context has), client_limit (client_limits).",
    ),
    Own(
        "counter", "torchserve_requests_failed_total", (*MODEL, "reason"),
        "Predictions that ran and failed: handler (it raised or broke its contract), worker_died, late (a token of a"
        " language model did not come in time), internal.",
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
        "histogram", "torchserve_load_wait_duration_seconds", MODEL,
        "Of a request's wait, the time in which its onDemand model had no worker that served; requests that waited for"
        " that.",
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
        "Workers by state: loading, ready, waiting (for their next start), spare (warmSpare), stopping, given_up.",
    ),
    Own("gauge", "torchserve_workers_memory_bytes", MODEL, "Memory of the host that the workers' processes have now."),
    Own(
        "counter", "torchserve_worker_restarts_total", (*MODEL, "cause"),
        "Times that a worker is started again: load_failed, exited, killed, unresponsive (responseTimeout), protocol.",
    ),
    Own("gauge", "torchserve_gpu_memory_used_bytes", GPU, "Memory in use of a GPU that this server sees, by anybody."),
    Own("gauge", "torchserve_gpu_memory_total_bytes", GPU, "All memory of it."),
    Own(
        "counter", "torchserve_cache_requests_total", (*MODEL, "result"),
        "Predictions asked of a model with a cache: hit (its answer was kept), shared (one like it was computing),"
        " miss, bypass (too large, or the client said no-store).",
    ),
    Own(
        "counter", "torchserve_cache_redis_lookups_total", (*MODEL, "result"),
        "Look-ups in the Redis of cache_redis: hit, miss, none (it didn't answer in time, or is left alone for a"
        " while).",
    ),
    Own("gauge", "torchserve_cache_entries", MODEL, "Answers that are kept now."),
    Own("gauge", "torchserve_cache_bytes", MODEL, "Bytes of memory that they take."),
    Own(
        "gauge", "torchserve_traffic_ratio", MODEL,
        "Of models whose traffic is shared: the share of it, 0 to 1, that this version gets.",
    ),
    Own(
        "counter", "torchserve_shadow_requests_total", (*MODEL, "outcome"),
        "Copies of requests for a shadow version, by how its answer compares: same, close (numbers of JSON differ by"
        " a thousandth at most), different, failed, unmatched (there was nothing to compare with), dropped (too many"
        " ran).",
    ),
    Own(
        "counter", "torchserve_log_lines_lost_total", ("reason",),
        "Lines that no log has: write_failed (a full disk; a line of two files counts in each), backlog (the disk did"
        " not keep up).",
    ),
    Own("counter", "torchserve_trace_spans_exported_total", (), "Spans of recorded requests that the collector took."),
    Own(
        "counter", "torchserve_trace_records_lost_total", ("reason",),
        "What is in no trace: queue_full (requests and batches that the exporter's queue had no room for), collector"
        " (spans that it did not take).",
    ),
    Own("counter", "torchserve_payload_records_written_total", (), "Requests and answers that payload_log took."),
    Own(
        "counter", "torchserve_payload_records_lost_total", ("reason",),
        "Requests and answers that are not in payload_log: queue_full (it was too slow), sink (it did not take them),"
        " redaction (the model's function failed).",
    ),
    Own("gauge", "torchserve_gpu_utilization_ratio", GPU, "The share of the time in which it computed, 0 to 1."),
)  # fmt: skip

LANGUAGE_MODELS = (
    Own("gauge", "vllm:num_requests_running", MODEL, "Sequences that generate now, in all engines of the version."),
    Own("gauge", "vllm:num_requests_waiting", MODEL, "Requests in the queue, and sequences that wait in engines."),
    Own("gauge", "vllm:kv_cache_usage_perc", MODEL, "The part of the KV memory in use, 0 to 1; of the fullest engine."),
    Own("counter", "vllm:prompt_tokens_total", MODEL, "Tokens of prompts whose first token has come."),
    Own("counter", "vllm:generation_tokens_total", MODEL, "Tokens generated."),
    Own("counter", "vllm:prefix_cache_queries_total", MODEL, "Tokens looked up in an engine's prefix cache."),
    Own("counter", "vllm:prefix_cache_hits_total", MODEL, "Tokens found there."),
    Own(
        "counter", "vllm:request_success_total", (*MODEL, "finished_reason"),
        "Sequences that ended: stop, length (max_tokens), abort (the client left, or time was over), error.",
    ),
    Own(
        "histogram", "vllm:time_to_first_token_seconds", MODEL,
        "From a request's arrival to its first token, the queue included.", FIRST_TOKEN,
    ),
    Own("histogram", "vllm:inter_token_latency_seconds", MODEL, "From each token to the next.", NEXT_TOKEN),
    Own(
        "histogram", "vllm:time_per_output_token_seconds", MODEL,
        "The same, by the name that vLLM had for it before.", NEXT_TOKEN,
    ),
    Own(
        "histogram", "vllm:e2e_request_latency_seconds", MODEL,
        "From the head of a request to the end of its answer; requests that succeeded.", WHOLE_TEXT,
    ),
)  # fmt: skip
