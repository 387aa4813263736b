"""--log-config: levels of a log4j2.xml, or a dictConfig on top of ours; what is wrong is one line with the file."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from torchserve.core.errors import InvalidConfig
from torchserve.core.log_config import apply_log_config

NAMES = ("", "torchserve", "MODEL_LOG", "torchserve.http")


@pytest.fixture(autouse=True)
def levels() -> Iterator[None]:
    before = {name: logging.getLogger(name).level for name in NAMES}
    yield
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


def level(name: str) -> int:
    return logging.getLogger(name).level


LOG4J2 = """<?xml version="1.0" encoding="UTF-8"?>
<!-- TorchServe's own file looks like this -->
<Configuration>
  <Appenders><Console name="STDOUT"><PatternLayout pattern="%m%n"/></Console></Appenders>
  <Loggers>
    <Logger name="ACCESS_LOG" level="nonsense"><AppenderRef ref="access_log"/></Logger>
    <AsyncLogger name="org.pytorch.serve" level="debug"/>
    <Logger name="MODEL_LOG" level="WARN"/>
    <Root level="error"/>
  </Loggers>
</Configuration>
"""


def test_the_levels_of_a_log4j2_file_are_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "log4j2.xml"
    path.write_text(LOG4J2)
    with caplog.at_level(logging.WARNING, "torchserve.core.log_config"):
        apply_log_config(path)
    assert (level("torchserve"), level("MODEL_LOG"), level("")) == (logging.DEBUG, logging.WARNING, logging.ERROR)
    assert "its levels are used; appenders and layouts keep TorchServe's files and format" in caplog.text


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("all", 10), ("TRACE", 10), ("Debug", 10), ("info", 20), ("warn", 30), ("error", 40), ("fatal", 50), ("OFF", 60),
    ],
)  # fmt: skip
def test_log4j2s_names_of_levels(tmp_path: Path, name: str, expected: int) -> None:
    path = tmp_path / "log4j2.xml"
    path.write_text(f'<Configuration><Loggers><Logger name="MODEL_LOG" level="{name}"/></Loggers></Configuration>')
    apply_log_config(path)
    assert level("MODEL_LOG") == expected


def test_a_logger_without_a_level_and_a_tag_of_another_kind_change_nothing(tmp_path: Path) -> None:
    logging.getLogger("MODEL_LOG").setLevel(7)
    path = tmp_path / "log4j2.xml"
    path.write_text('<C><Logger name="MODEL_LOG"/><Filter name="MODEL_LOG" level="off"/></C>')
    apply_log_config(path)
    assert level("MODEL_LOG") == 7


@pytest.mark.parametrize("suffix", ["yaml", "yml", "json"])
def test_levels_of_a_dictconfig(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"log.{suffix}"
    path.write_text(json.dumps({"loggers": {"torchserve.http": {"level": "ERROR"}}, "root": {"level": "DEBUG"}}))
    handlers = logging.getLogger().handlers[:]
    apply_log_config(path)
    assert (level("torchserve.http"), level("")) == (logging.ERROR, logging.DEBUG)
    assert logging.getLogger().handlers == handlers


def test_handlers_of_a_dictconfig_come_beside_our_files(tmp_path: Path) -> None:
    """In a process of its own: a whole dictConfig ends every handler that there is."""
    config = {
        "handlers": {"extra": {"class": "logging.FileHandler", "filename": str(tmp_path / "extra.log")}},
        "loggers": {"torchserve.http": {"handlers": ["extra"]}},
    }
    (tmp_path / "log.json").write_text(json.dumps(config))
    script = (
        "import logging, pathlib, sys\n"
        "from torchserve.core.log_config import apply_log_config\n"
        "from torchserve.core.logs import open_logs\n"
        "early = logging.getLogger('torchserve.http.front')\n"
        "unnamed = logging.getLogger('torchserve.core.server')\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "logs = open_logs(folder, console=False)\n"
        "apply_log_config(folder / 'log.json')\n"
        "early.warning('still heard')\n"
        "unnamed.warning('this too')\n"
        "logging.getLogger('MODEL_LOG').warning('printed')\n"
        "logs.close()\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, timeout=60)
    assert (tmp_path / "extra.log").read_text() == "still heard\n"
    ts_log = (tmp_path / "ts_log.log").read_text()
    assert "[WARN ] main torchserve.http.front - still heard" in ts_log
    assert "[WARN ] main torchserve.core.server - this too" in ts_log
    assert "MODEL_LOG - printed" in (tmp_path / "model_log.log").read_text()


BOMB = (
    '<!DOCTYPE c [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    '<c><Logger name="MODEL_LOG" level="&b;"/></c>'
)


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("gone.xml", None, "No such file"),
        ("a.xml", b"", "no element found"),
        ("a.xml", b"<c>", "no element found"),
        ("log4j2.properties", b"rootLogger.level = info", "syntax error"),
        ("a.xml", b'<c><Root level="loud"/></c>', "'loud' is no log4j2 level"),
        ("a.xml", BOMB.encode(), "document types and entities are not accepted"),
        ("a.xml", BOMB.encode("utf-16"), "document types and entities are not accepted"),
        ("a.yaml", b"", "no dictConfig mapping"),
        ("a.yaml", b"[1]", "no dictConfig mapping"),
        ("a.yaml", b"a: [", "while parsing"),
        ("a.yaml", b"version: 2", "Unsupported version"),
        ("a.yaml", b"loggers: {x: {level: LOUD}}", "Unable to configure logger 'x'"),
        ("a.yaml", b"loggers: [1]", "Unable to configure logger 1"),
        ("a.yaml", b"!!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ("a.json", b"{", "while parsing"),
        ("a.json", b"\xff", "can't decode|unacceptable|invalid"),
    ],
)
def test_what_is_wrong_is_named_with_the_file(tmp_path: Path, name: str, content: bytes | None, why: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidConfig, match=why) as caught:
        apply_log_config(path)
    assert caught.value.message.startswith(f"Invalid configuration: --log-config {path}: ")
