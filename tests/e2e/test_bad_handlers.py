"""Whatever a model's author gets wrong: the author is told, that request fails, and nobody else notices."""

from __future__ import annotations

import gzip
import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import CliRunner

from torchserve.cli.main import main

from .handlers import ECHO
from .live import Answer, LiveServer, eventually, gone, make_model

ONCE = "minWorkers: 1\nmaxWorkers: 1\nmaxRetryTimeoutInSec: 1\n"

# Does what each request's text says, and returns what it gives, or goes on as if nothing had been.
RASCAL = """
import ctypes, os, signal, subprocess, sys, threading, time

def tensor(): import torch; return [torch.arange(3)]
def recurse(): return recurse()
def stay(): threading.Thread(target=time.sleep, args=(600,)).start()
def fork_and_return(): os.fork()
def fork_and_stay():
    if os.fork() == 0:
        time.sleep(600)
    os._exit(3)
def fork_and_raise():
    if os.fork() == 0:
        raise ValueError("in the child")
def deaf():
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_IGN)
def mute():
    if not sys.stdout.closed:
        sys.stdout.close(); sys.stderr.close(); os.close(1); os.close(2)
def noise():
    for _ in range(100):
        os.write(1, b"x" * 50_000); os.write(2, b"\\xff" * 50_000)
def greedy(): return [bytearray(1 << 62)]
def out_of_cuda():
    import torch
    raise torch.OutOfMemoryError("Tried to allocate 20.00 GiB")
def leave_children(): subprocess.Popen(["sleep", "600"])
def fields(): return [{1: float("nan"), "deep": [None, True, (1, 2)]}]

def handle(data, context):
    if data is None:
        return None
    texts = [(row.get("body") or b"") for row in data]
    texts = [text if isinstance(text, str) else bytes(text).decode() for text in texts]
    names = {"context": context, "data": data}
    pids = [f"{os.getpid()}"] * len(data)
    given = [eval(text.removeprefix("give "), globals(), names) for text in texts]
    return given[0] if texts[0].startswith("give ") else pids
"""
ECHOING = "def handle(data, context):\n    return None if data is None else [row.get('body') for row in data]\n"


def register(server: LiveServer, name: str) -> tuple[int, str]:
    answer = server.manage("POST", f"/models?url={name}&initial_workers=1&synchronous=true")
    return answer.status, answer.json.get("message") or answer.json["status"]


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[LiveServer]:
    make_model(home / "store", "echo", ECHO)
    made = LiveServer(home, ["echo"]).wait()
    made.ready("echo")
    yield made
    assert made.predict("echo", "still here").body == b"still here"
    assert made.stop() == 0


@pytest.fixture(scope="module")
def rascal(server: LiveServer) -> LiveServer:
    make_model(
        server.store, "rascal", RASCAL, config="minWorkers: 1\nmaxWorkers: 1\nbatchSize: 2\nmaxBatchDelay: 60000\n"
    )
    assert register(server, "rascal")[0] == 200
    return server


def pid(server: LiveServer) -> int:
    return int(eventually(lambda: (found := server.predict("rascal", "1")).status == 200 and found).body)


@pytest.mark.parametrize(
    ("text", "status", "message"),
    [
        ("'a text'", 503, "Invalid model predict output"),
        ("b'bytes'", 503, "Invalid model predict output"),
        ("{'a': 1}", 503, "Invalid model predict output"),
        ("tensor()[0]", 503, "Invalid model predict output"),
        ("[1, 2, 3]", 503, "number of batch response mismatched: expected 1, got 3"),
        ("[]", 503, "number of batch response mismatched: expected 1, got 0"),
        ("[object()]", 503, "Unsupported model output data type."),
        ("(x for x in 'a')", 503, "Invalid model predict output"),
        ("no_such_name", 503, "Prediction failed"),
        ("recurse()", 503, "Prediction failed"),
        ("sys.exit(4)", 503, "Prediction failed"),
        ("(_ for _ in ()).throw(KeyboardInterrupt())", 503, "Prediction failed"),
        ("greedy()", 507, "Out of resources"),
        ("out_of_cuda()", 507, "Out of resources"),
    ],
)
def test_what_costs_its_own_request_only(rascal: LiveServer, text: str, status: int, message: str) -> None:
    before = pid(rascal)
    answer = rascal.predict("rascal", f"give {text}")
    assert (answer.status, answer.message) == (status, message)
    assert pid(rascal) == before


@pytest.mark.parametrize(
    ("text", "body"),
    [
        ("['text']", b"text"),
        ("[b'\\xff']", b"\xff"),
        ("[None]", b"null"),
        ("[7]", b"7"),
        ("fields()", b'{\n  "1": null,\n  "deep": [\n    null,\n    true,\n    [\n      1,\n      2\n    ]\n  ]\n}'),
    ],
)
def test_what_may_be_returned(rascal: LiveServer, text: str, body: bytes) -> None:
    assert rascal.predict("rascal", f"give {text}").body == body


def test_a_tensor_is_saved(rascal: LiveServer) -> None:
    assert rascal.predict("rascal", "give tensor()").body[:2] == b"PK"


@pytest.mark.parametrize(
    "text",
    [
        "os.chdir('/')",
        "data.clear()",
        "stay()",
        "leave_children()",
        "deaf()",
        "noise()",
        "mute()",
        "fork_and_return()",
        "fork_and_raise()",
        "sys.modules.pop('json', None)",
        "sys.settrace(lambda *_: None)",
    ],
)
def test_what_costs_nothing_at_all(rascal: LiveServer, text: str) -> None:
    before = pid(rascal)
    for _ in range(2):
        answer = rascal.predict("rascal", text)
        assert (answer.status, answer.body) == (200, str(before).encode())
    assert pid(rascal) == before


@pytest.mark.parametrize(
    ("text", "status", "reason"),
    [
        ("os._exit(3)", 500, "exited with code 3"),
        ("ctypes.string_at(0)", 500, "was killed by SIGSEGV"),
        ("os.abort()", 500, "was killed by SIGABRT"),
        ("os.kill(os.getpid(), 9)", 507, "was killed by SIGKILL"),
        ("fork_and_stay()", 500, "exited with code 3"),
        ("[leave_children(), os._exit(5)]", 500, "exited with code 5"),
        ("os.closerange(3, 1000)", 500, "closed its connection|exited with code"),
    ],
)
def test_what_costs_the_worker(rascal: LiveServer, text: str, status: int, reason: str) -> None:
    before = pid(rascal)
    children = psutil.Process(rascal.process.pid).children(recursive=True)
    answer = rascal.predict("rascal", text)
    assert answer.status == status
    assert answer.message.startswith("Worker died. W-")
    assert any(each in answer.message for each in reason.split("|"))
    assert pid(rascal) != before
    eventually(lambda: gone(before))
    eventually(lambda: len(psutil.Process(rascal.process.pid).children(recursive=True)) <= len(children))
    assert rascal.predict("echo", "untouched").body == b"untouched"


def test_a_handler_that_holds_the_interpreter_in_c_shows_its_stack_and_is_profiled_once_it_answers(
    rascal: LiveServer,
) -> None:
    before = pid(rascal)
    hanging = rascal.later("rascal", "give ctypes.PyDLL(None).read(os.pipe()[0], ctypes.create_string_buffer(1), 1)")
    words = ["profile", "rascal", "--management", f"http://127.0.0.1:{rascal.ports['Management']}"]

    def shown() -> str:
        done = CliRunner().invoke(main, [*words, "--stacks"])
        assert done.exit_code == 0, done.output
        return done.stdout

    eventually(lambda: 'File "<string>", line 1 in <module>' in shown())
    assert "(runs a batch)\n" in shown()
    assert "  Current thread" in shown()
    os.kill(before, signal.SIGKILL)
    assert hanging.result().status == 507
    pid(rascal)
    with ThreadPoolExecutor() as pool:
        recorded = pool.submit(rascal.manage, "POST", "/models/rascal/profile?seconds=1")
        while not recorded.done():
            assert rascal.predict("rascal", "__import__('torch').arange(3).sum().item()").status == 200
    trace = json.loads(gzip.decompress(recorded.result().body))
    assert "aten::sum" in {event["name"] for event in trace["traceEvents"]}


def test_one_row_that_raises_fails_its_batch(server: LiveServer) -> None:
    """None runs before there are three, so that they share a batch in whatever order they come."""
    three = "minWorkers: 1\nmaxWorkers: 1\nbatchSize: 3\nbatchPolicy: fixed\nmaxBatchDelay: 600000\n"
    make_model(server.store, "three", RASCAL, config=three)
    assert register(server, "three")[0] == 200
    worker = str(server.workers("three")[0]["pid"]).encode()

    def together(*texts: str) -> list[Answer]:
        return [each.result() for each in [server.later("three", text) for text in texts]]

    failed = together("1", "no_such_name", "2")
    assert [(answer.status, answer.message) for answer in failed] == [(503, "Prediction failed")] * 3
    assert [(answer.status, answer.body) for answer in together("1", "2", "3")] == [(200, worker)] * 3


# ---- what fails while it loads

LOADS: list[tuple[str, dict[str, Any], int, str]] = [
    ("absent", {"declared": "nowhere.py"}, 500, "handler 'nowhere' is neither a module in"),
    ("twice", {"handler": ECHOING.replace("def handle(", "class A:\n  def handle(").replace("    return", "      return") + "class B(A): pass\n"}, 500, "has ['A', 'B'] with a handle(data, context)"),
    ("none", {"handler": "x = 1\n"}, 500, "has [] with a handle(data, context)"),
    ("syntax", {"handler": "def handle(data, context:\n"}, 500, "SyntaxError: '(' was never closed"),
    ("forks", {"handler": "import os; os.fork()\n" + ECHO}, 200, "registered with 1 initial workers"),
    ("imports", {"handler": "import no_such_package\n"}, 500, "No module named 'no_such_package' (handler.py:1)"),
    ("weightless", {"declared": "base_handler", "model": {"serializedFile": "w.pt"}}, 500, "w.pt is missing"),
    ("formless", {"declared": "base_handler"}, 500, "No model weights could be loaded: expected a modelFile"),
    ("memory", {"handler": "raise MemoryError\n"}, 507, "MemoryError"),
    ("cuda", {"handler": "raise RuntimeError('CUDA out of memory')\n"}, 507, "CUDA out of memory (handler.py:1)"),
    ("leaves", {"handler": "import sys; sys.exit(3)\n"}, 500, "SystemExit: 3 (handler.py:1)"),
    ("exits", {"handler": "import os; os._exit(3)\n"}, 500, "exited with code 3"),
    ("faults", {"handler": "import ctypes; ctypes.string_at(0)\n"}, 500, "was killed by SIGSEGV"),
    ("killed", {"handler": "import os; os.kill(os.getpid(), 9)\n"}, 507, "was killed by SIGKILL"),
    ("hangs", {"handler": "import time; time.sleep(600)\n", "config": ONCE + "startupTimeout: 1\n"}, 500, "did not load the model in 1 s (startupTimeout)"),
]  # fmt: skip


def bad_model(server: LiveServer, name: str, given: dict[str, Any]) -> Path:
    folder = make_model(server.store, name, given.get("handler", ""), config=given.get("config", ONCE))
    path = folder / "MAR-INF" / "MANIFEST.json"
    manifest = json.loads(path.read_text())
    manifest["model"] |= {"handler": given.get("declared", "handler.py"), **given.get("model", {})}
    path.write_text(json.dumps(manifest))
    return folder


@pytest.mark.parametrize(("name", "given", "status", "message"), LOADS, ids=[each[0] for each in LOADS])
def test_what_does_not_load(server: LiveServer, name: str, given: dict[str, Any], status: int, message: str) -> None:
    bad_model(server, name, given)
    found, told = register(server, name)
    assert message in told
    assert found == status
    if "startupTimeout" in message:
        server.until_logged("(startupTimeout). Its threads")
        server.until_logged('handler.py", line 1 in <module>')
    assert server.predict("echo", "untouched").body == b"untouched"


@pytest.mark.parametrize("fits", [True, False])
def test_weights_that_do_not_fit(server: LiveServer, fits: bool) -> None:
    import torch

    name = "fits" if fits else "unfit"
    net = f"import torch\nclass Net(torch.nn.Linear):\n    def __init__(self):\n        super().__init__({2 if fits else 3}, 1)\n"
    given = {"declared": "base_handler", "model": {"modelFile": f"{name}_net.py", "serializedFile": "w.pt"}}
    folder = bad_model(server, name, given)
    (folder / f"{name}_net.py").write_text(net)
    torch.save(torch.nn.Linear(2, 1).state_dict(), folder / "w.pt")
    status, told = register(server, name)
    assert status == (200 if fits else 500)
    assert fits or "size mismatch for weight" in told


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("broken", "minWorkers: [1\n", "not usable YAML"),
        ("a-list", "- minWorkers\n", "the YAML is a list, not a mapping"),
        ("object", "minWorkers: !!python/object/apply:os.system ['touch HERE/owned']\n", "not usable YAML"),
        ("laughs", "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)), "aliases expanded"),
        ("itself", "a: &a [*a]\n", "holds itself"),
        ("deep", "a: " + "[" * 5000 + "]" * 5000 + "\n", "maximum nesting depth"),
    ],
)  # fmt: skip
def test_yaml_that_is_broken_or_hostile(server: LiveServer, name: str, config: str, message: str) -> None:
    make_model(server.store, f"yaml-{name}", ECHO, config=config.replace("HERE", str(server.home)))
    status, told = register(server, f"yaml-{name}")
    assert message in told
    assert status == 400
    assert not (server.home / "owned").exists()


def test_megabytes_printed_while_it_loads(server: LiveServer) -> None:
    make_model(
        server.store, "loud", "import os\nfor _ in range(100): os.write(1, b'y' * 100_000)\n" + ECHO, config=ONCE
    )
    assert register(server, "loud")[0] == 200
    assert server.predict("loud", "x").body == b"x"


@pytest.mark.parametrize(
    ("name", "signature", "kind"),
    [("few", "def handle(self, data)", "TypeError"), ("many", "def handle(self, data, context, more)", "TypeError")],
)
def test_a_wrong_signature_is_told_with_the_first_request(
    server: LiveServer, name: str, signature: str, kind: str
) -> None:
    make_model(server.store, name, f"class A:\n    {signature}: return data\n", config=ONCE)
    assert register(server, name)[0] == 200
    assert server.predict(name, "x").message == "Prediction failed"
    assert server.workers(name)[0]["lastFailure"]["kind"] == kind
