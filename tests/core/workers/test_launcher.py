"""Launcher: what each failure to place or to start a worker says, and what is given up; and how its process is called.

The interpreter is a script of the test's that tells what it was given and ends.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest
from msgspec.structs import replace

from torchserve.core.archive.packages import ModelPython
from torchserve.core.config.model_options import ModelOptions
from torchserve.core.config.settings import Settings
from torchserve.core.gpus.gpu_allocator import GpuAllocator, PlacementRequest
from torchserve.core.gpus.on_demand_eviction import Postponed
from torchserve.core.wire.messages import Failure, Load
from torchserve.core.workers.forked_worker import NotForked
from torchserve.core.workers.launcher import Launcher
from torchserve.core.workers.load_failed import LoadFailed
from torchserve.core.workers.observer import WorkerObserver
from torchserve.core.workers.preloads import Preloads
from torchserve.scheduler.errors import NoRoom
from torchserve.scheduler.gpu import Gpu
from torchserve.scheduler.model_scheduler import ModelScheduler

from ..doubles import until
from .socket_pair import LOAD, Recorder

NAME = "W-9000-m_1.0"
GPUS = (Gpu(1, "GPU-b", "NVIDIA H200", 1 << 30, 1 << 30), Gpu(0, "GPU-a", "NVIDIA H200", 1 << 30, 1 << 30))
PLAIN, SETTINGS = ModelPython(), Settings()


class Allocator:
    """Gives out `gpus`, or raises."""

    def __init__(self, gives: tuple[Gpu, ...] | Exception = ()) -> None:
        self.gives = gives
        self.asked: list[PlacementRequest] = []
        self.released: list[str] = []

    async def allocate(self, request: PlacementRequest) -> tuple[Gpu, ...]:
        self.asked.append(request)
        if isinstance(self.gives, Exception):
            raise self.gives
        return self.gives

    def release(self, worker: str) -> None:
        self.released.append(worker)


class Printed(Recorder):
    """Also keeps what the worker's process prints."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def printed(self, worker: str, stream: str, line: str, requests: str, traces: str) -> None:
        assert (worker, stream, requests) == (NAME, "stdout", "")
        self.lines.append(line)


class Subject:
    """A launcher whose scheduler, observer and GPUs are the test's."""

    def __init__(
        self,
        gives: tuple[Gpu, ...] | Exception = (),
        python: ModelPython = PLAIN,
        settings: Settings = SETTINGS,
        load: Load = LOAD,
        **options: Any,
    ) -> None:
        self.gpus, self.told = Allocator(gives), Printed()
        self.launcher = Launcher(
            load=load,
            options=ModelOptions(**options),
            settings=settings,
            python=python,
            gpu_allocator=cast(GpuAllocator, self.gpus),
            scheduler=cast(ModelScheduler, self.told),
            observer=cast(WorkerObserver, self.told),
        )

    async def fails(self, workers: int = 1) -> LoadFailed:
        with pytest.raises(LoadFailed) as caught:
            await self.launcher.launch(NAME, workers)
        assert self.gpus.released == [NAME], "what was promised to it is given up"
        assert not self.told.attached
        return caught.value


@pytest.mark.parametrize(
    ("error", "text", "out_of_memory"),
    [
        (
            NoRoom(2 << 20, [(GPUS[1], 1 << 20)]),
            r"can't be placed: no GPU has 2 MiB for it: GPU 0 .* 1 MiB to give.*\. Free memory there, or .*gpuMemory",
            True,
        ),
        (ValueError("deviceIds names GPU 9"), r"^model m can't be placed: deviceIds names GPU 9$", False),
        (TimeoutError(), "NVML did not answer: the GPU driver of this host hangs", False),
    ],
)  # fmt: skip
async def test_a_worker_that_finds_no_gpu_says_why(error: Exception, text: str, *, out_of_memory: bool) -> None:
    subject = Subject(error)
    failed = await subject.fails()
    assert failed.out_of_memory is out_of_memory
    with pytest.raises(LoadFailed, match=text):
        raise failed
    (asked,) = subject.gpus.asked
    assert (asked.worker, asked.model, asked.folder) == (NAME, "m", Path("/models/m"))


async def test_a_postponed_start_is_no_failure_but_gives_up_what_it_had() -> None:
    subject = Subject(Postponed())
    with pytest.raises(Postponed):
        await subject.launcher.launch(NAME, 1)
    assert subject.gpus.released == [NAME]


@pytest.mark.parametrize(
    ("python", "text"),
    [
        ("/nowhere/python", rf"^{NAME} could not be started: .*No such file.*/nowhere/python"),
        ("a\0b", rf"^{NAME} could not be started: embedded null byte"),
    ],
)
async def test_a_process_that_can_not_be_started_says_why(python: str, text: str) -> None:
    failed = await Subject(GPUS[:1], ModelPython(python)).fails()
    with pytest.raises(LoadFailed, match=text):
        raise failed


def interpreter(folder: Path, code: int = 3) -> str:
    """A program that prints its arguments and what it finds in its environment, and ends with `code`."""
    names = " ".join(("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "TS_WORKER_CORES", "PYTHONPATH", "SECRET"))
    script = folder / "interpreter"
    script.write_text(
        f'#!/bin/sh\necho "arguments=$*"\nfor n in {names}; do printenv $n | sed "s/^/$n=/"; done\nexit {code}\n'
    )
    script.chmod(0o700)
    return str(script)


async def told(subject: Subject, workers: int = 1) -> dict[str, str]:
    """What the process of a start that failed has printed."""
    failed = await subject.fails(workers)
    assert str(failed) == f"{NAME} could not load the model: Worker died. {NAME} exited with code 3"
    await until(lambda: any(line.startswith("PYTHONPATH") for line in subject.told.lines))
    return dict(line.split("=", 1) for line in subject.told.lines)


async def test_a_process_has_its_gpus_its_folders_and_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "s")
    monkeypatch.setenv("PYTHONPATH", "/theirs")
    python = ModelPython(interpreter(tmp_path), ("/ours", "/more"))
    found = await told(Subject(GPUS, python, Settings(blacklist_env_vars="SEC.*")))
    assert found["CUDA_VISIBLE_DEVICES"] == "GPU-b,GPU-a"
    assert found["PYTHONPATH"] == "/ours:/more:/theirs"
    assert "SECRET" not in found
    assert found["arguments"].startswith(f"-P -m torchserve.core.backend --name {NAME} --parent ")


async def test_the_server_s_interpreter_is_taken_where_the_model_has_none(tmp_path: Path) -> None:
    python = ModelPython(path=("/ours",))
    found = await told(Subject((), python, Settings(python=interpreter(tmp_path))))
    assert "CUDA_VISIBLE_DEVICES" not in found


@pytest.mark.parametrize(
    ("given", "options", "omp"),
    [("", {}, "1"), ("7", {}, "7"), ("", {"threads": 5}, "5"), ("7", {"threads": 5}, "5")],
)
async def test_a_model_s_own_number_of_threads_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, options: dict[str, int], omp: str
) -> None:
    for name in ("OMP_NUM_THREADS", "TS_WORKER_CORES"):
        monkeypatch.delenv(name, raising=False)
    if given:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    found = await told(Subject((), ModelPython(interpreter(tmp_path), ("/ours",)), **options), workers=1000)
    assert found["OMP_NUM_THREADS"] == omp, "a thousand workers share the cores"
    assert found.get("TS_WORKER_CORES") == ("1" if not given and not options else None)


class NoForks:
    """A fork server that forks nothing, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Preloads] = []

    async def fork(self, name: str, environment: object, on_line: object, needs: Preloads, requests: object) -> Any:
        self.asked.append(needs)
        raise NotForked("it is a test's")


async def test_what_is_not_forked_is_spawned_and_the_log_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    python = interpreter(tmp_path)
    asked: dict[str, int] = {}
    for case, text, own in (
        ("torch", "import torch", PLAIN),
        ("none", "import json", PLAIN),
        ("packages", "import torch", ModelPython(path=("/ours",))),
        ("interpreter", "import torch", ModelPython(python)),
    ):
        (tmp_path / "handler.py").write_text(text)
        load, forks = replace(LOAD, model_dir=str(tmp_path)), NoForks()
        subject = Subject((), own, Settings(python=python), load)
        object.__setattr__(subject.launcher, "fork_server", forks)
        await subject.fails()
        asked[case] = len(forks.asked)
    assert asked == {"torch": 1, "none": 0, "packages": 0, "interpreter": 0}
    assert caplog.text.count(f"{NAME} is started on its own, since it is a test's") == 1


async def test_a_start_that_is_cancelled_ends_its_process_and_gives_up_its_gpus(tmp_path: Path) -> None:
    stays = tmp_path / "stays"
    stays.write_text("#!/bin/sh\necho pid=$$\nexec sleep 1000\n")
    stays.chmod(0o700)
    subject = Subject(GPUS, ModelPython(str(stays)))
    launching = asyncio.create_task(subject.launcher.launch(NAME, 1))
    await until(lambda: subject.told.lines)
    launching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await launching
    assert subject.gpus.released == [NAME]
    (line,) = subject.told.lines
    assert not Path(f"/proc/{line.removeprefix('pid=')}").exists()


@pytest.mark.parametrize(
    ("failure", "shown", "text"),
    [
        (Failure("ValueError", "no", "handler.py", 3, "Traceback\n  here"), True, "it failed\nTraceback\n  here"),
        (Failure("ValueError", "no", "handler.py", 3, "Traceback\n  here"), False, "it failed"),
        (None, True, "it failed"),
    ],
)
async def test_a_client_reads_the_traceback_only_where_the_settings_say_so(
    failure: Failure | None, text: str, *, shown: bool
) -> None:
    subject = Subject(settings=Settings(handler_errors_in_response=shown))
    assert subject.launcher.told(LoadFailed("it failed", failure=failure)) == text
