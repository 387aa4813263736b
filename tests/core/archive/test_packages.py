"""Packages: an environment per requirements, made once, seeing the server's; what pip says is not lost."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from torchserve.core.archive.packages import UNUSED, Packages, environment_key
from torchserve.core.archive.reader import Archive, open_archive
from torchserve.core.errors import PackagesFailed

from .wheels import make_wheel

REQUIREMENTS = "--no-index\n--find-links wheels\ntinypackage\n"


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "kept"


def packages(kept: Path, *, install: bool = True, python: str | None = None, **variables: str) -> Packages:
    return Packages(kept, python, {**os.environ, **variables}, install=install)


def archive(folder: Path, requirements: str | None = REQUIREMENTS, version: str = "1.0") -> Archive:
    (folder / "MAR-INF").mkdir(parents=True)
    model = {"modelName": "m", "handler": "h.py"}
    if requirements is not None:
        model["requirementsFile"] = "requirements.txt"
        (folder / "requirements.txt").write_text(requirements)
    (folder / "MAR-INF" / "MANIFEST.json").write_text(json.dumps({"model": model}))
    make_wheel(folder / "wheels", "tinypackage", version)
    return open_archive(folder, folder)


def seen(python: str, path: tuple[str, ...] = ()) -> str:
    code = "import tinypackage, torchserve.core.version as ours; print(tinypackage.__version__, ours.__version__)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
    done = subprocess.run([python, "-P", "-c", code], env=environment, capture_output=True, text=True, check=False)
    return done.stdout.split(" ")[0] if done.returncode == 0 else done.stderr


@pytest.mark.parametrize("use_venv", [False, True])
async def test_installed_beside_the_server_s_own(tmp_path: Path, kept: Path, use_venv: bool):
    found = await packages(kept).prepare(archive(tmp_path / "a"), "m", use_venv=use_venv)
    assert (found.interpreter is None) != use_venv
    assert seen(found.interpreter or sys.executable, found.path) == "1.0"
    assert "No module named 'tinypackage'" in seen(sys.executable)


async def test_made_once_for_the_same_and_anew_for_others(tmp_path: Path, kept: Path):
    first, same, other = (
        archive(tmp_path / name, version=version) for name, version in (("a", "1.0"), ("b", "1.0"), ("c", "2.0"))
    )
    subject = packages(kept)
    found = await asyncio.gather(
        *(subject.prepare(each, "m", use_venv=venv) for each in (first, same, other) for venv in (True, False))
    )
    assert len(list(kept.glob("*/complete"))) == 2
    assert [seen(each.interpreter or sys.executable, each.path) for each in found] == ["1.0"] * 4 + ["2.0"] * 2


async def test_what_satisfies_already_is_not_fetched(tmp_path: Path, kept: Path):
    found = await packages(kept).prepare(archive(tmp_path / "a", "--no-index\nnumpy\npyyaml>=6\n"), "m", use_venv=True)
    assert found.interpreter is not None


@pytest.mark.parametrize("install", [False, True])
async def test_nothing_to_install(tmp_path: Path, kept: Path, install: bool, caplog: pytest.LogCaptureFixture):
    subject = packages(kept, install=install)
    bare = await subject.prepare(archive(tmp_path / "a", None), "m", use_venv=False)
    assert (bare.interpreter, bare.path) == (None, ())
    assert not kept.exists()
    if not install:
        assert (await subject.prepare(archive(tmp_path / "b"), "m", use_venv=False)) == bare
        assert "requirements.txt of model m is not installed: install_py_dep_per_model is not true" in caplog.text


@pytest.mark.parametrize(
    ("requirements", "said"),
    [
        ("--no-index\nno-such-package-anywhere==1\n", ["no-such-package-anywhere==1", "from versions: none"]),
        ("this is no requirement\n", ["Invalid requirement", "this is no requirement"]),
        ("--no-index\n--find-links wheels\ntinypackage==9\n", ["tinypackage==9", "1.0"]),
    ],
)
async def test_what_pip_says_comes_back_whole(tmp_path: Path, kept: Path, requirements: str, said: list[str]):
    with pytest.raises(PackagesFailed) as caught:
        await packages(kept).prepare(archive(tmp_path / "a", requirements), "m", use_venv=True)
    assert caught.value.message.startswith("Custom pip package installation failed for model m\n")
    missing = [each for each in said if each not in caught.value.message]
    assert missing == []
    assert [path for path in kept.iterdir() if path.is_dir()] == []


async def test_an_interpreter_that_is_not_there(tmp_path: Path, kept: Path):
    with pytest.raises(PackagesFailed, match="No such file"):
        await packages(kept, python="/nowhere/python").prepare(archive(tmp_path / "a"), "m", use_venv=True)


@pytest.mark.thorough
async def test_half_an_environment_is_made_anew(tmp_path: Path, kept: Path):
    subject = archive(tmp_path / "a")
    key = environment_key(subject.model_dir / "requirements.txt", subject.model_dir, sys.executable)
    (kept / key / "lib").mkdir(parents=True)
    (kept / key / "rest").write_text("of a server that was killed")
    found = await packages(kept).prepare(subject, "m", use_venv=True)
    assert seen(str(found.interpreter)) == "1.0"
    assert not (kept / key / "rest").exists()


@pytest.mark.thorough
async def test_only_what_nobody_uses_is_swept(tmp_path: Path, kept: Path):
    used, left = packages(kept), packages(kept)
    await used.prepare(archive(tmp_path / "a"), "m", use_venv=True)
    await left.prepare(archive(tmp_path / "b", version="2.0"), "m", use_venv=True)
    assert len(list(kept.glob("*/complete"))) == 2
    for lock in left._locks.values():  # as when its server ends
        os.close(lock)
    used.sweep(time.time() + UNUSED - 60)
    assert len(list(kept.glob("*/complete"))) == 2
    used.sweep(time.time() + UNUSED + 60)
    assert [path.parent.name for path in kept.glob("*/complete")] == list(used._locks)


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (lambda folder: (folder / "unrelated.txt").write_text("x"), True),
        (lambda folder: (folder / "requirements.txt").write_text(REQUIREMENTS + "# more\n"), False),
        (lambda folder: make_wheel(folder / "wheels", "tinypackage", "1.1"), False),
    ],
)
def test_the_key(tmp_path: Path, change, same: bool):
    folder = archive(tmp_path / "a").model_dir
    before = environment_key(folder / "requirements.txt", folder, sys.executable)
    change(folder)
    assert (environment_key(folder / "requirements.txt", folder, sys.executable) == before) == same
    assert environment_key(folder / "requirements.txt", folder, "/usr/bin/other") != before


def test_requirements_name_nothing_outside(tmp_path: Path):
    folder = archive(tmp_path / "a", "-r ../secret.txt\n-r /etc/passwd\n\0\n.\n").model_dir
    (tmp_path / "secret.txt").write_text("1")
    before = environment_key(folder / "requirements.txt", folder, sys.executable)
    (tmp_path / "secret.txt").write_text("2")
    assert environment_key(folder / "requirements.txt", folder, sys.executable) == before


@pytest.mark.parametrize("wrong", ["the folder", "an environment"])
async def test_packages_that_others_could_have_put_there_are_not_run(tmp_path: Path, kept: Path, wrong: str):
    subject = packages(kept)
    await subject.prepare(archive(tmp_path / "a", None), "m", use_venv=True)
    (done,) = kept.glob("*/complete")
    folder = kept if wrong == "the folder" else done.parent
    folder.chmod(0o777)
    with pytest.raises(PackagesFailed, match=f"{folder} is not used: every user may write to it.*package_folder"):
        await subject.prepare(archive(tmp_path / "b", None), "m", use_venv=True)
    folder.chmod(0o755)
    if os.geteuid() == 0:
        os.chown(folder, 54321, 54321)
        with pytest.raises(PackagesFailed, match=f"{folder} is not used: it belongs to user 54321"):
            await subject.prepare(archive(tmp_path / "c", None), "m", use_venv=True)
