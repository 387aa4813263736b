"""`torchserve bench` against a real server, and what it says where it can't."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from torchserve.cli.main import main
from torchserve.cli.scrape import read_scrape
from torchserve.cli.server_stats import server_stats

from ..e2e.conftest import Serve, serve, store
from ..e2e.handlers import ECHO
from ..e2e.live import make_model
from .answering import answering

__all__ = ["serve", "store"]
pytestmark = pytest.mark.usefixtures("temp")
QUICK = ["--seconds", "0.5", "--warmup", "0"]
AB = (
    "Benchmark,TS failed requests,TS throughput,TS latency P50,TS latency P90,TS latency P99,TS latency mean,TS error rate,"
    "Batch size,Batch delay,Workers,Model,Concurrency,Input,Requests,Model_p50,Model_p90,Model_p99,Queue time p50,"
    "Queue time p90,Queue time p99"
).split(",")


def test_a_server_under_load(serve: Serve, store: Path, tmp_path: Path) -> None:
    archive = make_model(store, "cats", ECHO)
    server = serve("cats")
    server.ready("cats")
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.bin").write_bytes(b"%d" % number * (number + 1))
    where = [
        "--inference", f"http://127.0.0.1:{server.ports['Inference']}",
        "--management", f"http://127.0.0.1:{server.ports['Management']}",
    ]  # fmt: skip
    out = ["--json", str(tmp_path / "j.json"), "--csv", str(tmp_path / "c.csv"), "-rl", str(tmp_path)]
    done = CliRunner().invoke(main, ["bench", "cats", "-i", str(folder), "-c", "2", "-r", "50", *QUICK, *where, *out])
    assert done.exit_code == 0, done.output
    assert "# cats at http://127.0.0.1:" in done.stdout
    told = json.loads((tmp_path / "j.json").read_text())
    assert told["requests"] == {"offered": 50, "right": 50}
    assert told["load"] == {"loop": "closed", "connections": 2, "seed": 1}
    rows = list(csv.DictReader((tmp_path / "c.csv").read_text().splitlines()))
    assert [row["TS failed requests"] for row in rows] == ["0"]
    assert list(rows[0])[: len(AB)] == AB
    assert {rows[0][name] for name in ("Concurrency", "Requests", "Workers", "Batch size")} == {"2", "50", "1"}
    assert (tmp_path / "benchmark" / "ab_report.csv").read_text() == (tmp_path / "c.csv").read_text()

    words = ["--data", "x", "--rate", "100", "--slo-ms", "20000", "--late-ms", "20000", "--check", "echo"]
    done = CliRunner().invoke(main, ["bench", "cats", *words, *QUICK, *where])
    assert done.exit_code == 0, done.output
    assert "| load | open loop: 100 requests/s, poisson, seed 1 |" in done.stdout

    words = ["bench", "--url", archive.name, "-bs", "4", "--data", "x", "--requests", "9", *QUICK, *where]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    assert "# benchmark at" in done.stdout
    done = CliRunner().invoke(main, ["bench", "benchmark", "--data", "x", *where])
    assert (done.exit_code, "/predictions/benchmark answers --data with 404" in done.output) == (2, True), done.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("m", "nothing to send"),
        ("--data x", "name the MODEL"),
        ("m --data x --arrivals bursty", "--arrivals is for an open loop"),
        ("m --data x --rate 5 --arrivals spike", "give --slo-ms"),
        ("m --data x --rate 5 --arrivals nowhere", "a file of seconds"),
        ("m --input empty", "holds no file"),
        ("m --input nowhere", "does not exist"),
        ("m --data x --header nonsense", "'nonsense' is not NAME: VALUE"),
        ("m --data x --rate 0", "0"),
        ("m --data x", "No server answers at http://127.0.0.1:1 "),
        ("m --data x --inference nonsense", "Invalid binding address: nonsense"),
    ],
)
def test_what_it_says_where_it_measures_nothing(words: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = CliRunner().invoke(main, ["bench", "--inference", "http://127.0.0.1:1", *words.split()])
    assert (done.exit_code, said in done.output) == (2, True), done.output


@pytest.mark.parametrize(
    ("check", "answers", "said"),
    [
        ("echo", (200, "other"), "/m is no echo"),
        ("status", (500, {"message": "it broke"}), "/m answers --data with 500: it broke"),
        ("auto", (503, "plain"), "/m answers --data with 503: b'plain'"),
    ],
)
def test_what_the_lone_request_shows(check: str, answers: tuple[int, object], said: str) -> None:
    with answering({"POST /m": answers}) as server:
        words = ["bench", "--path", "m", "--data", "x", "--check", check, "--inference", server.url]
        done = CliRunner().invoke(main, words)
    assert (done.exit_code, said in done.output) == (2, True), done.output


def test_what_the_server_says_of_a_run() -> None:
    before = 'torchserve_batch_size_count{model_name="m"} 1\ntorchserve_batch_size_sum{model_name="m"} 1\n'
    after = (
        'torchserve_batch_size_count{model_name="m"} 3\ntorchserve_batch_size_sum{model_name="m"} 9\n'
        'torchserve_batch_size_count{model_name="n"} 7\n'
        'torchserve_handler_duration_seconds_bucket{model_name="m",le="0.01"} 2\n'
        'torchserve_handler_duration_seconds_bucket{model_name="m",le="+Inf"} 2\n'
    )
    told = server_stats(read_scrape(before, 0.0), read_scrape(after, 1.0), "m")
    assert (told.batch, told.queue) == (4.0, {})
    assert told.handler == pytest.approx({50: 5.0, 90: 9.0, 99: 9.9})
    assert server_stats(read_scrape(after, 0.0), read_scrape(after, 1.0), "m").batch is None
