"""What a start is told, from file, flags and environment, is what the server does, and what it logs."""

from __future__ import annotations

from pathlib import Path

from .conftest import Serve
from .live import make_model


def test_a_start_is_configured_by_all_three_and_says_so(serve: Serve, store: Path) -> None:
    make_model(store, "m", "def handle(data, context):\n    return ['x'] * len(data or ())\n")
    server = serve(
        "m",
        properties="enable_envvars_config=true\nmax_request_size=100\nmax_response_size=$$SIZE$$\nvmargs=-Xmx1g\n"
        'models={"m": {"1.0": {"batchSize": 3}}}\njob_queue_sise=5\n',
        env={"TS_MAX_REQUEST_SIZE": "5", "SIZE": "77"},
    )
    for line in [
        "Maximum Request Size: 5",
        "Maximum Response Size: 77",
        "Initial Models: m",
        f"Model Store: {store}",
        f"Config file: {server.home}/config.properties",
    ]:
        assert line in server.lines
    assert server.has_logged("without effect here: vmargs")
    number = (server.home / "config.properties").read_text().split("\n").index("job_queue_sise=5") + 1
    assert server.has_logged(f"line {number}: unknown key job_queue_sise is ignored; did you mean job_queue_size?")
    server.ready("m")
    assert server.predict("m", "12345").status == 200
    assert server.predict("m", "123456").status == 413
    assert server.manage("GET", "/models/m").json[0]["batchSize"] == 3
