"""The open loop's points, floors, rivals' ways of starting, and the comparison with a recorded run."""

from __future__ import annotations

import json
import os
import pickle
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import open_loop, rival
from benchmarks.baseline import NoBaselineError, measure_baseline
from benchmarks.open_loop import OpenLoad, Point, draw, scenario_for, table
from benchmarks.process import NotServingError, ServerProcess
from benchmarks.protocol_adapter import RAW_TENSORS
from benchmarks.quick import figures
from benchmarks.quick import table as compared
from benchmarks.report import OURS, Cell, Footprint, Report
from benchmarks.rival import KINDS, Rival
from benchmarks.workload import ECHO, ECHOES, Workload, echo
from benchmarks.wrk import Sample
from torchserve.cli.loadgen.outcome import Outcome
from torchserve.cli.loadgen.scenario import Open
from torchserve.cli.loadgen.tally import Tally

BODIES = [b'"request %09d"' % number for number in range(70)]
WORKLOAD = Workload(
    "echo", Path("echo.mar"), BODIES[0], "text/plain", lambda n: BODIES[:n], bytes, batch=32, delay_ms=1
)


def tensor(body: bytes) -> bytes:
    head = json.dumps({"outputs": [{"name": "OUT", "parameters": {"binary_data_size": len(body) + 4}}]})
    return head.encode() + len(body).to_bytes(4, "little") + body


def a_server(tmp_path: Path) -> ServerProcess:
    return ServerProcess("it", tmp_path, 1234, "/predict")


def an_outcome(server: ServerProcess, late: float = 0.0) -> Outcome:
    tally = Tally(offered=1000, ended=980, good=900)
    for _ in range(980):
        tally.count("right")
        tally.latency.add(0.02)
    for _ in range(20):
        tally.count("refused")
        tally.refusal.add(0.001)
    for _ in range(1000):
        tally.late.add(late)
    return Outcome(scenario_for(server, WORKLOAD, OpenLoad(100.0, 10.0, 0.05)), tally, 10.0, 3.0, [], True, 1)


def test_what_is_offered(tmp_path: Path) -> None:
    server = a_server(tmp_path)
    made = scenario_for(server, WORKLOAD, OpenLoad(100.0, 10.0, 0.05))
    assert (str(made.address), made.target, made.load) == ("http://127.0.0.1:1234", "/predict", Open(100.0))
    assert [payload.body for payload in made.payloads] == BODIES[:64]
    assert made.check(0, b"x", b"x")
    assert not made.check(0, b"x", b"y")
    made = scenario_for(server, WORKLOAD, OpenLoad(100.0, 10.0, 0.05, deadline=0.045))
    assert (made.slo, made.headers) == (0.05, {"x-request-timeout-ms": "45"})
    server.adapter = RAW_TENSORS
    made = pickle.loads(pickle.dumps(scenario_for(server, WORKLOAD, OpenLoad(100.0, 10.0, 0.05))))
    assert made.headers == {"Inference-Header-Content-Length": "0"}
    assert made.check(0, b"x", tensor(b"x"))
    assert not made.check(0, b"x", tensor(b"y"))
    assert not made.check(0, b"x", b"rubbish")


def test_a_point_keeps_what_matters_and_says_what_is_wrong(tmp_path: Path) -> None:
    server = a_server(tmp_path)
    good = open_loop.point("it", "echo", an_outcome(server), 50.0, 64.0)
    assert (good.offered, good.goodput, good.answered, good.refused, good.fault) == (100.0, 90.0, 98.0, 2.0, None)
    assert good.p50 == pytest.approx(20.0, rel=0.002)
    assert good.p99 is None, "980 answers are too few"
    late = open_loop.point("it", "echo", an_outcome(server, late=0.01), 50.0, 64.0)
    assert "the generator was late" in (late.fault or "")
    lines = table([good, late], 0.05)
    rows = [line for line in lines if line.startswith("| ")]
    assert len({row.count("|") for row in rows} | {lines[4].count("|")}) == 1
    assert ["**invalid**" in row for row in rows] == [False, False, True]
    assert lines[-1].startswith("- it at 100/s: the generator was late")
    assert json.dumps(Report({}, points=[good, late]).as_json())
    assert "SLO 50 ms" in Report({}, points=[good]).as_markdown()


def test_curves_are_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    points = [
        Point("echo", name, rate, rate, rate, 0, 1.0, 2.0, None, None, None, 0.1, 9.0, 9.0, True)
        for name in "ab"
        for rate in (1.0, 2.0)
    ]
    (picture,) = draw(points, 0.05, tmp_path)
    assert picture.read_bytes().startswith(b"\x89PNG")


def packed(tmp_path: Path, handler: str = (ECHO / "handler.py").read_text()) -> Workload:
    """WORKLOAD in an archive."""
    archive = tmp_path / "echo.mar"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("MAR-INF/MANIFEST.json", json.dumps({"model": {"handler": "handler.py"}}))
        file.writestr("handler.py", handler)
    return replace(WORKLOAD, archive=archive)


def test_a_floor_is_the_handler_alone(tmp_path: Path) -> None:
    bare = measure_baseline(packed(tmp_path), Path(sys.prefix))
    assert bare.rate > 0 < bare.lone_us
    with pytest.raises(NoBaselineError, match="ZeroDivisionError"):
        measure_baseline(packed(tmp_path, "1 / 0"), Path(sys.prefix))


def a_venv(tmp_path: Path) -> Path:
    """What pytriton's wheel lays out, without its weight."""
    packages = tmp_path / "venv" / "lib" / "python3.11" / "site-packages"
    bundled = packages / "pytriton" / "tritonserver"
    for file in (
        "bin/tritonserver",
        "backends/python/libtriton_python.so",
        "python_backend_stubs/3.11/triton_python_backend_stub",
    ):
        (bundled / file).parent.mkdir(parents=True)
        (bundled / file).touch()
    (packages / "nvidia_pytriton.libs").mkdir()
    return tmp_path / "venv"


@pytest.mark.parametrize("name", KINDS)
def test_how_a_rival_is_started(name: str, tmp_path: Path) -> None:
    venv = a_venv(tmp_path)
    server = Rival(name, venv, packed(tmp_path), venv)
    launch = server.prepare()
    assert str(server.port) in launch.command
    assert Path(launch.environment["RIVAL_MODEL"], "handler.py").is_file()
    assert launch.environment["RIVAL_PACKAGES"] == str(venv / "lib" / "python3.11" / "site-packages")
    assert (launch.environment["RIVAL_BATCH"], launch.environment["RIVAL_DELAY_MS"]) == ("32", "1")
    assert server.predictions.startswith(f"http://127.0.0.1:{server.port}/")
    if name == "triton":
        laid = {str(path.relative_to(server.folder)) for path in server.folder.rglob("*") if path.is_file()}
        assert laid == {
            "backends/python/libtriton_python.so", "backends/python/triton_python_backend_stub",
            "models/echo/config.pbtxt", "models/echo/1/triton_model.py", "models/echo/1/serving.py",
            "model/echo/MAR-INF/MANIFEST.json", "model/echo/handler.py",
        }  # fmt: skip
        assert "max_batch_size: 32" in (server.folder / "models/echo/config.pbtxt").read_text()
        assert server.predictions.endswith("/v2/models/echo/infer")
        assert launch.environment["LD_LIBRARY_PATH"].endswith("nvidia_pytriton.libs")
    rival.shutil.rmtree(server.folder)


def test_a_rival_that_ends_at_once_is_told_with_its_words(tmp_path: Path) -> None:
    venv = a_venv(tmp_path)
    python = venv / "bin" / "python"
    python.parent.mkdir()
    python.write_text("#!/bin/sh\necho no module named mosec\n")
    python.chmod(0o755)
    with (
        Rival("mosec", venv, packed(tmp_path), venv) as server,
        pytest.raises(NotServingError, match="no module named mosec"),
    ):
        server.wait_for_ping()
    assert not server.folder.exists()
    assert os.path.exists(python)


def a_report() -> Report:
    cell = Cell(
        "echo",
        16,
        {OURS: [Sample(r, 10, 1.0, 2.0, 3.0) for r in (1.0, 3.0, 2.0)]},
        {OURS: [Footprint(2**20, 0, 5.0)] * 3},
    )
    point = Point("echo", OURS, 200.0, 200.0, 200.0, 0, 1.0, 2.0, None, None, None, 0.1, 9.0, 9.0, True)
    late = replace(point, offered=300.0, fault="the generator was late")
    return Report({}, [cell, Cell("echo", 64)], {"echo": {OURS: {"ping": 0.5, "answer": 0.7}}}, points=[point, late])


def test_capacity_is_the_best_of_all_numbers_of_connections() -> None:
    cells = [
        Cell("echo", n, {OURS: [Sample(rate, 10, 1.0, 2.0, 3.0) for rate in rates]})
        for n, rates in ((1, (5.0, 6.0, 99.0)), (2, (7.0,)))
    ]
    assert Report({}, [*cells, Cell("other", 1)]).capacity("echo", OURS) == 7.0


@pytest.mark.parametrize("name", ECHOES)
def test_echoes_have_their_size(name: str, tmp_path: Path) -> None:
    archiver = tmp_path / "bin" / "archiver"
    archiver.parent.mkdir()
    archiver.write_text(f"#!/bin/sh\ntouch {tmp_path}/{name}.mar\n")
    archiver.chmod(0o755)
    made = echo(archiver, tmp_path, name)
    assert {len(body) for body in [made.body, *made.bodies(3)]} == {ECHOES[name]}
    assert len(set(made.bodies(3))) == 3
    assert json.loads(made.body)


def test_figures_to_compare() -> None:
    now = figures(a_report())
    assert now == {
        "echo, 16 connections: requests/s": 2.0, "echo, 16 connections: p50 ms": 1.0, "echo, 16 connections: p99 ms": 2.0,
        "echo, 16 connections: CPU us": 5.0, "echo, 16 connections: front MiB": 1.0,
        "echo, 200/s offered: p50 ms": 1.0, "echo, 200/s offered: CPU us": 9.0, "echo, 200/s offered: late p99 ms": 0.1,
        "echo: first ping, s": 0.5, "echo: first answer, s": 0.7,
    }  # fmt: skip
    lines = compared(now, {"echo, 16 connections: requests/s": 1.0, "gone": 3.0})
    assert lines[2] == "| echo, 16 connections: requests/s | 2.00 | 1.00 | 2.00 |"
    assert lines[3] == "| echo, 16 connections: p50 ms | 1.00 |  |  |"
    assert len(lines) == 2 + len(now)
