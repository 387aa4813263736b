"""`python -m ts.llm_launcher`: what its flags come to, and what is refused. The server itself is not started."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from torchserve.cli import llm as started_by
from torchserve.cli.llm_launcher import argument_parser, create_mar_file, get_model_config, run
from torchserve.cli.start import StartFlags
from torchserve.core.archive import language_model
from torchserve.core.archive.manifest import Manifest
from torchserve.core.archive.model_yaml import parse_mapping
from torchserve.core.errors import ServeError
from torchserve.core.generation.child_engine.options import read_options

pytestmark = pytest.mark.usefixtures("temp")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, temp: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    del temp
    made = tmp_path / "smol"
    made.mkdir()
    (made / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    (made / "model.safetensors").touch()
    monkeypatch.setattr(language_model, "find_spec", lambda name: name)
    return made


def config(words: str) -> dict[str, Any]:
    return get_model_config(argument_parser().parse_args(words.split()))


def test_torchserves_flags_and_defaults() -> None:
    assert vars(argument_parser().parse_args([])) == {
        "model_name": "model",
        "model_store": "model_store",
        "model_id": "meta-llama/Meta-Llama-3.1-8B-Instruct",
        "disable_token_auth": False,
        "engine": None,
        "startup_timeout": 1200,
        "dtype": None,
        "vllm_engine.max_num_seqs": 256,
        "vllm_engine.max_model_len": None,
        "vllm_engine.download_dir": None,
        "vllm_engine.tensor_parallel_size": 1,
        "trt_llm_engine.max_batch_size": 4,
        "trt_llm_engine.kv_cache_free_gpu_memory_fraction": 0.1,
    }


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("", {"dtype": "auto"}),
        ("--dtype bfloat16", {"dtype": "bfloat16"}),
        ("--dtype half", {"dtype": "float16"}),
        ("--dtype float", {"dtype": "float32"}),
        ("--vllm_engine.max_num_seqs 4", {"dtype": "auto"}),
        ("--vllm_engine.max_model_len 2048", {"dtype": "auto", "memory_tokens": 16384}),
        ("--vllm_engine.max_model_len 2048 --vllm_engine.max_num_seqs 4", {"dtype": "auto", "memory_tokens": 8192}),
        ("--vllm_engine.max_model_len 32768 --vllm_engine.max_num_seqs 4", {"dtype": "auto", "memory_tokens": 32768}),
        ("--vllm_engine.max_model_len 1 --vllm_engine.max_num_seqs 1", {"dtype": "auto", "memory_tokens": 64}),
        ("--trt_llm_engine.max_batch_size 9", {"dtype": "auto"}),
    ],
)
def test_what_the_engine_is_told(folder: Path, words: str, options: dict[str, Any]) -> None:
    assert config(f"--model_id smol {words}")["handler"] == {"model_path": str(folder), **options}


def test_the_time_to_start() -> None:
    found = config("--model_id smol --startup_timeout 77")
    assert (found["startupTimeout"], found["responseTimeout"], found["minWorkers"], found["maxWorkers"]) == (77, 1200, 1, 1)  # fmt: skip


@pytest.mark.parametrize(
    ("words", "handler", "expected"),
    [
        (
            "--model_id smol --vllm_engine.max_model_len 2048 --vllm_engine.download_dir cache", "vllm_handler",
            {"model_path": "FOLDER", "vllm_engine_config": {"max_num_seqs": 256, "max_model_len": 2048, "download_dir": "CACHE"}},
        ),
        (
            "--model_id org/smol --dtype half --vllm_engine.tensor_parallel_size 2", "vllm_handler",
            {"model_path": "org/smol", "vllm_engine_config": {"max_num_seqs": 256, "dtype": "half", "tensor_parallel_size": 2}},
        ),
        (
            "--model_id smol --engine trt_llm", "trt_llm_handler",
            {
                "engine_dir": "FOLDER", "trt_llm_engine_config": {"max_batch_size": 4},
                "kv_cache_config": {"free_gpu_memory_fraction": 0.1},
            },
        ),
        ("--model_id smol --engine transformers", "language_model", {"model_path": "FOLDER", "dtype": "auto"}),
    ],
)  # fmt: skip
def test_engines_that_are_installed(
    folder: Path, words: str, handler: str, expected: dict[str, Any], executables: None
) -> None:
    del executables
    with create_mar_file(argument_parser().parse_args([*words.split(), "--model_store", "store"])) as archive:
        written = parse_mapping(Path(archive, "model-config.yaml").read_bytes())
        assert Manifest.read(Path(archive)).handler == handler
    said = json.loads(
        json.dumps(expected).replace("FOLDER", str(folder)).replace("CACHE", str(Path("cache").resolve()))
    )
    assert written["handler"] == said
    assert (written["startupTimeout"], written["minWorkers"]) == (1200, 1)
    if handler != "language_model":
        read_options(handler, said, folder)  # the worker takes it


@pytest.fixture
def executables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PATH that has both engines."""
    for name in ("vllm", "trtllm-serve"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))


def test_a_hubs_id_in_the_cache(tmp_path: Path, folder: Path) -> None:
    kept = tmp_path / "cache" / "models--org--smol"
    (kept / "snapshots").mkdir(parents=True)
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text("abc")
    folder.rename(kept / "snapshots" / "abc")
    found = config("--model_id org/smol --vllm_engine.download_dir cache")
    assert found["handler"]["model_path"] == str(kept / "snapshots" / "abc")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--engine trt_llm", "The engine trt_llm is not installed: "),
        ("--engine vllm", "The engine vllm is not installed: this Python has no package vllm, and the PATH no vllm."),
        ("--dtype int4", "--dtype int4: it must be one of auto, bfloat16"),
        ("--model_id org/other", "`hf download org/other`"),
        ("--vllm_engine.download_dir cache --model_id org/other", "`hf download org/other --cache-dir cache`"),
        ("--vllm_engine.max_model_len 0", "--vllm_engine.max_model_len must be a whole number from 1"),
        ("--vllm_engine.max_num_seqs -1", "--vllm_engine.max_num_seqs must be a whole number from 1"),
        ("--startup_timeout 0", "--startup_timeout must be at least 1 second"),
        ("--model_name a/b", "'a/b' does not match"),
        ("--model_store smol/config.json", "can't be written"),
    ],
)
def test_what_is_refused(words: str, told: str) -> None:
    args = argument_parser().parse_args(f"--model_id smol {words}".split())
    with pytest.raises(ServeError) as caught, create_mar_file(args):
        pass
    assert told in caught.value.message
    assert "\n" not in caught.value.message


def test_the_archive_goes_with_the_server(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    starts: list[tuple[StartFlags, dict[str, Any]]] = []

    def start(flags: StartFlags, companion: Callable[..., Any]) -> None:
        del companion
        written = Path("store", "chat", "model-config.yaml").read_bytes()
        starts.append((flags, parse_mapping(written)))

    monkeypatch.setattr(started_by, "start", start)
    run("--model_id smol --model_name chat --model_store store --disable_token_auth".split())
    ((flags, written),) = starts
    assert flags == StartFlags(
        foreground=True, ncs=True, model_store=Path("store"), models=("chat=chat",), disable_token_auth=True
    )
    assert written["handler"]["dtype"] == "auto"
    assert list(Path("store").iterdir()) == []
    assert "vLLM is not used" in capsys.readouterr().out


def test_the_module_is_a_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ts.llm_launcher", "--engine", "trt_llm"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("The engine trt_llm is not installed: ")
