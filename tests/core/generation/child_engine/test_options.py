"""What model-config.yaml may say of an engine, TorchServe's keys among it, and the command line that it makes."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.generation.child_engine.commands import environment_of, plan
from torchserve.core.generation.child_engine.options import EngineOptions, read_options

ROOT = Path("/nowhere")
SAID = "--uds UDS --served-model-name m"


def words(handler: str, said: Mapping[str, Any]) -> list[str]:
    """The command line less its first word, with what differs from run to run as UDS and PORT, and files as they are."""
    launch = plan(read_options(handler, {"command": ["run"], **said}, ROOT), "m")
    try:
        address = {launch.address.path: "UDS"} if launch.address.path else {str(launch.address.port): "PORT"}
        found = [address.get(word, word) for word in launch.command[1:]]
        assert Path(launch.folder).stat().st_mode & 0o777 == 0o700
        return [Path(word).read_text() if word.startswith(launch.folder) else word for word in found]
    finally:
        shutil.rmtree(launch.folder)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"model_path": "org/m"}, f"org/m {SAID} org/m"),
        ({"vllm_engine_config": {"model": "/w"}}, f"/w {SAID}"),
        ({"vllm_engine_config": {"model": "/w", "served_model_name": ["a", "m", "b", "a"]}}, f"/w {SAID} a b"),
        (
            {"vllm_engine_config": {"model": "/w", "max_num_seqs": 4, "enforce_eager": True, "max_model_len": None}},
            f"/w {SAID} --max-num-seqs=4 --enforce-eager",
        ),
        (
            {"vllm_engine_config": {"model": "/w", "enable_prefix_caching": False, "hf_overrides": {"a": 1}}},
            f'/w {SAID} --no-enable-prefix-caching --hf-overrides {{"a":1}}',
        ),
        (
            {"model_path": "/w", "adapters": {"x": "lora/x", "y": "/y"}, "vllm_engine_config": {"max_loras": 2}},
            f"/w {SAID} --enable-lora --lora-modules x=lora/x y=/y --max-loras=2",
        ),
        (
            {"model_path": "/w", "adapters": {"x": "/x"}, "vllm_engine_config": {"enable_lora": True}},
            f"/w {SAID} --lora-modules x=/x --enable-lora",
        ),
        ({"model_path": "/w", "chat_template": "t.jinja"}, f"/w {SAID} --chat-template t.jinja"),
        ({"model_path": "/w", "arguments": "--a b"}, f"/w {SAID} --a b"),
    ],
)
def test_vllm(said: dict[str, Any], expected: str) -> None:
    assert [word.replace(": ", ":") for word in words("vllm_handler", said)] == expected.split()


def test_the_command_lines_of_other_engines() -> None:
    sglang = words("child_engine", {"engine": "sglang", "model_path": "/w", "adapters": {"x": "/x"}})
    expected = "--model-path /w --host 127.0.0.1 --port PORT --served-model-name m --enable-metrics --enable-lora"
    assert sglang == [*expected.split(), "--lora-paths", "x=/x"]
    said = {
        "engine_dir": "/e", "tokenizer_dir": "/t", "kv_cache_config": {"free_gpu_memory_fraction": 0.1},
        "trt_llm_engine_config": {"max_batch_size": 4},
    }  # fmt: skip
    *plain, flag, file, last = words("trt_llm_handler", said)
    assert plain == ["/e", "--host", "127.0.0.1", "--port", "PORT", "--served_model_name", "m", "--tokenizer", "/t"]
    assert (flag, last) == ("--extra_llm_api_options", "--max_batch_size=4")
    assert json.loads(file) == {"kv_cache_config": {"free_gpu_memory_fraction": 0.1}}


@pytest.mark.parametrize(("place", "by_socket"), [("{uds}", True), ("at={port}", False)])
def test_an_engine_of_another_kind_is_told_its_places(place: str, by_socket: bool) -> None:
    said = {"engine": "custom", "command": ["run", "{model}", place, "{name}"], "model_path": "/w"}
    launch = plan(read_options("child_engine", said, ROOT), "m")
    shutil.rmtree(launch.folder)
    run, model, at, name = launch.command
    assert (run, model, name) == ("run", "/w", "m")
    assert at == (launch.address.path if by_socket else f"at={launch.address.port}")


def test_paths_in_the_archive_are_found_there(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "lora").mkdir()
    options = read_options("vllm_handler", {"model_path": "weights", "adapters": {"a": "lora", "b": "other"}}, tmp_path)
    assert options.model == str(tmp_path / "weights")
    assert options.adapters == {"a": str(tmp_path / "lora"), "b": "other"}


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ([], "handler must be a table of options"),
        ({}, r"handler\.model_path must name the model's folder"),
        ({"model_path": "--evil"}, "must be no option"),
        ({"model_path": "m", "engine": "sglang"}, "has engine, which nothing stands for; known: model_path"),
        ({"model_path": "m", "vllm_engine_config": {"port": 1}}, "must not have port: the server decides"),
        ({"model_path": "m", "vllm_engine_config": {"ssl_keyfile": "a"}}, "must not have ssl_keyfile"),
        ({"model_path": "m", "vllm_engine_config": {"lora_modules": 1}}, "handler.adapters names LoRA"),
        ({"model_path": "m", "vllm_engine_config": {"--x": 1}}, "'--x', which is no option's name"),
        ({"model_path": "m", "vllm_engine_config": 3}, r"handler\.vllm_engine_config must be a table"),
        ({"model_path": "m", "adapters": {"a b": "p"}}, "'a b', which is no model's name"),
        ({"model_path": "m", "adapters": {"a": 3}}, "a must be the path of a folder, not 3"),
        ({"model_path": "m", "command": [["a"]]}, r"handler\.command must be a list of words"),
        ({"model_path": "m", "environment": {"A=B": "c"}}, "is no variable"),
        ({"model_path": "m", "health_timeout": 0}, "must be a number of seconds from 0.1 to 3600, not 0"),
        ({"model_path": "m", "metrics_interval": True}, "must be a number of seconds"),
    ],
)
def test_what_has_no_meaning_is_refused(said: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        read_options("vllm_handler", said, ROOT)


@pytest.mark.parametrize(
    ("handler", "said", "told"),
    [
        ("child_engine", {"model_path": "m", "engine": "llama"}, "must be one of vllm, sglang, trt_llm, custom"),
        ("child_engine", {"model_path": "m", "ready_path": "health?"}, "must be a path such as /health"),
        ("child_engine", {"engine": "custom"}, "needs handler.command"),
        ("child_engine", {"engine": "custom", "command": ["run"]}, "must say where the engine listens, by {uds}"),
        (
            "child_engine",
            {"engine": "trt_llm", "model_path": "m", "command": "a", "adapters": {"a": "b"}},
            "no flag of",
        ),
        ("trt_llm_handler", {"engine_dir": "/e", "adapters": {}}, "has adapters, which nothing stands for"),
        ("vllm_handler", {"model_path": "m"}, "the engine vllm is not installed: .*`pip install vllm` installs it"),
        ("child_engine", {"model_path": "m", "engine": "sglang"}, "`pip install sglang` installs it"),
    ],
)
def test_what_can_t_be_started_is_told_and_leaves_nothing(
    handler: str, said: dict[str, Any], told: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(ValueError, match=told):
        plan(read_options(handler, said, ROOT), "m")
    assert list(tmp_path.iterdir()) == []


def test_an_executable_on_the_path_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "vllm"
    script.write_text(f"#!{sys.executable}\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    launch = plan(read_options("vllm_handler", {"model_path": "m"}, ROOT), "m")
    shutil.rmtree(launch.folder)
    assert launch.command[:3] == (str(script), "serve", "m")


def test_the_environment_is_the_workers_and_the_models() -> None:
    options = EngineOptions(kind="vllm", model="m", environment={"A": "2"})
    made = environment_of(options, {"A": "1", "B": "1"}, "/tmp/ts-engine-a")
    assert made["A"] == "2"
    assert made["B"] == "1"
    assert made["PYTHONUNBUFFERED"] == "1"
    assert made["VLLM_RPC_BASE_PATH"] == "/tmp/ts-engine-a"
    assert "VLLM_RPC_BASE_PATH" not in environment_of(options, {}, "/" + "x" * 70)


KEYS = ["model_path", "vllm_engine_config", "adapters", "command", "environment", "health_timeout", "x"]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(KEYS), VALUES))
def test_whatever_is_said_is_read_or_refused(said: dict[str, Any]) -> None:
    try:
        options = read_options("vllm_handler", said, ROOT)
    except ValueError as error:
        assert str(error).startswith("model-config.yaml: handler")
    else:
        assert options.model
