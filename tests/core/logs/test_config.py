"""--log-config: log4j2 in XML and properties, log4j 1, dictConfig; what is wrong is one line with the file."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.errors import InvalidConfig
from torchserve.core.logs.config import read_log_config
from torchserve.core.logs.layout import PLAIN_PATTERN, TS_PATTERN, between, json_layout, level_name
from torchserve.core.logs.line import Line, timestamp
from torchserve.core.logs.log4j import interpret
from torchserve.core.logs.patterns import pattern_layout
from torchserve.core.logs.plan import LogPlan

from .conftest import Logging

LINE = Line(1795343572.046, logging.WARNING, "W-9000", "torchserve.core", "hello", "id-1")

XML = """<?xml version="1.0" encoding="UTF-8"?>
<!-- TorchServe's own file looks like this -->
<Configuration>
  <Properties><Property name="layout">%d{ISO8601} [%-5p] %t %c - %m%n</Property></Properties>
  <Appenders>
    <RollingFile name="access_log" fileName="${env:LOG_LOCATION:-logs}/access_log.log"
                 filePattern="${env:LOG_LOCATION:-logs}/access_log.%d{dd-MMM}.log.gz">
      <PatternLayout pattern="%d{ISO8601} - %m%n"/>
      <Policies><SizeBasedTriggeringPolicy size="20 MB"/><TimeBasedTriggeringPolicy/></Policies>
      <DefaultRolloverStrategy max="3"/>
    </RollingFile>
    <Console name="STDOUT" target="SYSTEM_OUT"><PatternLayout><Pattern>${layout}</Pattern></PatternLayout></Console>
    <File name="ts_log" fileName="${env:LOG_LOCATION:-logs}/ts_log.log"><JsonLayout/></File>
  </Appenders>
  <Loggers>
    <Logger name="ACCESS_LOG" level="info" additivity="false"><AppenderRef ref="access_log"/></Logger>
    <Logger name="io.netty" level="error"/>
    <Logger name="org.apache" level="off"/>
    <AsyncLogger name="org.pytorch.serve" level="debug"><AppenderRef ref="ts_log"/></AsyncLogger>
    <Logger name="mine" level="error"/>
    <Root level="warn"><AppenderRef ref="STDOUT"/><AppenderRef ref="ts_log"/></Root>
  </Loggers>
</Configuration>
"""

PROPERTIES = """
status = error
property.layout = %d{ISO8601} [%-5p] %t %c - %m%n
appenders = console, access
appender.console.type = Console
appender.console.name = STDOUT
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = ${layout}
appender.ts.type = File
appender.ts.name = ts_log
appender.ts.fileName = ${env:LOG_LOCATION}/ts_log.log
appender.ts.layout.type = JsonLayout
appender.access.type = RollingFile
appender.access.name = access_log
appender.access.fileName = ${env:LOG_LOCATION}/access_log.log
appender.access.filePattern = ${env:LOG_LOCATION}/access_log.%d{dd-MMM}.log.gz
appender.access.layout.type = PatternLayout
appender.access.layout.pattern = %d{ISO8601} - %m%n
appender.access.policies.type = Policies
appender.access.policies.size.type = SizeBasedTriggeringPolicy
appender.access.policies.size.size = 20MB
appender.access.policies.time.type = TimeBasedTriggeringPolicy
appender.access.strategy.type = DefaultRolloverStrategy
appender.access.strategy.max = 3
logger.access.name = ACCESS_LOG
logger.access.level = info
logger.access.additivity = false
logger.access.appenderRef.one.ref = access_log
logger.serve.name = org.pytorch.serve
logger.serve.level = debug
logger.serve.appenderRef.one.ref = ts_log
logger.mine.name = mine
logger.mine.level = error
rootLogger = warn, STDOUT, ts_log
"""

VERSION_1 = """
log4j.rootLogger = WARN, console, ts_log
log4j.appender.console = org.apache.log4j.ConsoleAppender
log4j.appender.console.layout = org.apache.log4j.PatternLayout
log4j.appender.console.layout.ConversionPattern = %d{ISO8601} [%-5p] %t %c - %m%n
log4j.appender.ts_log = org.apache.log4j.FileAppender
log4j.appender.ts_log.File = ${env:LOG_LOCATION}/ts_log.log
log4j.appender.ts_log.layout = org.apache.log4j.JsonLayout
log4j.appender.access_log = org.apache.log4j.RollingFileAppender
log4j.appender.access_log.File = ${env:LOG_LOCATION}/access_log.log
log4j.appender.access_log.MaxFileSize = 20MB
log4j.appender.access_log.MaxBackupIndex = 3
log4j.appender.access_log.layout = org.apache.log4j.PatternLayout
log4j.appender.access_log.layout.ConversionPattern = %d{ISO8601} - %m%n
log4j.logger.ACCESS_LOG = INFO, access_log
log4j.additivity.ACCESS_LOG = false
log4j.logger.org.pytorch.serve = DEBUG, ts_log
log4j.logger.mine = ERROR
"""


def plan_of(path: Path) -> LogPlan:
    plan = read_log_config(path).plan
    assert plan is not None
    return plan


@pytest.mark.parametrize(
    ("name", "text"), [("a.xml", XML), ("log4j2.properties", PROPERTIES), ("log4j.properties", VERSION_1)]
)
def test_the_three_forms_say_the_same(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    plan = plan_of(tmp_path / name)
    assert plan.warnings == ()
    assert {each: route.level for each, route in plan.routes.items()} == {
        "": logging.WARNING, "ACCESS_LOG": logging.INFO, "torchserve": logging.DEBUG, "mine": logging.ERROR,
    }  # fmt: skip
    console, ts_log = plan.route("").appenders
    (access,) = plan.route("ACCESS_LOG").appenders
    assert (console.path, ts_log.path, access.path) == (None, tmp_path / "ts_log.log", tmp_path / "access_log.log")
    assert set(plan.route("torchserve.http.front").appenders) == set(plan.route("mine").appenders) == {console, ts_log}
    assert console.layout(LINE)[19:] == ",046 [WARN ] W-9000 torchserve.core - hello\n"
    assert orjson.loads(ts_log.layout(LINE))["request_id"] == "id-1"
    assert ts_log.rotation is None
    assert access.rotation is not None
    assert (access.rotation.size, access.rotation.keep) == (20 << 20, 3)
    assert access.rotation.daily is (name != "log4j.properties")


def test_lines_go_where_the_file_says(tmp_path: Path, logging_to: Logging, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.xml").write_text(XML)
    with logging_to(plan_of(tmp_path / "a.xml")):
        logging.getLogger("torchserve.core").debug("ours")
        logging.getLogger("mine").warning("not this")
        logging.getLogger("other").info("nor this")
        logging.getLogger("other").warning("but this")
    assert [line.rpartition(" - ")[2] for line in capsys.readouterr().out.splitlines()] == ["ours", "but this"]
    lines = (tmp_path / "ts_log.log").read_text().splitlines()
    assert [orjson.loads(line)["message"] for line in lines] == ["ours", "but this"]


@pytest.mark.parametrize(
    ("inside", "warning"),
    [
        ('<Appenders><Kafka name="k"/></Appenders>', "appender 'k': Kafka is not known here and is left out"),
        ('<Appenders><Console name="c"><MapFilter/></Console></Appenders>', "the filter MapFilter is not known here"),
        ('<Appenders><Console name="c"><QLogLayout/></Console></Appenders>', "layout QLogLayout is not known here"),
        ('<Loggers><Root level="info"><AppenderRef ref="gone"/></Root></Loggers>', "there is no appender 'gone'"),
        (
            '<Loggers><Logger name="org.pytorch.serve.job" level="info"/></Loggers>',
            "there is no such part of the server",
        ),
        ('<Appenders><File name="f" fileName="${sys:dir}/x"/></Appenders>', "${sys:dir} has no value here"),
        (
            '<Appenders><RollingFile name="f" fileName="x"><CronTriggeringPolicy/></RollingFile></Appenders>',
            "CronTriggeringPolicy is not known here",
        ),
    ],
)
def test_what_is_not_known_is_named(tmp_path: Path, inside: str, warning: str) -> None:
    (tmp_path / "a.xml").write_text(f"<Configuration>{inside}</Configuration>")
    assert warning in " ".join(plan_of(tmp_path / "a.xml").warnings)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("all", 10), ("TRACE", 10), ("Debug", 10), ("info", 20), ("warn", 30), ("error", 40), ("fatal", 50), ("OFF", 60),
    ],
)  # fmt: skip
def test_log4js_names_of_levels(name: str, expected: int) -> None:
    text = f'<Configuration><Loggers><Logger name="MODEL_LOG" level="{name}"/></Loggers></Configuration>'
    assert interpret(ElementTree.fromstring(text)).routes["MODEL_LOG"].level == expected


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("%m", "hello"),
        ("%p|%level|%5p|%-6p|", "WARN|WARN| WARN|WARN  |"),
        ("%t %thread %c %logger{36} %.-1c", "W-9000 W-9000 torchserve.core torchserve.core t"),
        ("%X{request_id} %X{requestId} %X{other}", "id-1 id-1 "),
        ("100%% %m%n", "100% hello\n"),
        ("%d{yyyy-MM} %d{SSS}", "2026-11 046"),
        ("", ""),
    ],
)
def test_conversion_patterns(pattern: str, expected: str) -> None:
    assert pattern_layout(pattern)(LINE) == expected


@given(st.text(alphabet="%dmnptcXrex{}-.,5 ay'\\", max_size=20))
def test_any_pattern_is_a_layout(pattern: str) -> None:
    assert isinstance(pattern_layout(pattern)(LINE), str)


@pytest.mark.parametrize(("level", "name"), [(5, "TRACE"), (10, "DEBUG"), (25, "INFO"), (50, "FATAL"), (70, "FATAL")])
def test_levels_between_have_the_name_below(level: int, name: str) -> None:
    assert level_name(level) == name


# ---- dictConfig


@pytest.mark.parametrize("suffix", ["yaml", "yml", "json"])
def test_levels_of_a_dictconfig(tmp_path: Path, logging_to: Logging, suffix: str) -> None:
    path = tmp_path / f"log.{suffix}"
    path.write_text(json.dumps({"loggers": {"torchserve.http": {"level": "ERROR"}}, "root": {"level": "DEBUG"}}))
    with logging_to():
        handlers = logging.getLogger().handlers[:]
        read_log_config(path).apply()
        assert (logging.getLogger("torchserve.http").level, logging.getLogger().level) == (logging.ERROR, logging.DEBUG)
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
        "from torchserve.core.logs.config import read_log_config\n"
        "from torchserve.core.logs.install import open_logs\n"
        "from torchserve.core.logs.plan import default_plan\n"
        "early = logging.getLogger('torchserve.http.front')\n"
        "unnamed = logging.getLogger('torchserve.core.server')\n"
        "logs = open_logs(default_plan(console=False))\n"
        "read_log_config(pathlib.Path(sys.argv[1])).apply()\n"
        "early.warning('still heard')\n"
        "unnamed.warning('this too')\n"
        "logging.getLogger('MODEL_LOG').warning('printed')\n"
        "logs.close()\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "log.json")], check=True, timeout=60)
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
        ("a.xml", BOMB.encode(), "document types and entities are not accepted"),
        ("a.xml", BOMB.encode("utf-16"), "document types and entities are not accepted"),
        ("log4j2.properties", b"a = b", "it configures no logger"),
        ("log4j.properties", b"log4j.rootLogger = \\u12", "Invalid|escape"),
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
        read_log_config(path).apply()
    assert caught.value.message.startswith(f"Invalid configuration: --log-config {path}: ")


@pytest.mark.parametrize("pattern", [PLAIN_PATTERN, TS_PATTERN])
@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO, logging.WARNING, 35, 60])
def test_the_short_way_to_a_line_is_the_same_line(pattern: str, level: int) -> None:
    layout = pattern_layout(pattern)
    middle = between(layout, level, "main", "ACCESS_LOG")
    whole = layout(Line(1_764_100_000.046, level, "main", "ACCESS_LOG", "text"))
    assert f"{timestamp(1_764_100_000.046)}{middle}text\n" == whole


@pytest.mark.parametrize("layout", [json_layout, pattern_layout("%m%n")])
def test_other_layouts_have_no_short_way(layout: Callable[[Line], str]) -> None:
    assert between(layout, logging.INFO, "main", "ACCESS_LOG") is None
