"""The lines of ts_metrics.log and model_metrics.log, and what each metrics_mode writes and shows."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from torchserve.core.metrics.lines import MODEL_METRICS, TS_METRICS, Lines
from torchserve.core.metrics.model_metrics import MANY, TS
from torchserve.core.metrics.spec import read_spec
from torchserve.core.metrics.store import HOST, MetricStore
from torchserve.core.wire.messages import Sample
from torchserve.scheduler.job import ReleaseReason

LEVEL = (("ModelName", "m"), ("Level", "Model"))


class Log:
    """Keeps what is put, by stream, without the seconds of its timestamp. `write` takes it, as the log's thread does."""

    def __init__(self) -> None:
        self.lines: dict[str, list[str]] = {TS_METRICS: [], MODEL_METRICS: []}
        self.put: list[tuple[str, Lines]] = []
        self.request_ids: set[str] = set()

    def __call__(self, stream: str, entry: Lines) -> bool:
        self.put.append((stream, entry))
        return True

    def write(self) -> Log:
        for stream, entry in self.put:
            for at, line, request_ids in entry.take():
                text, seconds = line.split("timestamp:")
                assert int(seconds) == int(at)
                self.lines[stream].append(text)
                self.request_ids.add(request_ids)
        return self


def busy(mode: str) -> tuple[MetricStore, Log]:
    log = Log()
    store = MetricStore(mode=mode, put=log)
    model = store.of_model("m", "1.0")
    model.worker_loaded("W-9000-m_1.0", 1234.0)
    model.requested(named=False)
    model.succeeded(0.25, 0.125, named=False)
    model.batch_finished(2, 0.0, 0.5, 0.25, ReleaseReason.FULL, "cpu")
    model.samples(
        [
            Sample("PredictionTime", "Milliseconds", "GAUGE", 7.5, LEVEL),
            Sample("PredictionTime", "Milliseconds", "GAUGE", 7.25, LEVEL, 1),
            Sample("PredictionTime", "Milliseconds", "GAUGE", 7.0, LEVEL, 2),
            Sample("NotDeclared", "Milliseconds", "GAUGE", 7.25, LEVEL),
        ],
        ["id-a", "id-b"],
    )
    store.request(200)
    store.system([("CPUUtilization", 12.5)], [("1", "GPUUtilization", 30.0)])
    return store, log.write()


def shown(store: MetricStore) -> set[str]:
    return set(re.findall(r"^# TYPE (\S+)", store.render().decode(), re.MULTILINE)) - own(store)


def own(store: MetricStore) -> set[str]:
    return set(re.findall(r"^# TYPE (\S+)", store.render(["torchserve_*"]).decode(), re.MULTILINE))


TRIO = [
    "ts_inference_requests_total.Count:1.0|#model_name:m,model_version:default|#hostname:vm,",
    "ts_inference_latency_microseconds.Microseconds:250000.0|#model_name:m,model_version:default|#hostname:vm,",
    "ts_queue_latency_microseconds.Microseconds:125000.0|#model_name:m,model_version:default|#hostname:vm,",
]
OTHERS = [
    "WorkerLoadTime.Milliseconds:1234.0|#WorkerName:W-9000-m_1.0,Level:Host|#hostname:vm,",
    "WorkerThreadTime.Milliseconds:250.0|#Level:Host|#hostname:vm,",
    "Requests2XX.Count:1.0|#Level:Host|#hostname:vm,",
    "QueueTime.Milliseconds:125.0|#Level:Host|#hostname:vm,",
    "CPUUtilization.Percent:12.5|#Level:Host|#hostname:vm,",
    "GPUUtilization.Percent:30.0|#Level:Host,DeviceId:1|#hostname:vm,",
]
MODEL = [
    "PredictionTime.ms:7.5|#ModelName:m,Level:Model|#hostname:vm,requestID:id-a,id-b,",
    "PredictionTime.ms:7.25|#ModelName:m,Level:Model|#hostname:vm,requestID:id-b,",
    "PredictionTime.ms:7.0|#ModelName:m,Level:Model|#hostname:vm,requestID:id-a,id-b,",
]


@pytest.mark.parametrize(
    ("mode", "server", "model"),
    [("log", [*TRIO, *OTHERS], MODEL), ("legacy", OTHERS, MODEL), ("prometheus", [], [])],
)
def test_lines_by_mode(mode: str, server: list[str], model: list[str]) -> None:
    _, log = busy(mode)
    assert sorted(log.lines[TS_METRICS]) == sorted(line.replace(":vm,", f":{HOST},") for line in server)
    assert log.lines[MODEL_METRICS] == [line.replace(":vm,", f":{HOST},") for line in model]
    assert log.request_ids == ({"", "id-a,id-b", "id-b"} if model else set())


def test_what_comes_between_two_rounds_of_the_log_is_one_line_with_its_sum() -> None:
    log = Log()
    store = MetricStore(mode="log", put=log)
    model = store.of_model("m", "1.0")
    for seconds in (0.5, 0.25):
        model.succeeded(seconds, 0.125, named=False)
        model.batch_finished(1, 0.0, 0.5, 0.25, ReleaseReason.FULL, "cpu")
    assert len(log.put) == 1
    latency, waited, queue_time, _ = log.write().lines[TS_METRICS]
    assert latency.startswith("ts_inference_latency_microseconds.Microseconds:750000.0|")
    assert waited.startswith("ts_queue_latency_microseconds.Microseconds:250000.0|")
    assert queue_time.startswith("QueueTime.Milliseconds:125.0|")
    model.succeeded(1.0, 0.0, named=False)
    model.batch_finished(1, 0.0, 0.5, 0.25, ReleaseReason.FULL, "cpu")
    assert [line.partition("|")[0] for line in log.write().lines[TS_METRICS][4:]] == [
        "ts_inference_latency_microseconds.Microseconds:1000000.0", "QueueTime.Milliseconds:0.0",
        "WorkerThreadTime.Milliseconds:250.0",
    ]  # fmt: skip


def test_a_log_without_room_costs_no_value() -> None:
    class Full(Log):
        room = False

        def __call__(self, stream: str, entry: Lines) -> bool:
            return super().__call__(stream, entry) if self.room else False

    log = Full()
    store = MetricStore(mode="log", put=log)
    store.request(200)
    log.room = True
    store.request(200)
    assert [line.partition("|")[0] for line in log.write().lines[TS_METRICS]] == ["Requests2XX.Count:2.0"]


def test_what_is_counted_while_lines_are_taken_is_written_once() -> None:
    """The log's thread and the event loop, in every order that a line of either can be cut at."""
    log = Log()
    store = MetricStore(mode="log", put=log)
    total = 0.0
    for _ in range(200):
        store.request(200)
        lines = log.put.pop()[1].take()
        first = next(lines)
        store.request(200)
        for _, text, _ in (first, *lines):
            total += float(text.partition(":")[2].partition("|")[0])
    for _, entry in log.put:
        total += sum(float(text.partition(":")[2].partition("|")[0]) for _, text, _ in entry.take())
    assert total == 400


def test_a_model_that_is_registered_again_goes_on_where_its_counters_were() -> None:
    log = Log()
    store = MetricStore(mode="log", put=log)
    for seconds in (0.5, 0.25):
        model = store.of_model("m", "1.0")
        model.succeeded(seconds, 0.0, named=False)
        model.batch_finished(1, 0.0, 0.5, 0.25, ReleaseReason.FULL, "cpu")
        store.forget(model)
        log.write()
    lines = [line for line in log.lines[TS_METRICS] if line.startswith("ts_inference_latency")]
    assert [line.partition("|")[0].partition(":")[2] for line in lines] == ["500000.0", "250000.0"]


def test_what_is_shown_by_mode() -> None:
    spec = read_spec()
    every = {each.name for each in (*spec.server, *spec.model)}
    assert shown(busy("log")[0]) == shown(busy("prometheus")[0]) == every
    legacy, _ = busy("legacy")
    assert shown(legacy) == set(TS)
    assert own(legacy) == own(busy("log")[0]) != set()
    assert b"ts_queue_latency_microseconds{" in legacy.render()


def emitted(log: Log) -> list[list[str]]:
    """The values of each entry that was put into model_metrics.log."""
    return [
        [re.findall(r":([\d.]+)\|#", line)[0] for _, line, _ in entry.take()]
        for stream, entry in log.put
        if stream == MODEL_METRICS
    ]


def test_what_inner_nodes_emit_is_logged_with_what_the_last_one_does() -> None:
    log = Log()
    store = MetricStore(put=log, soon=lambda settle: None)
    inner, last = store.of_model("wf__a", "1.0"), store.of_model("wf__b", "1.0")
    inner.gathers = True
    for value in (1.0, 2.0):
        inner.samples([Sample("PredictionTime", "Milliseconds", "GAUGE", value, LEVEL)], ["id"])
    assert log.put == []
    last.samples([Sample("PredictionTime", "Milliseconds", "GAUGE", 3.0, LEVEL)], ["id"])
    assert emitted(log) == [["1.0", "2.0", "3.0"]]


def test_what_inner_nodes_emit_is_logged_soon_and_never_piles_up() -> None:
    log = Log()
    due: list[Callable[[], None]] = []
    store = MetricStore(put=log, soon=due.append)
    inner = store.of_model("wf__a", "1.0")
    inner.gathers = True
    inner.requested(named=False)
    inner.samples([Sample("PredictionTime", "Milliseconds", "GAUGE", 1.0, LEVEL)], ["id"])
    assert log.put == []
    due.pop()()
    assert emitted(log) == [["1.0"]]
    log.put.clear()
    for _ in range(2 * MANY):
        inner.samples([Sample("PredictionTime", "Milliseconds", "GAUGE", 1.0, LEVEL)], ["id"])
    assert [len(values) for values in emitted(log)] == [MANY, MANY]
