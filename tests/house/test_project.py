"""What surrounds the code says what is so: versions, changelog, constraints, workflows, type markers, links."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from torchserve.core.version import __version__

from . import links, navigation
from .tree import FOLDERS, REPO, plant

PROJECT = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
HEADINGS = re.findall(r"^## (.+)$", (REPO / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_the_changelog_has_dated_versions_below_what_is_unreleased() -> None:
    assert HEADINGS[0] == "[Unreleased]"
    released = [re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)", heading) for heading in HEADINGS[1:]]
    assert released
    assert all(released), HEADINGS
    versions = [(Version(found[1]), found[2]) for found in released if found]
    assert versions == sorted(versions, reverse=True)
    assert versions[0][0] == Version(__version__)


def notes(tag: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, REPO / ".ci" / "release_notes.py", tag], capture_output=True, text=True, check=False
    )


def test_a_tag_of_this_version_has_its_notes() -> None:
    done = notes(f"v{__version__}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("### ")
    assert "\n## " not in done.stdout


def test_another_tag_is_no_release() -> None:
    done = notes("v0.0.1")
    assert done.returncode == 1
    assert f"the tag says 0.0.1, and core/version.py {__version__}" in done.stderr


def test_the_constraints_name_each_direct_need_in_a_version_that_it_allows() -> None:
    lines = (REPO / "constraints.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    needs = [Requirement(text) for text in PROJECT["dependencies"]]
    for extra in ("dev", "bench", "vision", "explain", "onnx", "s3", "tls", "train", "docs"):
        needs += [Requirement(text) for text in PROJECT["optional-dependencies"][extra]]
    wrong = [
        f"{need}: {pinned.get(canonicalize_name(need.name))}"
        for need in needs
        if need.name != "torchserve" and not need.specifier.contains(pinned.get(canonicalize_name(need.name), "0"))
    ]
    assert wrong == [], "run `make constraints`"


def test_the_workflow_runs_what_ci_runs_on_each_python_that_the_package_names() -> None:
    workflow = yaml.safe_load((REPO / ".github/workflows/ci.yml").read_text())
    check = workflow["jobs"]["check"]
    assert ".ci/run" in [step.get("run") for step in check["steps"]]
    named = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if re.search(r":: Python :: 3\.\d+$", line)]
    assert check["strategy"]["matrix"]["python"] == named
    assert all(SpecifierSet(PROJECT["requires-python"]).contains(version) for version in named)
    assert (REPO / ".ci/run").read_text().splitlines()[-1] == "make check"


@pytest.mark.parametrize("path", sorted((REPO / ".github").rglob("*.yml")), ids=lambda path: path.name)
def test_forms_and_workflows_are_read(path: Path) -> None:
    assert isinstance(yaml.safe_load(path.read_text()), dict)


@pytest.mark.parametrize("folder", FOLDERS)
def test_its_types_are_for_its_users_too(folder: str) -> None:
    assert (REPO / folder / "py.typed").read_bytes() == b""


def test_each_path_of_the_makefile_is_there() -> None:
    named = re.findall(r"\btests/[\w./]+", (REPO / "Makefile").read_text())
    assert named
    assert [path for path in named if not (REPO / path).exists()] == []


def test_no_link_of_a_page_is_broken() -> None:
    assert links.broken(REPO) == []


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("[a](other.md)", []),
        ("[a](other.md#two-words)", []),
        ("[a](other.md#code-and-more)", []),
        ("[a](https://host/x.md)", []),
        ("```\n[a](nowhere.md)\n```", []),
        ("[a](nowhere.md)", ["page.md: nowhere.md"]),
        ("[a](other.md#three)", ["page.md: other.md#three"]),
        ("[a](#three)", ["page.md: #three"]),
    ],
)
def test_a_planted_link_is_seen(tmp_path: Path, text: str, seen: list[str]) -> None:
    plant(tmp_path, "page.md", f"# Page\n{text}\n")
    plant(tmp_path, "other.md", "# Other\n## Two words\n### `code`, and more\n")
    assert links.broken(tmp_path) == seen


def test_the_navigation_has_each_page() -> None:
    assert navigation.faults(REPO) == []


@pytest.mark.parametrize(
    ("nav", "seen"),
    [
        ("[a.md, {B: [b.md, repository/c.md]}]", []),
        ("[a.md, repository/c.md]", ["docs/b.md: not in the navigation"]),
        ("[a.md, b.md, {Again: a.md}]", ["a.md: named twice"]),
        ("[a.md, b.md, c.md, repository/b.md]", ["c.md: not there", "repository/b.md: not there"]),
    ],
)
def test_a_planted_gap_in_the_navigation_is_seen(tmp_path: Path, nav: str, seen: list[str]) -> None:
    for path in ("docs/a.md", "docs/b.md", "c.md"):
        plant(tmp_path, path, "# Page\n")
    plant(tmp_path, "mkdocs.yml", f"nav: {nav}\n")
    assert navigation.faults(tmp_path) == seen
