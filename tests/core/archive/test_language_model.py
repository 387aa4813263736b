"""The archive of a language model: what a folder must have, and what is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from torchserve.core.archive import language_model
from torchserve.core.archive.language_model import (
    check_model_folder,
    find_cached,
    language_model_config,
    name_of,
    write_language_model,
)
from torchserve.core.archive.manifest import Manifest
from torchserve.core.archive.model_yaml import parse_mapping
from torchserve.core.errors import InvalidArchive

LLAMA = '{"architectures": ["LlamaForCausalLM"]}'


@pytest.fixture(autouse=True)
def _transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language_model, "find_spec", lambda name: name)


def make(folder: Path, files: dict[str, str]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("files", "gguf"),
    [
        ({"config.json": LLAMA, "model.safetensors": ""}, ""),
        ({"config.json": "{}", "model-1.safetensors": "", "old.bin": ""}, ""),
        ({"config.json": '{"architectures": ["GPT2LMHeadModel"]}', "m.safetensors": ""}, ""),
        ({"config.json": '{"architectures": ["Gemma3ForConditionalGeneration"]}', "m.safetensors": ""}, ""),
        ({"m.gguf": ""}, "m.gguf"),
    ],
)
def test_folders_that_can_be_served(tmp_path: Path, files: dict[str, str], gguf: str) -> None:
    check_model_folder(make(tmp_path / "m", files), gguf)


@pytest.mark.parametrize(
    ("files", "gguf", "told"),
    [
        ({}, "", "has no config.json: name the folder that save_pretrained"),
        ({"b.gguf": "", "a.gguf": ""}, "", "it has a.gguf, which --gguf-file a.gguf serves"),
        ({"b.gguf": ""}, "c.gguf", "has no file c.gguf, but b.gguf"),
        ({"config.json": LLAMA}, "", "has no weights in safetensors format: download"),
        ({"config.json": LLAMA, "w.bin": ""}, "", "in safetensors format, but w.bin: download"),
        ({"config.json": "{", "m.safetensors": ""}, "", "config.json can't be read as JSON"),
        ({"config.json": "[" * 100_000, "m.safetensors": ""}, "", "config.json can't be read as JSON"),
        ({"config.json": "[]", "m.safetensors": ""}, "", "config.json is no JSON object"),
        ({"config.json": f'{{"a": "{"x" * (1 << 20)}"}}', "m.safetensors": ""}, "", "more than 1 MiB"),
        ({"config.json": '{"architectures": ["BertModel"]}', "m.safetensors": ""}, "", "is a BertModel, which generates no text"),
        ({"config.json": '{"architectures": ["BertForMaskedLM"]}', "m.safetensors": ""}, "", "is a BertForMaskedLM"),
    ],
)  # fmt: skip
def test_what_a_folder_lacks_is_said(tmp_path: Path, files: dict[str, str], gguf: str, told: str) -> None:
    with pytest.raises(InvalidArchive) as caught:
        check_model_folder(make(tmp_path / "m", files), gguf)
    assert told in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("org/model-1", "`hf download org/model-1 --local-dir model-1`"),
        ("nowhere", "nowhere: there is no such folder"),
        ("/no/where/at all", "there is no such folder"),
        ("file", "file is neither a GGUF file nor a folder: name the file"),
    ],
)
def test_what_is_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, told: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(InvalidArchive) as caught:
        check_model_folder(Path(name))
    assert told in caught.value.message


def test_a_folder_with_the_name_of_a_hubs_model_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org").mkdir()
    make(tmp_path / "org" / "model", {"config.json": LLAMA, "m.safetensors": ""})
    check_model_folder(Path("org/model"))


def test_without_transformers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language_model, "find_spec", lambda _name: None)
    with pytest.raises(InvalidArchive, match=r"pip install 'torchserve\[llm\]'"):
        check_model_folder(make(tmp_path / "m", {"config.json": LLAMA, "m.safetensors": ""}))


def test_what_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = tmp_path / "store"
    model = make(tmp_path / "modèle", {"config.json": LLAMA})
    monkeypatch.chdir(tmp_path)
    for dtype in ("float16", "bfloat16"):  # the second replaces the first
        made = write_language_model(
            "chat", language_model_config(Path("modèle"), {"dtype": dtype}, {"startupTimeout": 7}), store
        )
    manifest = Manifest.read(made)
    assert (made, manifest.handler, manifest.model_name) == (store / "chat", "language_model", "chat")
    assert parse_mapping((made / "model-config.yaml").read_bytes()) == {
        "minWorkers": 1, "maxWorkers": 1, "startupTimeout": 7, "responseTimeout": 1200,
        "handler": {"model_path": str(model), "dtype": "bfloat16"},
    }  # fmt: skip
    assert [path.name for path in store.iterdir()] == ["chat"]


@pytest.mark.parametrize("extra", ["notes.txt", "MAR-INF/MANIFEST.json"])
def test_what_is_anothers_stays(tmp_path: Path, extra: str) -> None:
    made = write_language_model("chat", {}, tmp_path / "store")
    (made / extra).write_text(json.dumps({"model": {"handler": "mine.py"}}))
    before = (made / extra).read_text()
    with pytest.raises(InvalidArchive, match="is there already, and no language model's"):
        write_language_model("chat", {}, tmp_path / "store")
    assert (made / extra).read_text() == before


@pytest.mark.parametrize("name", ["", "a b", "../x", "a=b"])
def test_names_that_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidArchive, match="give another one"):
        write_language_model(name, {}, tmp_path / "store")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("SmolLM2-135M", "SmolLM2-135M"),
        ("a b=c,d", "a-b-c-d"),
        ("模型", "model"),
        (".hidden", "hidden"),
        ("hub/models--org--Smol-1/snapshots/0123abc", "Smol-1"),
    ],
)
def test_names_of_folders(tmp_path: Path, path: str, name: str) -> None:
    assert name_of(tmp_path / path) == name


def cached(cache: Path, revision: str = "0123abc") -> Path:
    kept = cache / "models--org--Smol-1"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text(f"{revision}\n")
    folder = kept / "snapshots" / "0123abc"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({"HF_HUB_CACHE": "a", "HF_HOME": "b"}, "a"),
        ({"HUGGINGFACE_HUB_CACHE": "a"}, "a"),
        ({"HF_HOME": "b", "XDG_CACHE_HOME": "c"}, "b/hub"),
        ({"XDG_CACHE_HOME": "c"}, "c/huggingface/hub"),
        ({}, ".cache/huggingface/hub"),
    ],
)
def test_a_model_in_the_hubs_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], place: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, str(tmp_path / value))
    folder = cached(tmp_path / place)
    assert find_cached("org/Smol-1") == folder
    assert find_cached("org/Smol-1", tmp_path / place) == folder


@pytest.mark.parametrize(
    ("model_id", "revision", "told"),
    [
        ("org/other", "0123abc", "`hf download org/other --cache-dir "),
        ("org/Smol-1", "gone", "`hf download org/Smol-1 --cache-dir "),
        ("org/Smol-1", "", "`hf download org/Smol-1 --cache-dir "),
        ("/models/none", "0123abc", "there is no such folder"),
    ],
)
def test_what_is_not_in_the_cache(tmp_path: Path, model_id: str, revision: str, told: str) -> None:
    cached(tmp_path, revision)
    with pytest.raises(InvalidArchive) as caught:
        find_cached(model_id, tmp_path)
    assert told in caught.value.message
