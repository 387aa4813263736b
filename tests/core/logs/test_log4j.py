"""log4j2 configurations in the wild: what works, what is named in a warning, and that nothing refuses the start."""

from __future__ import annotations

import json
import logging
import os
import tempfile
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

from torchserve.core.logs.config import read_log_config
from torchserve.core.logs.files import LogFile
from torchserve.core.logs.line import Line
from torchserve.core.logs.log4j import interpret
from torchserve.core.logs.plan import LogPlan
from torchserve.core.logs.rotation import Rotation
from torchserve.core.logs.writer import LogWriter

DEBUG, INFO, WARN, ERROR = logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR
NOON = time.mktime((2020, 11, 23, 12, 0, 0, 0, 0, -1))


def plan_of(inside: str, environment: dict[str, str] | None = None) -> LogPlan:
    return interpret(ElementTree.fromstring(f"<Configuration>{inside}</Configuration>"), environment or {})


def written(plan: LogPlan, *lines: tuple[str, int, str]) -> None:
    """Write lines, each of a logger with a level, as the server would."""
    writer = LogWriter(plan)
    for logger, level, text in lines:
        if level >= plan.route(logger).level:
            writer.put(logger, Line(NOON, level, "main", logger, text))
    writer.close()


# ---- lookups


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${env:A:-${env:B:-logs}}", "logs"), ("${env:A:-${env:SET}}", "here"), ("${env:SET:-logs}/x", "here/x"),
        ("${env:EMPTY:-logs}", ""), ("${sys:user.dir}", os.getcwd()), ("${sys:java.io.tmpdir}", tempfile.gettempdir()),
        ("${dir}/${name}", "here/ts"), ("${both}", "here-ts"), ("$${name}", "ts"), ("${lower:ABC}${upper:d}", "abcD"),
        ("${base64:bG9ncw==}", "logs"), ("${which:-${env:SET}}", "here"), ("${${key}}", "ts"), ("${open", "${open"),
        ("${env:A:-a:-b}", "a:-b"), ("plain $5", "plain $5"), ("${hostName:-x}", os.uname().nodename),
    ],
)  # fmt: skip
def test_lookups(text: str, value: str) -> None:
    properties = (
        '<Properties><Property name="both">${dir}-${name}</Property><Property name="dir">${env:SET}</Property>'
        '<Property name="name" value="ts"/><Property name="key" value="name"/></Properties>'
    )
    plan = plan_of(
        f'{properties}<Appenders><File name="f" fileName="/x{text}"/></Appenders>'
        '<Loggers><Root><AppenderRef ref="f"/></Root></Loggers>',
        {"SET": "here", "EMPTY": ""},
    )
    (appender,) = plan.appenders()
    assert (appender.path, plan.warnings) == (Path(f"/x{value}"), ())


def test_a_date_is_looked_up_at_the_start_and_in_file_patterns_when_a_file_is_put_aside() -> None:
    plan = plan_of(
        '<Appenders><RollingFile name="f" fileName="/logs/${date:yyyy}.log" filePattern="/logs/$${date:yyyy-MM}/x-%i.log">'
        '<SizeBasedTriggeringPolicy size="1 KB"/></RollingFile></Appenders>'
        '<Loggers><Root><AppenderRef ref="f"/></Root></Loggers>'
    )
    (appender,) = plan.appenders()
    assert appender.path == Path(f"/logs/{time.localtime().tm_year}.log")
    assert appender.rotation is not None
    assert appender.rotation.name(NOON, 2) == Path("/logs/2020-11/x-2.log")


@pytest.mark.parametrize("text", ["${a}", "${sys:log.dir}", "${ctx:user}", "${java:version}"])
def test_what_has_no_value_is_named(text: str) -> None:
    (warning,) = plan_of(f'<Appenders><File name="f" fileName="x{text}"/></Appenders>').warnings
    assert f"{text} has no value here" in warning


def test_properties_that_name_themselves_end() -> None:
    plan = plan_of(
        '<Properties><Property name="a">x${a}</Property></Properties><Appenders><File name="f" fileName="${a}"/></Appenders>'
    )
    assert any("names itself" in warning for warning in plan.warnings)
    doubling = "".join(f'<Property name="p{n}">${{p{n + 1}}}${{p{n + 1}}}</Property>' for n in range(15))
    with pytest.raises(ValueError, match="more than 65536 characters"):
        plan_of(
            f'<Properties>{doubling}<Property name="p15">{"x" * 100}</Property></Properties>'
            '<Appenders><File name="f" fileName="${p0}"/></Appenders>'
        )


# ---- loggers


LOGGERS = """
<Appenders>
  <File name="root" fileName="{0}/root"><PatternLayout pattern="%m%n"/></File>
  <File name="a" fileName="{0}/a"><PatternLayout pattern="%m%n"/></File>
  <File name="b" fileName="{0}/b"><PatternLayout pattern="%m%n"/></File>
  <Async name="later"><AppenderRef ref="b"/></Async>
</Appenders>
<Loggers>
  <Logger name="x.y" additivity="false"><AppenderRef ref="later"/></Logger>
  <Logger name="x" level="debug"><AppenderRef ref="a" level="warn"/></Logger>
  <Logger name="x.y.z" level="error"/>
  <Root level="info"><AppenderRef ref="root"/></Root>
</Loggers>
"""


def test_loggers_inherit_levels_and_appenders_as_log4js_do(tmp_path: Path) -> None:
    plan = plan_of(LOGGERS.format(tmp_path))
    assert plan.warnings == ()
    assert {name: route.level for name, route in plan.routes.items()} == {
        "": INFO, "x": DEBUG, "x.y": DEBUG, "x.y.z": ERROR,
    }  # fmt: skip
    written(
        plan,
        ("other", DEBUG, "no"), ("other", INFO, "other"), ("x", DEBUG, "x debug"), ("x", WARN, "x warn"),
        ("x.w", DEBUG, "x.w debug"), ("x.y", DEBUG, "x.y debug"), ("x.y.v", WARN, "x.y.v"), ("x.y.z", WARN, "no"),
        ("x.y.z", ERROR, "x.y.z"),
    )  # fmt: skip
    assert (tmp_path / "root").read_text().splitlines() == ["other", "x debug", "x warn", "x.w debug"]
    assert (tmp_path / "a").read_text().splitlines() == ["x warn"], "its reference has a level"
    assert (tmp_path / "b").read_text().splitlines() == ["x.y debug", "x.y.v", "x.y.z"], "not to x and the root"


@pytest.mark.parametrize(
    ("name", "ours"),
    [("org.pytorch.serve", "torchserve"), ("org.pytorch.serve.http", "torchserve.http"),
     ("org.pytorch.serve.wlm", "torchserve.core.workers"), ("ACCESS_LOG", "ACCESS_LOG")],
)  # fmt: skip
def test_torchserves_loggers_are_ours(name: str, ours: str) -> None:
    assert plan_of(f'<Loggers><Logger name="{name}" level="error"/></Loggers>').routes[ours].level == ERROR


def test_two_references_to_one_file_write_a_line_once(tmp_path: Path) -> None:
    plan = plan_of(
        f'<Appenders><File name="f" fileName="{tmp_path}/f"><PatternLayout pattern="%m%n"/></File></Appenders><Loggers>'
        '<Logger name="x" level="info"><AppenderRef ref="f" level="error"/></Logger>'
        '<Root level="info"><AppenderRef ref="f" level="warn"/></Root></Loggers>'
    )
    written(plan, ("x", INFO, "info"), ("x", WARN, "warn"), ("x", ERROR, "error"))
    assert (tmp_path / "f").read_text() == "warn\nerror\n"


def test_two_appenders_of_one_file_share_it(tmp_path: Path) -> None:
    plan = plan_of(
        f'<Appenders><File name="f" fileName="{tmp_path}/f"><PatternLayout pattern="1 %m%n"/></File>'
        f'<File name="g" fileName="{tmp_path}/f"><PatternLayout pattern="2 %m%n"/></File></Appenders><Loggers>'
        '<Root level="info"><AppenderRef ref="f"/><AppenderRef ref="g"/></Root></Loggers>'
    )
    assert len(plan.appenders()) == 1
    written(plan, ("x", INFO, "a"))
    assert sorted((tmp_path / "f").read_text().splitlines()) == ["1 a", "2 a"]


# ---- filters


@pytest.mark.parametrize(
    ("filters", "taken"),
    [
        ('<ThresholdFilter level="warn"/>', "WE"),
        ('<ThresholdFilter level="warn" onMatch="DENY" onMismatch="NEUTRAL"/>', "DI"),
        ('<LevelRangeFilter minLevel="warn" maxLevel="info"/>', "IW"),
        ('<LevelMatchFilter level="info"/>', "I"),
        ('<LevelMatchFilter level="info" onMatch="DENY" onMismatch="ACCEPT"/>', "DWE"),
        ('<StringMatchFilter text="W"/>', "W"),
        ('<RegexFilter regex="[DE]"/>', "DE"),
        ("<DenyAllFilter/>", ""),
        ('<BurstFilter level="info" rate="1" maxBurst="1"/>', "DWE"),
        ('<Filters><LevelMatchFilter level="info" onMatch="ACCEPT" onMismatch="NEUTRAL"/>'
         '<ThresholdFilter level="error"/></Filters>', "IE"),
        ('<Filter type="ThresholdFilter" level="error"/>', "E"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("where", ["appender", "reference", "logger", "configuration"])
def test_filters_wherever_they_stand(tmp_path: Path, filters: str, taken: str, where: str) -> None:
    def put(place: str) -> str:
        return filters if place == where else ""

    plan = plan_of(
        f'{put("configuration")}<Appenders><File name="f" fileName="{tmp_path}/f">{put("appender")}'
        f'<PatternLayout pattern="%m"/></File></Appenders><Loggers><Root level="all">{put("logger")}'
        f'<AppenderRef ref="f">{put("reference")}</AppenderRef></Root></Loggers>'
    )
    assert plan.warnings == ()
    written(plan, ("x", DEBUG, "D"), ("x", INFO, "I"), ("x", WARN, "W"), ("x", ERROR, "E"))
    assert (tmp_path / "f").read_text() == taken


# ---- what is not known


@pytest.mark.parametrize(
    ("inside", "warning"),
    [
        ("<Scripts/>", "Scripts is not known here"),
        ('<Loggers><Root level="loud"/></Loggers>', "'loud' is no log4j2 level"),
        ('<Appenders><File name="f"/></Appenders>', "the appender 'f' has no fileName and is left out"),
        ('<Appenders><Socket name="s"/></Appenders>', "appender 's': Socket is not known here"),
        ('<Appenders><File name="f" fileName="x" append="false"/></Appenders>', "append=false is not known here"),
        ('<Appenders><File name="f" fileName="x" filePermissions="rw"/></Appenders>', "filePermissions is not known"),
        ('<Appenders><Console name="c"><PatternLayout charset="UTF-16"/></Console></Appenders>', "logs are UTF-8 here"),
        ('<Appenders><Console name="c"><PatternLayout header="h"/></Console></Appenders>', "header is not known here"),
        ('<Appenders><Console name="c"><JsonTemplateLayout eventTemplateUri="u"/></Console></Appenders>',
         "eventTemplateUri is not known here"),
        ('<Appenders><Console name="c"><PatternLayout><MarkerPatternSelector/></PatternLayout></Console></Appenders>',
         "MarkerPatternSelector of PatternLayout is not known"),
        ('<Appenders><RollingFile name="f" fileName="x"><SizeBasedTriggeringPolicy size="big"/></RollingFile></Appenders>',
         "'big' is no size"),
        ('<Appenders><RollingFile name="f" fileName="x" filePattern="x.%i.zip"/></Appenders>', "put aside as .gz here"),
        ('<Appenders><RollingFile name="f" filePattern="x-%d{yyyy}.log"/></Appenders>', "there is no direct write here"),
        ('<Appenders><RollingFile name="f" fileName="x"><SizeBasedTriggeringPolicy/><DefaultRolloverStrategy max="3">'
         "<Delete/></DefaultRolloverStrategy></RollingFile></Appenders>", "Delete of DefaultRolloverStrategy is not"),
        ('<Appenders><Rewrite name="r"><AppenderRef ref="r2"/></Rewrite></Appenders>', "policies are not known here"),
        ('<Loggers><Root><AppenderRef ref="gone"/></Root></Loggers>', "there is no appender 'gone'"),
        ('<Loggers><Sink/></Loggers>', "Sink among the loggers is not known"),
    ],
)  # fmt: skip
def test_what_is_not_known_is_named_and_refuses_nothing(inside: str, warning: str) -> None:
    assert warning in " ".join(plan_of(inside).warnings)


@pytest.mark.parametrize(
    ("attribute", "warned"), [("status", False), ("shutdownHook", False), ("monitorInterval", True)]
)
def test_attributes_of_the_configuration(attribute: str, warned: bool) -> None:
    plan = interpret(ElementTree.fromstring(f'<Configuration {attribute}="30"/>'), {})
    assert [attribute in warning for warning in plan.warnings] == [True] * warned


def test_levels_of_ones_own() -> None:
    levels = '<CustomLevels><CustomLevel name="NOTICE" intLevel="350"/></CustomLevels>'
    assert plan_of(f'{levels}<Loggers><Root level="notice"/></Loggers>').routes[""].level == 25


# ---- the other forms

OTHER_FORMS = {
    "log4j2.json": json.dumps({"configuration": {
        "appenders": {"File": [{"name": "f", "fileName": "${env:LOG_LOCATION}/f", "PatternLayout": {"pattern": "%p %m%n"},
                                "ThresholdFilter": {"level": "warn"}}]},
        "loggers": {"logger": [{"name": "x", "level": "debug"}], "root": {"level": "info", "AppenderRef": {"ref": "f"}}},
    }}),
    "log4j2.yaml": (
        "Configuration:\n  Appenders:\n    File:\n      name: f\n      fileName: ${env:LOG_LOCATION}/f\n      PatternLayout:\n"
        "        Pattern: '%p %m%n'\n      ThresholdFilter: {level: warn}\n  Loggers:\n    Logger: {name: x, level: debug}\n"
        "    Root:\n      level: info\n      AppenderRef:\n        - ref: f\n"
    ),
    "log4j2.properties": (
        "status=warn\nappender.f.type=File\nappender.f.name=f\nappender.f.fileName=${env:LOG_LOCATION}/f\n"
        "appender.f.layout.type=PatternLayout\nappender.f.layout.pattern=%p %m%n\nappender.f.filter.t.type=ThresholdFilter\n"
        "appender.f.filter.t.level=warn\nlogger.x.name=x\nlogger.x.level=debug\nrootLogger.level=info\n"
        "rootLogger.appenderRef.f.ref=f\n"
    ),
    "strict.xml": (
        '<Configuration strict="true"><Appenders><Appender type="File" name="f" fileName="${env:LOG_LOCATION}/f">'
        '<Layout type="PatternLayout"><Pattern>%p %m%n</Pattern></Layout><Filters><Filter type="ThresholdFilter" level="warn"/>'
        '</Filters></Appender></Appenders><Loggers><Logger name="x" level="debug"/><Root level="info">'
        '<AppenderRef ref="f"/></Root></Loggers></Configuration>'
    ),
    "log4j.properties": (
        "log4j.rootLogger=INFO, f\nlog4j.appender.f=org.apache.log4j.FileAppender\n"
        "log4j.appender.f.File=${env:LOG_LOCATION}/f\nlog4j.appender.f.Threshold=WARN\n"
        "log4j.appender.f.layout=org.apache.log4j.PatternLayout\nlog4j.appender.f.layout.ConversionPattern=%p %m%n\n"
        "log4j.logger.x=DEBUG\n"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHER_FORMS)
def test_each_form_says_the_same(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(OTHER_FORMS[name])
    plan = read_log_config(path).plan
    assert plan is not None
    assert plan.warnings == ()
    assert (plan.routes[""].level, plan.routes["x"].level) == (INFO, DEBUG)
    written(plan, ("x", DEBUG, "no"), ("x", WARN, "yes"))
    assert (tmp_path / "f").read_text() == "WARN yes\n"


# ---- when files are put aside


@pytest.mark.parametrize(
    ("pattern", "every", "seconds", "due"),
    [
        ("x.%d{yyyy-MM-dd-HH}", 1, 3600, True), ("x.%d{yyyy-MM-dd-HH}", 1, 60, False),
        ("x.%d{yyyy-MM-dd-HH}", 24, 3600, False), ("x.%d{yyyy-MM-dd-HH-mm}", 1, 60, True),
        ("x.%d{yyyy-MM}", 1, 86400, False), ("x.%d{yyyy-MM}", 1, 30 * 86400, True), ("x.%d{yyyy}", 1, 30 * 86400, False),
        ("x.%d{yyyy}", 1, 100 * 86400, True), ("x.%d", 1, 86400, True), ("x.%i", 1, 86400, True),
    ],
)  # fmt: skip
def test_the_date_of_the_pattern_says_how_often(pattern: str, every: int, seconds: int, due: bool) -> None:
    assert Rotation(pattern, size=None, every=every).due(1, NOON, NOON + seconds) is due


def test_a_start_puts_the_file_aside_where_that_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("old\n")
    file = LogFile(path, Rotation(f"{tmp_path}/f.%i", size=None, daily=False, at_start=True))
    file.create()
    file.write(["new\n"], NOON)
    file.close()
    assert (path.read_text(), (tmp_path / "f.1").read_text()) == ("new\n", "old\n")
