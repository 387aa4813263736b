"""Metrics and logs: names, labels, values, lines and files (6.1-6.5, 10.2)."""

from __future__ import annotations

from ..steps import Call, Files, Lines, Row, Scrape, Setup, Until
from .brief import ask, core, manage, ready, say, standard

_COUNTED = "Requests2XX|Requests4XX|Requests5XX|ts_inference_requests_total"
_SYSTEM = "CPUUtilization|Memory(Used|Available|Utilization)|Disk(Usage|Available|Utilization)"
_TIMES = "QueueTime|WorkerThreadTime|WorkerLoadTime|ts_inference_latency_microseconds|ts_queue_latency_microseconds"
_GPU = "GPU(MemoryUtilization|MemoryUsed|Utilization)"


def _metrics(path: str, method: str = "GET") -> Call:
    return Call("metrics", method, path)


# Counters first: each row's own requests would change them.
PROMETHEUS: tuple[Row, ...] = (
    core("counters", "6.2", say("text a"), say("text b"), ask("/predictions/probe/1.0", "text c", "text/plain"),
         say("fail now"), say("text nobody", "nobody"), Scrape(_COUNTED, _COUNTED.removeprefix("Requests2XX|"))),
    core("times", "6.2", Scrape(_TIMES)),
    core("system metrics", "6.6", Until(_metrics("/metrics"), "(?m)^DiskUtilization.*"), Scrape(_SYSTEM)),
    core("GPU metrics without a GPU", "6.6", Scrape(_GPU)),
    core("model metrics", "6.2", Scrape("HandlerTime|PredictionTime")),
    core("only one family", "6.1", Scrape(".*", _COUNTED, "/metrics?name[]=Requests4XX")),
    core("two families", "6.1", Scrape(".*", _COUNTED, "/metrics?name[]=Requests4XX&name[]=Requests5XX")),
    core("no such family", "6.1", _metrics("/metrics?name[]=Nothing")),
    core("a path below metrics", "6.1", Scrape(".*", _COUNTED, "/metrics/below?name[]=Requests4XX")),
    core("metrics by POST", "6.1", _metrics("/metrics?name[]=Nothing", "POST")),
    core("another path on the metrics port", "6.1", _metrics("/nothing")),
    core("root of the metrics port", "6.1", _metrics("/")),
    core("no log lines in prometheus mode", "6.3", Files("logs/*_metrics.log"), Lines("logs/ts_metrics.log", ".+", 0)),
)  # fmt: skip

# The values are left out: counts that come close together may share a line here (a departure), their sum is the same.
LOG: tuple[Row, ...] = (
    core("metrics mode log: nothing to scrape", "6.1", say("text a"), _metrics("/metrics")),
    core("metrics mode log: another path", "6.1", _metrics("/nothing")),
    core("ts_metrics: requests", "6.3",
         Lines("logs/ts_metrics.log", r"^.* - Requests2XX\.Count:[\d.]+(\|.*)$", last=1), say("fail x"), say("x", "nobody"),
         Lines("logs/ts_metrics.log", r"^.* - Requests5XX\.Count:[\d.]+(\|.*)$", last=1),
        Lines("logs/ts_metrics.log", r"^.* - Requests4XX\.Count:[\d.]+(\|.*)$", last=1)),
    core("ts_metrics: times", "6.3",
         Lines("logs/ts_metrics.log", r"^.* - (QueueTime\.\w+):", last=1),
         Lines("logs/ts_metrics.log", r"^.* - WorkerThreadTime\.\w+:[\d.]+(\|.*)$", last=1),
         Lines("logs/ts_metrics.log", r"^.* - WorkerLoadTime\.\w+:[\d.]+(\|.*)$", last=1)),
    core("ts_metrics: the ts_ trio", "6.3",
         Lines("logs/ts_metrics.log", r"^.* - ts_inference_requests_total\.Count:[\d.]+(\|.*)$", last=1),
         Lines("logs/ts_metrics.log", r"^.* - ts_inference_latency_microseconds\.\w+:[\d.]+(\|.*)$", last=1),
         Lines("logs/ts_metrics.log", r"^.* - ts_queue_latency_microseconds\.\w+:[\d.]+(\|.*)$", last=1)),
    core("ts_metrics: system", "6.3",
         *(Lines("logs/ts_metrics.log", rf"^.* - ({name}\.\w+:)", last=1) for name in (
             "CPUUtilization", "MemoryUsed", "MemoryAvailable", "MemoryUtilization", "DiskUsage", "DiskAvailable",
             "DiskUtilization")),
         Lines("logs/ts_metrics.log", r"^.* - DiskUsage\.\w+:[\d.]+(\|.*)$", last=1)),
    core("model_metrics: handler and prediction", "6.3",
         Lines("logs/model_metrics.log", r"^.* - PredictionTime\.\w+:[\d.]+(\|.*)$", last=1),
         Lines("logs/model_metrics.log", r"^.* - (HandlerTime\.\w+):", last=1)),
    core("the access log: a prediction", "10.2", Lines("logs/access_log.log", r"^(.* 200) \d+$", last=1)),
    core("the access log: errors", "10.2", say("fail x"), ask("/nothing?a=1", method="GET"),
         Lines("logs/access_log.log", r"^(.*nothing\?a=1.* 404) \d+$", last=1),
         Lines("logs/access_log.log", r"^(.* 503) \d+$", last=1)),
    core("the access log: malformed HTTP", "10.2", Call("inference", raw=b"hello there\r\n\r\n", patience=3),
         Lines("logs/access_log.log", r"^(.*bad-request.*) \d+$", last=1)),
    core("the model log: stdout", "10.2", say("print this"),
         Lines("logs/model_log.log", r"^.*\[INFO \].*W-9\d+-probe_1.0-stdout MODEL_LOG - out this$", last=1)),
    core("the model log: stderr", "10.2",
         Lines("logs/model_log.log", r"^.*\[WARN \].*W-9\d+-probe_1.0-stderr MODEL_LOG - err this$", last=1)),
    core("the model log: a traceback", "10.2",
         Lines("logs/model_log.log", r"MODEL_LOG - (ValueError: x)$", last=1)),
    core("the log files", "10.2", Files("logs/*.log")),
)  # fmt: skip

LEGACY: tuple[Row, ...] = (
    core("legacy: three counters", "6.1", say("text a"), Scrape(".*", "ts_inference_requests_total")),
    core("legacy: the rest is logged", "6.3",
         Lines("logs/ts_metrics.log", r"^.* - Requests2XX\.Count:[\d.]+(\|.*)$", last=1),
         Lines("logs/ts_metrics.log", r"^.* - (ts_inference_requests_total.*)$", 0)),
)  # fmt: skip

CUSTOM: tuple[Row, ...] = (
    standard("custom metrics, detected", "6.5", ask("/predictions/meters", "x", "text/plain"),
             Until(_metrics("/metrics"), "ProbeCount"), Scrape("Probe.*", "Probe.*")),
    standard("custom counters add up", "6.5", ask("/predictions/meters", "x", "text/plain"),
             Until(_metrics("/metrics"), r"ProbeCount\{.* 4.0"), Scrape("ProbeCount", "Probe.*")),
)  # fmt: skip
UNLISTED: tuple[Row, ...] = (
    standard("custom metrics, not listed", "6.4", ask("/predictions/meters", "x", "text/plain"), Scrape("Probe.*")),
)
_YAML = """
dimensions:
  - &model_name "ModelName"
  - &level "Level"
  - &host "Hostname"
ts_metrics:
  counter:
    - {name: Requests2XX, unit: Count, dimensions: [*level, *host]}
model_metrics:
  counter:
    - {name: ProbeCount, unit: count, dimensions: [*model_name, *level]}
  gauge:
    - {name: HandlerTime, unit: ms, dimensions: [*model_name, *level]}
  histogram:
    - {name: ProbeTime, unit: s, dimensions: [*model_name, *level]}
"""
OWN: tuple[Row, ...] = (
    standard("a metrics.yaml of one's own", "6.4", ask("/predictions/meters", "x", "text/plain"),
             Until(_metrics("/metrics"), "ProbeCount.*2.0"), Scrape("(?!HandlerTime|.*_(max|min)).*", "Probe.*")),
)  # fmt: skip
OFF: tuple[Row, ...] = (
    core("metrics API off: nobody listens", "6.1", _metrics("/metrics")),
    core("system metrics off", "6.6", manage("GET", "/models"), Lines("logs/ts_metrics.log", "CPUUtilization", 0)),
)

_PROM = "metrics_mode=prometheus\n"
SETUPS = (
    Setup("prometheus", PROMETHEUS, models=("probe.mar",), before=ready("probe"), properties=_PROM),
    Setup("log", LOG, models=("probe.mar",), before=ready("probe"), properties="metrics_mode=log\n"),
    Setup("legacy", LEGACY, models=("probe.mar",), before=ready("probe"), properties="metrics_mode=legacy\n"),
    Setup("custom", CUSTOM, models=("meters.mar",), before=ready("meters"),
          properties=_PROM + "model_metrics_auto_detect=true\n"),
    Setup("unlisted", UNLISTED, models=("meters.mar",), before=ready("meters"), properties=_PROM),
    Setup("own", OWN, models=("meters.mar",), before=ready("meters"),
          properties=_PROM + "metrics_config={home}/own.yaml\n", files=(("own.yaml", _YAML),)),
    Setup("metrics-off", OFF, properties="enable_metrics_api=false\ndisable_system_metrics=true\nmetrics_mode=log\n"),
)  # fmt: skip
