"""The container's image: its words, and that its files agree with the server's settings."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from torchserve.core.config.configuration import read_configuration

IMAGE = Path(__file__).parents[2] / "deploy" / "container"
SERVE = "torchserve --start --ts-config /home/model-server/config.properties --disable-token-auth"


def started(folder: Path, *words: str) -> list[str]:
    """The command that the entry point ends up with."""
    for name in ("torchserve", "sleep"):
        (folder / name).write_text('#!/bin/sh\necho "${0##*/}" "$@"\n')
        (folder / name).chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", IMAGE / "entrypoint.sh", *words],
        env={"PATH": f"{folder}:/usr/bin:/bin"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("words", "command"),
    [
        ((), f"{SERVE} --foreground"),
        (("serve",), f"{SERVE} --foreground"),
        (("serve", "--models", "all"), f"{SERVE} --models all --foreground"),
        (
            ("torchserve", "--start", "--models", "a=a.mar", "b.mar"),
            "torchserve --start --models a=a.mar b.mar --foreground",
        ),
        (("torchserve", "--start", "--foreground", "--ncs"), "torchserve --start --foreground --ncs"),
        (
            ("torchserve --start --model-store model-store",),
            "torchserve --start --model-store model-store --foreground",
        ),
        (("torchserve --start --models *.mar",), "torchserve --start --models *.mar --foreground"),
        (("torchserve",), "torchserve --foreground"),
        (("torchserve", "--version"), "torchserve --version"),
        (("torchserve", "models", "list"), "torchserve models list"),
        (("echo", "torchserve", "--start"), "torchserve --start"),
    ],
)
def test_the_words_of_torchserves_image_stay_in_the_foreground(
    tmp_path: Path, words: tuple[str, ...], command: str
) -> None:
    assert started(tmp_path, *words) == [command]


def test_a_line_of_the_shell_is_run_and_what_it_started_stays(tmp_path: Path) -> None:
    assert started(tmp_path, "torchserve --start && echo up") == ["torchserve --start", "up", "sleep infinity"]


def test_the_images_ports_are_those_of_its_configuration() -> None:
    found = read_configuration(IMAGE / "config.properties", (), {}).check()
    assert [each.message for each in found.findings] == []
    settings = found.settings
    places = (*settings.inference_addresses, *settings.management_addresses, settings.metrics_address)
    assert all(each.everywhere for each in places)
    (exposed,) = re.findall(r"^EXPOSE (.*)$", (IMAGE / "Dockerfile").read_text(), re.MULTILINE)
    assert sorted(map(int, exposed.split())) == sorted({each.port for each in places})
    assert settings.model_store == Path("/home/model-server/model-store")
    assert settings.drain_timeout > 3 * 5, "a container that drains is not yet unhealthy"


def test_a_bill_of_materials_can_be_made_of_the_package() -> None:
    """A comma in a label ends it where metadata are read, and what follows is no URL: tools refuse the package."""
    labels = tomllib.loads((IMAGE.parents[1] / "pyproject.toml").read_text())["project"]["urls"]
    assert [label for label in labels if "," in label] == []


def test_the_image_copies_what_is_there() -> None:
    text = (IMAGE / "Dockerfile").read_text()
    for source in re.findall(r"^COPY (?:--chmod=\d+ )?(deploy/\S+)", text, re.MULTILINE):
        assert (IMAGE.parents[1] / source).is_file()
    ignored = (IMAGE.parents[1] / ".dockerignore").read_text().split()
    assert not {"deploy", "core", "http", "cli", "pyproject.toml"} & set(ignored)
