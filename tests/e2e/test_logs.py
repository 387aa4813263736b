"""What the real server writes into its logs, by default and as it is told to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .conftest import Serve
from .handlers import PROBE
from .live import eventually, make_model


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_with_json_every_line_of_a_request_carries_its_id(serve: Serve, store: Path) -> None:
    make_model(store, "probe", PROBE)
    server = serve("probe", properties="log_format=json")
    answer = eventually(lambda: (found := server.predict("probe", "print 3")).status == 200 and found)
    request_id = answer.headers["x-request-id"]
    logs = server.home / "logs"
    model = eventually(lambda: [line for line in lines(logs / "model_log.log") if line["message"] == "xxx"])
    assert [(line["request_id"], line["thread"], line["level"]) for line in model] == [
        (request_id, "W-9000-probe_1.0-stdout", "INFO")
    ]
    (access,) = eventually(
        lambda: [line for line in lines(logs / "access_log.log") if line.get("request_id") == request_id]
    )
    assert '"POST /predictions/probe HTTP/1.1" 200' in access["message"]
    assert any("Model server started." in line["message"] for line in lines(logs / "ts_log.log"))


def test_a_log4j2_file_moves_the_logs(serve: Serve, store: Path, tmp_path: Path) -> None:
    make_model(store, "probe", PROBE)
    config = tmp_path / "log4j2.xml"
    config.write_text(
        '<Configuration><Appenders><Console name="out"><PatternLayout pattern="%m%n"/></Console>'
        f'<File name="mine" fileName="{tmp_path}/mine.log"><PatternLayout pattern="%X{{request_id}} %m%n"/></File>'
        '</Appenders><Loggers><Logger name="ACCESS_LOG" level="info"><AppenderRef ref="mine"/></Logger>'
        '<Root level="info"><AppenderRef ref="out"/></Root></Loggers></Configuration>'
    )
    server = serve("probe", arguments=["--log-config", str(config)])
    answer = eventually(lambda: (found := server.predict("probe", "hello")).status == 200 and found)
    expected = f"{answer.headers['x-request-id']} /127.0.0.1:"
    mine = tmp_path / "mine.log"
    eventually(lambda: mine.exists() and expected in mine.read_text())
    assert not (server.home / "logs" / "ts_log.log").exists()
