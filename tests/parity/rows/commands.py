"""The command line's messages and exit codes, and how settings are found (1.1, 2.1-2.4)."""

from __future__ import annotations

from ..steps import Command, Files, Row, Setup, Touch
from .brief import ask, core, manage, ready, say, standard

# Of a failed start TorchServe prints a Java trace: what counts is the line that says what is wrong.
_WRONG = "^(?!\\s).*(Invalid|For input|Failed to bind|not found|[Mm]issing|already|running|stopped|Version)"


def _run(*arguments: str, keep: str = _WRONG, env: tuple[tuple[str, str], ...] = ()) -> Command:
    return Command(arguments, keep=keep, env=env)


def _start(*arguments: str, env: tuple[tuple[str, str], ...] = ()) -> Command:
    return _run("--start", "--ncs", "--model-store", "store", *arguments, env=env)


_DESCRIBED = manage("GET", "/models/echo")

ALONE: tuple[Row, ...] = (
    core("--version", "1.1", _run("--version")),
    core("-v", "1.1", _run("-v")),
    core("--stop with nothing running", "1.1", _run("--stop")),
    core("--start without a model store", "1.1", _run("--start", "--ts-config", "bare.properties")),
    core("--start with a bad model store", "1.1", _run("--start", "--model-store", "nowhere", "--ncs")),
    core("--start with a bad config", "1.1", _start("--ts-config", "nowhere.properties")),
    core("--start with a bad log config", "1.1", _start("--log-config", "nowhere.xml")),
    core("--start with a bad TEMP", "1.1", _start(env=(("TEMP", "{home}/nowhere"), ("TMPDIR", "{home}/nowhere")))),
    core("--start and --stop together", "1.1", _run("--start", "--stop", keep="(?!)")),
    core("an unknown flag", "1.1", _run("--nonsense", keep="(?!)")),
    core("an orphan pid file", "1.1", Touch("tmp/.model_server.pid", "99999999"), _run("--stop"),
         Files("tmp/.model_server.pid")),
)  # fmt: skip


def _refused(name: str, *arguments: str) -> Setup:
    """A start that is refused at once; in a folder of its own, since it would run where it is not refused."""
    return Setup(
        name.strip("-").replace(" ", "-").replace("+", "p"), (standard(name, "1.1", _start(*arguments)),), start=False
    )


def _failing(name: str, properties: str) -> Setup:
    """A start that fails, in a folder of its own: TorchServe leaves its pid file behind."""
    row = core(
        name,
        "1.1",
        _run("--start", "--foreground", "--ncs", "--model-store", "store", "--ts-config", "config.properties"),
    )
    return Setup(name.replace(" ", "-"), (row,), start=False, properties=properties)


RUNNING: tuple[Row, ...] = (
    core("--start while running", "1.1", _start("--ts-config", "config.properties")),
    core(
        "a plain start while running",
        "1.1",
        _run("--ncs", "--model-store", "store", "--ts-config", "config.properties"),
    ),
    core("the pid file", "1.1", Files("tmp/.model_server.pid")),
    core("values from $$VAR$$", "2.2", _DESCRIBED),
    core("--stop while running", "1.1", _run("--stop", "--foreground"), Files("tmp/.model_server.pid")),
)

FILE: tuple[Row, ...] = (
    core("properties: number of workers, queue and time-outs", "2.4", _DESCRIBED),
    core("properties: continued lines, other separators, escapes", "2.4", ask("/ping", method="GET")),
)
ENV: tuple[Row, ...] = (core("TS_ variables", "2.3", _DESCRIBED),)
UNREAD: tuple[Row, ...] = (core("TS_ variables without enable_envvars_config", "2.3", _DESCRIBED),)
_MODELS = (
    'models={"echo": {"1.0": {"defaultVersion": true, "marName": "echo.mar", "minWorkers": 1, "maxWorkers": 2, '
    '"batchSize": 4, "maxBatchDelay": 33, "responseTimeout": 21, "startupTimeout": 22}}}\n'
)
CONFIGURED: tuple[Row, ...] = (
    core("models={…}: loaded at start", "2.5", _DESCRIBED),
    core("models={…}: registered by REST", "2.5", manage("DELETE", "/models/echo"),
         manage("POST", "/models?url=echo.mar&batch_size=2"), _DESCRIBED),
)  # fmt: skip
ALL: tuple[Row, ...] = (core("load_models=all", "2.4", manage("GET", "/models")),)
NAMED: tuple[Row, ...] = (
    core("load_models with names", "2.4", manage("GET", "/models"), manage("GET", "/models/mine")),
    core("a blacklisted variable", "2.4", say("env SECRET_OF_MINE", "mine"), say("env OPEN_OF_MINE", "mine")),
)
_NUMBERS = "default_workers_per_model=1\njob_queue_size=7\ndefault_response_timeout=31\ndefault_startup_timeout=32\n"

SETUPS = (
    Setup("alone", ALONE, start=False, files=(("bare.properties", ""),)),
    _refused("--start with a bad workflow store", "--workflow-store", "nowhere"),
    _refused("--start with a bad C++ log config", "--cpp-log-config", "nowhere.yaml"),
    _failing("a bad address", "inference_address=foo\n"),
    _failing("a bad number", "number_of_gpu=abc\n"),
    _failing("a missing variable", "default_response_timeout=$$NO_SUCH_VARIABLE$$\n"),
    Setup("running", RUNNING, models=("echo.mar",), before=ready("echo"), env=(("MY_TIMEOUT", "77"),),
          properties="default_response_timeout=$$MY_TIMEOUT$$\ndefault_workers_per_model=1\n"),
    Setup("file", FILE, models=("echo.mar",), before=ready("echo"),
          properties="! a comment\njob_queue_size : 7\ndefault_response_timeout 31\n"
          "default_startup_timeout=3\\\n  2\ndefault_workers_per_mod\\u0065l=1\n"),
    Setup("env", ENV, models=("echo.mar",), before=ready("echo"), properties=_NUMBERS + "enable_envvars_config=true\n",
          env=(("TS_JOB_QUEUE_SIZE", "9"), ("TS_DEFAULT_RESPONSE_TIMEOUT", "41"))),
    Setup("unread", UNREAD, models=("echo.mar",), before=ready("echo"), properties=_NUMBERS,
          env=(("TS_JOB_QUEUE_SIZE", "9"),)),
    Setup("configured", CONFIGURED, models=("echo.mar",), before=ready("echo"), properties=_MODELS),
    Setup("all", ALL, archives=("echo.mar", "other.mar", "packed.tar.gz", "folder"),
          properties="load_models=all\ndefault_workers_per_model=1\n"),
    Setup("named", NAMED, archives=("probe.mar",), before=ready("mine"),
          properties="load_models=mine=probe.mar\nblacklist_env_vars=SECRET.*\n",
          env=(("SECRET_OF_MINE", "s"), ("OPEN_OF_MINE", "o"))),
)  # fmt: skip
