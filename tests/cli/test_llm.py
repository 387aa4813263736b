"""`torchserve llm`: what is written and started by its flags, and what is refused. The server itself is not started."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from torchserve.cli import llm as module
from torchserve.cli.llm import how_to_ask
from torchserve.cli.main import main
from torchserve.cli.runtime_file import RunningServer
from torchserve.cli.start import StartFlags
from torchserve.core.archive import language_model
from torchserve.core.archive.model_yaml import parse_mapping
from torchserve.core.config.address import Address

pytestmark = pytest.mark.usefixtures("temp")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path / "Smol LM"
    made.mkdir()
    (made / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    (made / "model.safetensors").touch()
    monkeypatch.setattr(language_model, "find_spec", lambda name: name)
    return made


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[StartFlags, dict[str, Any]]]:
    """The flags and the yaml of each start."""
    starts: list[tuple[StartFlags, dict[str, Any]]] = []

    def start(flags: StartFlags, companion: Callable[..., Any]) -> None:
        assert flags.model_store is not None
        assert callable(companion)
        name = flags.models[0].partition("=")[2]
        starts.append((flags, parse_mapping((flags.model_store / name / "model-config.yaml").read_bytes())))

    monkeypatch.setattr(module, "start", start)
    return starts


def test_a_folder_alone(folder: Path, started: list[Any], temp: Path) -> None:
    result = CliRunner().invoke(main, ["llm", str(folder)])
    assert (result.exit_code, result.output) == (0, "")
    ((flags, config),) = started
    assert (flags.foreground, flags.ncs, flags.models) == (True, True, ("Smol-LM=Smol-LM",))
    assert config["handler"] == {"model_path": str(folder), "dtype": "auto"}
    assert config["startupTimeout"] == 1200
    assert flags.model_store.parent == temp
    assert list(temp.iterdir()) == [], "the archive goes with the server"


def test_every_flag(folder: Path, tmp_path: Path, started: list[Any]) -> None:
    (folder / "m.gguf").touch()
    store = tmp_path / "new" / "store"
    words = ["--name", "chat", "--dtype", "bfloat16", "--memory-tokens", "2048", "--gguf-file", "m.gguf"]
    words += ["--model-store", str(store), "--ts-config", "c.properties", "--disable-token-auth"]
    result = CliRunner().invoke(main, ["llm", str(folder), *words])
    assert result.exit_code == 0, result.output
    ((flags, config),) = started
    assert flags == StartFlags(
        foreground=True, ncs=True, ts_config=Path("c.properties"), model_store=store, models=("chat=chat",),
        disable_token_auth=True,
    )  # fmt: skip
    assert config["handler"] == {
        "model_path": str(folder), "dtype": "bfloat16", "memory_tokens": 2048, "gguf_file": "m.gguf",
    }  # fmt: skip
    assert (store / "chat" / "MAR-INF" / "MANIFEST.json").is_file()


def test_a_gguf_file_is_a_whole_model(folder: Path, started: list[Any]) -> None:
    (folder / "Tiny.Q4_1.gguf").symlink_to(__file__)  # as the hub's cache has it
    result = CliRunner().invoke(main, ["llm", str(folder / "Tiny.Q4_1.gguf")])
    assert (result.exit_code, result.output) == (0, "")
    ((flags, config),) = started
    assert flags.models == ("Tiny.Q4_1=Tiny.Q4_1",)
    assert config["handler"] == {"model_path": str(folder), "dtype": "auto", "gguf_file": "Tiny.Q4_1.gguf"}


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["llm"], 2, "Missing argument 'MODEL'"),
        (["llm", "org/model"], 1, "hf download org/model"),
        (["llm", "Smol LM", "--gguf-file", "x.gguf"], 1, "has no file x.gguf"),
        (["llm", "Smol LM", "--name", "a/b"], 1, "'a/b' does not match"),
        (["llm", "Smol LM", "--dtype", "int3"], 2, "'int3' is not one of"),
        (["llm", "Smol LM", "--memory-tokens", "3"], 2, "3 is not in the range"),
        (["llm", "Smol LM", "--model-store", "Smol LM/config.json"], 1, "can't be written"),
        (["--ncs", "llm", "Smol LM"], 2, "do not go with `llm`"),
    ],
)
def test_what_is_refused(folder: Path, started: list[Any], words: list[str], code: int, told: str) -> None:
    del folder
    result = CliRunner().invoke(main, words)
    assert (result.exit_code, told in result.output) == (code, True), result.output
    assert started == []


@pytest.mark.parametrize(
    ("address", "url"),
    [
        (Address("127.0.0.1", 8080), "http://127.0.0.1:8080"),
        (Address("0.0.0.0", 8080), "http://127.0.0.1:8080"),
        (Address("::", 8443, tls=True), "https://127.0.0.1:8443"),
        (Address("::1", 8080), "http://[::1]:8080"),
    ],
)
def test_how_it_is_asked(address: Address, url: str) -> None:
    told = how_to_ask("chat", RunningServer({"inference": address}))
    assert f"curl {url}/v1/chat/completions -d '{{" in told
    assert f'OpenAI(base_url="{url}/v1", api_key="none")' in told


def test_how_it_is_asked_with_a_key_and_at_a_socket() -> None:
    told = how_to_ask("chat", RunningServer({"inference": Address("", 0, path="/s")}, Path("/keys.json")))
    assert "curl --unix-socket /s http://localhost/v1/chat/completions -H 'Authorization: Bearer KEY' -d" in told
    assert "KEY is the inference key in /keys.json" in told


def test_vllm_as_the_engine(folder: Path, tmp_path: Path, started: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["llm", str(folder), "--engine", "vllm"]
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "The engine vllm is not installed" in CliRunner().invoke(main, words).output
    (tmp_path / "vllm").write_text("#!/bin/sh\n")
    (tmp_path / "vllm").chmod(0o755)
    options = ["--engine-option", "max_model_len=4096", "--engine-option", "--enforce-eager=true", "--dtype", "float16"]
    result = CliRunner().invoke(main, [*words, *options])
    assert (result.exit_code, result.output) == (0, "")
    ((_, config),) = started
    said = {"dtype": "float16", "max_model_len": 4096, "enforce_eager": True}
    assert config["handler"] == {"model_path": str(folder), "vllm_engine_config": said}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--engine-option", "a=b"], "--engine-option is for --engine vllm"),
        (["--engine", "vllm", "--memory-tokens", "100"], "--memory-tokens is for --engine transformers"),
        (["--engine", "vllm", "--gguf-file", "a"], "--gguf-file is for --engine transformers"),
        (["--engine", "vllm", "--engine-option", "a"], "--engine-option a: it must be NAME=VALUE"),
        (["--engine", "vllm", "--engine-option", "a=["], "its value can't be read"),
    ],
)
def test_what_an_engine_doesn_t_take(
    folder: Path, tmp_path: Path, words: list[str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "vllm").write_text("#!/bin/sh\n")
    (tmp_path / "vllm").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    result = CliRunner().invoke(main, ["llm", str(folder), *words])
    assert (result.exit_code, result.output.count("\n")) == (1, 1)
    assert told in result.output
