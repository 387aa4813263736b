"""`torchserve models`: a real server managed from the command line, and what is said when something is wrong."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from torchserve.cli.main import main

from ..e2e.conftest import Serve, serve, store
from ..e2e.handlers import ECHO
from ..e2e.live import eventually, make_model
from .answering import answering

__all__ = ["serve", "store"]
pytestmark = pytest.mark.usefixtures("temp")
VARIABLES = ("TS_MANAGEMENT_ADDRESS", "TS_METRICS_ADDRESS", "TS_TOKEN", "TS_CONFIG_FILE")


def run(*words: str, **variables: str) -> Result:
    return CliRunner().invoke(main, words, env={name: variables.get(name) for name in VARIABLES})


def said(*words: str, **variables: str) -> str:
    """What a command that succeeds prints."""
    done = run(*words, **variables)
    assert done.exit_code == 0, done.output
    return done.stdout


def refused(*words: str, code: int = 1, **variables: str) -> str:
    """The one line of a command that fails."""
    done = run(*words, **variables)
    assert (done.exit_code, done.stdout) == (code, ""), done.output
    *_, last = done.stderr.splitlines()
    assert code == 2 or done.stderr.count("\n") == 1
    return last


@pytest.fixture
def own_temp(temp: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The temp folder that a LiveServer of this test has: its pid file is the one that the commands look at."""
    (tmp_path / "tmp").mkdir(exist_ok=True)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", None)


# ---- with a real server


@pytest.mark.usefixtures("own_temp")
def test_a_models_life(serve: Serve, store: Path) -> None:
    make_model(store, "cats", ECHO)
    make_model(store, "dogs", ECHO)
    make_model(store, "dogs2", ECHO, version="2.0")
    server = serve("cats")
    server.ready("cats")
    assert said("models", "register", "dogs", "--workers", "1", "--batch-size", "4") == (
        'Model "dogs" Version: 1.0 registered with 1 initial workers\n'
    )
    assert said("models", "list").splitlines() == [
        "MODEL  VERSION  WORKERS  BATCH  WAITING  URL",
        "cats       1.0      1/1      1        0  cats",
        "dogs       1.0      1/1      4        0  dogs",
    ]
    said("models", "register", "dogs2", "--name", "dogs", "--no-wait")
    eventually(lambda: server.manage("GET", "/models/dogs/2.0").status == 200)
    assert said("models", "scale", "dogs", "2", "--max", "3", "--json") == (
        '{\n  "status": "Workers scaled to 2 for model: dogs"\n}\n'
    )
    assert said("models", "set-default", "dogs", "2.0").startswith("Default version successfully updated")
    assert "dogs       2.0 " in said("models", "list")
    shown = said("models", "describe", "dogs", "--all")
    assert shown.startswith("dogs 1.0\nOPTION")
    assert "\ndogs 2.0\n" in shown
    assert "workers                  2/2-3" in shown
    server.ready("dogs")  # the second version's, which are those of the default now
    said("models", "traffic", "dogs", "1.0=25", "2.0=75", "--sticky", "x-user")
    assert "2.0       75" in said("models", "traffic", "dogs")
    said("models", "traffic", "dogs", "--off")
    described, now = (
        json.loads(said("models", "describe", "dogs", "--json")),
        server.manage("GET", "/models/dogs").json,
    )
    for worker in (*described[0]["workers"], *now[0]["workers"]):
        assert worker.pop("memoryUsage") > 0
    assert described == now
    assert said("models", "rm", "dogs", "--version", "1.0") == 'Model "dogs" unregistered\n'
    assert json.loads(said("models", "list", "--json")) == server.manage("GET", "/models").json
    assert refused("models", "describe", "birds") == "Error: Model not found: birds"
    assert refused("models", "rm", "birds") == "Error: Model not found: birds"
    assert refused("models", "register", "birds.mar") == "Error: Model not found at: birds.mar"
    assert refused("models", "register", "cats") == "Error: Model version 1.0 is already registered for model cats"
    server.stop()
    assert "No server answers at" in refused("models", "list")
    assert os.listdir(server.temp) == [], "where it was is forgotten with it"


@pytest.mark.usefixtures("own_temp")
def test_the_key_comes_from_the_key_file_of_the_server(serve: Serve, store: Path, tmp_path: Path) -> None:
    make_model(store, "cats", ECHO)
    server = serve("cats", properties="disable_token_authorization=false")
    assert "cats" in said("models", "list")
    key = json.loads((tmp_path / "key_file.json").read_bytes())["management"]["key"]
    url = f"http://127.0.0.1:{server.ports['Management']}"
    wanting = refused("models", "list", "--management", url)
    assert wanting == (
        "Error: Token Authorization failed. Token either incorrect, expired, or not provided correctly"
        " (give the management key: --token, TS_TOKEN)"
    ), "a key is not sent where the server's own word has not said it belongs"
    assert "cats" in said("models", "list", "--management", url, "--token", key)
    assert "cats" in said("models", "list", TS_MANAGEMENT_ADDRESS=url, TS_TOKEN=key)
    assert "the key that was sent is not good" in refused("models", "list", "--token", "wrong")
    (tmp_path / "key_file.json").unlink()
    assert "give the management key" in refused("models", "list")


@pytest.mark.usefixtures("own_temp")
@pytest.mark.parametrize("address", ["unix:{here}/sock", "https://127.0.0.1:0"])
def test_unix_sockets_and_tls(serve: Serve, store: Path, tmp_path: Path, address: str) -> None:
    make_model(store, "cats", ECHO)
    serve("cats", properties=f"management_address={address.format(here=tmp_path)}")
    assert "cats" in said("models", "list")
    if address.startswith("unix"):
        assert "cats" in said("models", "list", "--management", f"unix:{tmp_path}/sock")


# ---- with canned answers

ENTRY = {
    "modelName": "a b/c", "modelVersion": "1", "modelUrl": "u", "minWorkers": 1, "maxWorkers": 1, "batchSize": 1,
    "workers": [{"id": "9000", "status": "UNLOADING", "pid": -1, "memoryUsage": 0, "lastError": "line\nand \x1b[31m"}],
    "jobQueueStatus": {"remainingCapacity": 1, "pendingRequests": 7},
}  # fmt: skip


def test_what_the_handlers_chose_is_shown_once() -> None:
    workers = [
        {**ENTRY["workers"][0], "notes": {"preprocessing": note}} for note in ("fused: x", "fused: x", "as written")
    ]
    with answering({"GET /models/m": (200, [{**ENTRY, "workers": workers}])}) as server:
        shown = said("models", "describe", "m", "--management", server.url)
    assert [line.split(maxsplit=1)[1].strip() for line in shown.splitlines() if line.strip().startswith("preproc")] == [
        "fused: x", "as written",
    ]  # fmt: skip


def test_all_pages_are_walked_and_a_model_that_goes_meanwhile_is_left_out() -> None:
    first = {"nextPageToken": "100", "models": [{"modelName": "a b/c", "modelUrl": "u"}]}
    last = {"models": [{"modelName": "gone", "modelUrl": "u"}]}
    answers = {
        "GET /models?limit=100": (200, first),
        "GET /models?limit=100&next_page_token=100": (200, last),
        "GET /models/a%20b%2Fc": (200, [ENTRY]),
    }
    with answering(answers) as server:
        listed = said("models", "list", "--management", server.url)
        assert json.loads(said("models", "list", "--json", "--management", server.url)) == {
            "models": first["models"] + last["models"]
        }
        described = said("models", "describe", "a b/c", "--management", server.url)
    assert listed.splitlines()[1:] == ["a b/c        1      0/1      1        7  u"]
    assert described.splitlines()[-1].split("failing")[1].strip().endswith("line and  [31m"), "no escape comes through"


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (("register", "http://h/a.mar?x=1&y"), "POST /models?url=http%3A%2F%2Fh%2Fa.mar%3Fx%3D1%26y&synchronous=true"),
        (
            "register a --name n --workers 0 --batch-size 2 --max-batch-delay 3 --response-timeout 4"
            " --startup-timeout 5 --handler h --runtime LSP --s3-sse-kms --no-wait".split(),
            "POST /models?url=a&model_name=n&initial_workers=0&synchronous=false&batch_size=2&max_batch_delay=3"
            "&response_timeout=4&startup_timeout=5&handler=h&runtime=LSP&s3_sse_kms=true",
        ),
        ("scale a 1".split(), "PUT /models/a?min_worker=1&synchronous=true"),
        ("scale a 1 --max 2 --version 1/0".split(), "PUT /models/a/1%2F0?min_worker=1&max_worker=2&synchronous=true"),
        ("rm a --version 1".split(), "DELETE /models/a/1"),
        ("set-default a 1".split(), "PUT /models/a/1/set-default"),
        ("purge a --version 1".split(), "DELETE /models/a/1/cache"),
        ("traffic a --off".split(), "DELETE /models/a/traffic"),
        ("traffic a 1=90 b=10 --sticky x-u".split(), "PUT /models/a/traffic?sticky=x-u&1=90&b=10"),
        (
            "traffic a --rollout 2 --step 5 --every 1.5 --max-error-rate 0.1 --max-p99-ratio 2 --min-requests 7".split(),
            "PUT /models/a/traffic?rollout=2&step=5&every=1.5&max_error_rate=0.1&max_p99_ratio=2.0&min_requests=7",
        ),
    ],
)  # fmt: skip
def test_what_is_asked(words: list[str], asked: str) -> None:
    with answering({asked: (200, {"status": "Done"})}) as server:
        assert said("models", *words, "--management", server.url, "--token", "k") == "Done\n"
        assert server.asked == [(asked, "Bearer k")]


@pytest.mark.parametrize(
    ("status", "body", "line"),
    [
        (400, {"code": 400, "type": "T", "message": "two\nlines"}, "Error: two lines"),
        (
            403,
            {"code": 403, "type": "T", "message": "Model version: 1 is default"},
            "Error: Model version: 1 is default",
        ),
        (502, "<html>", "Error: {url} answered 502 Bad Gateway"),
        (302, "", "Error: {url} answered 302 Found"),
        (200, "<html>", "Error: {url} is no management API: it answers no JSON"),
    ],
)
def test_what_is_refused(status: int, body: Any, line: str) -> None:
    with answering({"DELETE /models/a": (status, body)}) as server:
        assert refused("models", "rm", "a", "--management", server.url) == line.format(url=server.url)
        assert len(server.asked) == 1, "what changes something is never sent twice"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("list --management ftp://h", "Error: Invalid binding address: ftp://h"),
        ("list --management unix:/nowhere", "Error: No server answers at unix:/nowhere (--management): start one with"),
        ("list --management http://127.0.0.1:1", "Error: No server answers at http://127.0.0.1:1 (--management)"),
    ],
)
def test_no_server_is_there(words: str, line: str) -> None:
    assert refused("models", *words.split()).startswith(line)


def test_where_it_is_looked_for(tmp_path: Path) -> None:
    with answering({"GET /models?limit=100": (200, {"models": []})}) as server:
        (tmp_path / "config.properties").write_text(f"management_address={server.url}\n")
        assert run("models", "list").stderr.startswith("No models: register one")
    assert refused("models", "list") == (
        f"Error: No server answers at {server.url} (config.properties): start one with `torchserve --start`,"
        " or name its address with --management."
    )
    assert "(TS_MANAGEMENT_ADDRESS)" in refused("models", "list", TS_MANAGEMENT_ADDRESS="http://127.0.0.1:1")


@pytest.mark.parametrize("words", ["scale a 3 --max 2", "describe a --all --version 1", "scale a -1", "rm", "nonsense"])
def test_what_is_no_command(words: str) -> None:
    assert "Error" in refused("models", *words.split(), code=2)
