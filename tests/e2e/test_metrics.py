"""Metrics of the running server: what handlers emit, what metrics_config lists, and what that leaves out."""

from __future__ import annotations

import re
import socket
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from ..standins.nvml import GIB, FakeNvml
from .conftest import Serve
from .handlers import MEASURING, MEASURING_UNDECLARED, METRICS_YAML
from .live import LiveServer, eventually, make_model

HOST = socket.gethostname()


def scrape(server: LiveServer, *names: str) -> str:
    query = "&".join(f"name[]={name}" for name in names)
    answer = server.call("Metrics", "GET", f"/metrics?{query}")
    assert answer.status == 200
    return answer.body.decode()


def names(text: str) -> set[str]:
    return set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))


def test_metrics_config_lists_what_there_is(serve: Serve, store: Path, tmp_path: Path) -> None:
    make_model(store, "m", MEASURING)
    (tmp_path / "metrics.yaml").write_text(METRICS_YAML)
    server = serve("m", properties=f"metrics_config={tmp_path}/metrics.yaml\nmodel_metrics_auto_detect=false")
    server.ready("m")
    for _ in range(2):
        assert server.predict("m", "x").body == b"ok"
    text = scrape(server)
    assert names(text) - names(scrape(server, "torchserve_*")) == {"Requests2XX", "Calls", "Sizes", "PredictionTime"}
    assert f'Calls{{Hostname="{HOST}",}} 2.0\n' in text
    assert f'Sizes_bucket{{Kind="large",Hostname="{HOST}",le="5.0",}} 2.0\n' in text
    assert f'PredictionTime{{ModelName="m",Level="Model",Hostname="{HOST}",}}' in text
    server.until_logged("The model metric Undeclared is dropped")


def test_a_metrics_config_that_is_wrong_costs_no_metric(serve: Serve, store: Path, tmp_path: Path) -> None:
    make_model(store, "m", MEASURING_UNDECLARED)
    (tmp_path / "metrics.yaml").write_text("ts_metrics: 3")
    server = serve("m", properties=f"metrics_config={tmp_path}/metrics.yaml\nmodel_metrics_auto_detect=true")
    server.until_logged("Failed to load metrics configuration; the default metrics are used:")
    server.ready("m")
    assert server.predict("m", "x").body == b"ok"
    text = scrape(server)
    assert {"QueueTime", "Calls", "Sizes", "Undeclared", "Zoned"} <= names(text)
    assert f'Zoned{{Zone="a",ModelName="m",Level="Model",Hostname="{HOST}",}} 3.0\n' in text
    assert list(text_string_to_metric_families(text))
    assert 'torchserve_workers{model_name="m",model_version="1.0",state="ready",} 1.0\n' in text
    (memory,) = text_string_to_metric_families(scrape(server, "torchserve_workers_memory_bytes"))
    described = server.manage("GET", "/models/m").json[0]["workers"][0]["memoryUsage"]
    assert 0.5 < memory.samples[0].value / described < 2
    assert server.manage("DELETE", "/models/m").status == 200
    assert "Zoned{" not in scrape(server)
    assert 'ts_inference_requests_total{model_name="m",' in scrape(server)


def test_a_mode_that_writes_lines_and_the_machine(
    serve: Serve, store: Path, tmp_path: Path, fake_nvml: FakeNvml
) -> None:
    fake_nvml.set({"count": 2, "1.total": 80 * GIB, "1.used": 20 * GIB, "1.utilization": 30})
    make_model(store, "m", MEASURING_UNDECLARED, "deviceType: cpu\nminWorkers: 1\nmaxWorkers: 1\n")
    written = tmp_path / "written"
    server = serve(
        "m",
        properties="model_metrics_auto_detect=true\nmetric_time_interval=1",
        env=fake_nvml.env | {"METRICS_LOCATION": str(written)},
    )
    server.ready("m")
    answer = server.predict("m", "x")
    eventually(lambda: 'GPUUtilization{Level="Host",DeviceId="1"' in scrape(server))
    shown = scrape(server, "GPU*")
    assert f'GPUUtilization{{Level="Host",DeviceId="1",Hostname="{HOST}",}} 30.0\n' in shown
    assert f'GPUMemoryUtilization{{Level="Host",DeviceId="1",Hostname="{HOST}",}} 25.0\n' in shown
    assert f'GPUMemoryUsed{{Level="Host",DeviceId="0",Hostname="{HOST}",}} 0.0\n' in shown
    fake_nvml.lose(1)
    eventually(lambda: 'DeviceId="1"' not in scrape(server))
    assert 'DeviceId="0"' in scrape(server)
    time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d,\d{3} - "
    host = rf"\|#hostname:{re.escape(HOST)},"
    server_lines, model_lines = (written / f"{name}_metrics.log" for name in ("ts", "model"))
    for pattern in (
        rf"Requests2XX\.Count:1\.0\|#Level:Host{host}timestamp:\d{{10}}",
        rf"ts_inference_requests_total\.Count:1\.0\|#model_name:m,model_version:default{host}timestamp:\d{{10}}",
        rf"WorkerLoadTime\.Milliseconds:[\d.]+\|#WorkerName:W-9000-m_1\.0,Level:Host{host}timestamp:\d{{10}}",
        rf"MemoryUtilization\.Percent:[\d.]+\|#Level:Host{host}timestamp:\d{{10}}",
        rf"GPUUtilization\.Percent:30\.0\|#Level:Host,DeviceId:1{host}timestamp:\d{{10}}",
    ):
        eventually(lambda line=f"^{time}{pattern}$": re.search(line, server_lines.read_text(), re.MULTILINE))
    identity = answer.headers["x-request-id"]
    for pattern in (
        rf"PredictionTime\.ms:[\d.]+\|#ModelName:m,Level:Model{host}requestID:{identity},timestamp:\d{{10}}",
        rf"Zoned\.Megabytes:3\.0\|#Zone:a,ModelName:m,Level:Model{host}requestID:{identity},timestamp:\d{{10}}",
    ):
        eventually(lambda line=f"^{time}{pattern}$": re.search(line, model_lines.read_text(), re.MULTILINE))


def test_the_metrics_api_and_the_machines_metrics_can_be_off(serve: Serve) -> None:
    server = serve(properties="enable_metrics_api=false")
    assert "Metrics" not in server.ports
    server.stop()
    server = serve(properties="disable_system_metrics=true\nmetrics_mode=prometheus")
    server.call("Inference", "GET", "/ping")
    assert "CPUUtilization{" not in scrape(server, "CPUUtilization")
    server.stop()
    assert "Requests2XX" not in "\n".join(server.lines)
