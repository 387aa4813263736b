"""The process that asks the driver, spoken to as the server does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ..standins.nvml import NOT_FOUND, NOT_SUPPORTED, FakeNvml

Ask = Callable[[], dict[str, Any]]


@pytest.fixture
def ask(fake_nvml: FakeNvml) -> Iterator[Ask]:
    command = [sys.executable, "-m", "torchserve.scheduler.gpu_process"]
    with subprocess.Popen(
        command, env={**os.environ, **fake_nvml.env}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout

        def ask() -> dict[str, Any]:
            process.stdin.write("\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield ask
        process.stdin.close()
        assert process.wait(timeout=30) == 0


def test_a_line_for_each_question(fake_nvml: FakeNvml, ask: Ask):
    first = ask()
    assert ([gpu["index"] for gpu in first["gpus"]], first["xids"], first["log"]) == ([0, 1], [], [])
    fake_nvml.set({"xid": "1:0:79"})
    assert ask()["xids"] == [[first["gpus"][0]["uuid"], 79]]
    assert ask()["xids"] == [], "an event is told once"
    fake_nvml.set({"xid": "2:1:48"})
    assert ask()["xids"] == [[first["gpus"][1]["uuid"], 48]]


def test_what_there_is_to_say_comes_with_the_answer(fake_nvml: FakeNvml, ask: Ask):
    fake_nvml.fail("nvmlDeviceGetCount_v2", NOT_FOUND)
    told = ask()
    assert (told["gpus"], told["xids"]) == ([], [])
    assert [text for _, text in told["log"] if "NVML does not list them" in text]
    fake_nvml.set({"fault.nvmlDeviceGetCount_v2": None})
    assert (len(ask()["gpus"]), ask()["log"]) == (2, [])


def test_gpus_without_events(fake_nvml: FakeNvml, ask: Ask):
    fake_nvml.set({"xid": "1:0:79"})
    fake_nvml.fail("nvmlDeviceRegisterEvents", NOT_SUPPORTED)
    assert (len(ask()["gpus"]), ask()["xids"]) == (2, [])
