"""What a process may use of its machine: trees of control groups as Docker, Kubernetes, systemd and Slurm lay them."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.container_limits import (
    MemoryLimit,
    available_cores,
    memory_limit,
    parse_quota,
    whole_cores,
)

CORES = len(os.sched_getaffinity(0))
GIB = 1 << 30
NONE = "9223372036854771712"  # what version 1 writes where there is no limit


@dataclass
class Machine:
    """A /proc/self and a tree of control groups."""

    folder: Path
    mounts: list[str] = field(default_factory=lambda: ["22 1 0:20 / /proc rw - proc proc rw"])

    @property
    def proc(self) -> Path:
        return self.folder / "proc"

    def mount(self, kind: str, place: str, root: str = "/", options: str = "rw") -> Path:
        """Mount a hierarchy, of which `root` and below is seen."""
        folder = self.folder / place
        folder.mkdir(parents=True, exist_ok=True)
        written = str(folder).replace(" ", "\\040")
        self.mounts.append(f"32 31 0:29 {root} {written} rw,relatime shared:9 - {kind} {kind} {options}")
        return folder

    def own(self, *lines: str) -> Machine:
        """Say which groups are the process's own, as /proc/self/cgroup does."""
        self.proc.mkdir()
        (self.proc / "cgroup").write_text("".join(f"{line}\n" for line in lines))
        (self.proc / "mountinfo").write_text("".join(f"{line}\n" for line in self.mounts))
        return self


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def quota(group: Path, cores: float | None) -> None:
    """Set a quota in both versions' files; a hierarchy has those of its own only."""
    group.mkdir(parents=True, exist_ok=True)
    if "v1" in group.parts:
        (group / "cpu.cfs_quota_us").write_text("-1\n" if cores is None else f"{round(cores * 100_000)}\n")
        (group / "cpu.cfs_period_us").write_text("100000\n")
    else:
        (group / "cpu.max").write_text("max 100000\n" if cores is None else f"{round(cores * 100_000)} 100000\n")


def memory(group: Path, limit: str, used: int, idle: int) -> None:
    group.mkdir(parents=True, exist_ok=True)
    if "v1" in group.parts:
        (group / "memory.limit_in_bytes").write_text(f"{limit}\n")
        (group / "memory.usage_in_bytes").write_text(f"{used}\n")
        (group / "memory.stat").write_text(f"cache 5\ninactive_file 1\ntotal_inactive_file {idle}\n")
    else:
        (group / "memory.max").write_text(f"{limit}\n")
        (group / "memory.current").write_text(f"{used}\n")
        (group / "memory.stat").write_text(f"anon 7\ninactive_file {idle}\nactive_file 3\n")


@pytest.mark.parametrize("tight", ["", "kubepods", "kubepods/pod", "kubepods/pod/container"])
def test_a_quota_anywhere_on_the_way_up_counts(machine: Machine, tight: str) -> None:
    top = machine.mount("cgroup2", "cgroup")
    for group in ("kubepods", "kubepods/pod", "kubepods/pod/container"):
        quota(top / group, 0.5 if group == tight else None)
    machine.own("0::/kubepods/pod/container")
    assert available_cores(machine.proc) == (0.5 if tight else CORES)
    assert whole_cores(machine.proc) == (1 if tight else CORES)


def test_the_lowest_of_several_counts(machine: Machine) -> None:
    top = machine.mount("cgroup2", "cgroup")
    for group, cores in (("a", 0.75), ("a/b", 0.25), ("a/b/c", 0.5), ("a/b/c/below", 0.1), ("beside", 0.1)):
        quota(top / group, cores)
    machine.own("0::/a/b/c")
    assert available_cores(machine.proc) == 0.25


@pytest.mark.parametrize("place", ["v1/cpu,cpuacct", "v1/cpu and more"])
def test_version_1_has_a_hierarchy_for_each_controller(machine: Machine, place: str) -> None:
    quota(machine.mount("cgroup", place, options="rw,cpu,cpuacct") / "docker" / "id", 0.5)
    quota(machine.mount("cgroup", "v1/cpuset", options="rw,cpuset") / "docker" / "id", 0.1)
    machine.mount("cgroup2", "v1/unified")
    machine.own("4:cpu,cpuacct:/docker/id", "3:cpuset:/docker/id", "1:name=systemd:/docker/id", "0::/")
    assert available_cores(machine.proc) == 0.5


@pytest.mark.parametrize(
    ("root", "path"),
    [
        ("/docker/id", "/docker/id"),  # Docker with version 1: the host's path, of which the container sees its part
        ("/", "/"),  # a namespace of its own
        ("/../..", "/"),
        ("/", "/../../other"),  # moved there from outside of the namespace
        ("/docker/id", "/system.slice/docker.service"),
    ],
)
def test_a_container_sees_its_own_group_at_the_top(machine: Machine, root: str, path: str) -> None:
    quota(machine.mount("cgroup", "v1/cpu", root, "rw,cpu"), 0.5)
    machine.own(f"4:cpu:{path}", "0::/")
    assert available_cores(machine.proc) == 0.5


@pytest.mark.parametrize("place", ["cgroup", "v1/memory"])
def test_a_memory_limit_anywhere_on_the_way_up_counts(machine: Machine, place: str) -> None:
    first = "v1" in place
    top = machine.mount("cgroup" if first else "cgroup2", place, options="rw,memory")
    memory(top / "slice", str(2 * GIB), 3 << 20, 1 << 20)
    memory(top / "slice" / "job", NONE if first else "max", 1, 0)
    memory(top / "slice" / "job" / "step", str(3 * GIB), 1, 0)
    machine.own("4:memory:/slice/job/step" if first else "0::/slice/job/step")
    assert memory_limit(machine.proc) == MemoryLimit(2 * GIB, 2 << 20)


def test_without_a_limit_there_is_none(machine: Machine) -> None:
    memory(machine.mount("cgroup", "v1/memory", options="rw,memory") / "a", NONE, 1, 0)
    assert memory_limit(machine.own("4:memory:/a", "0::/").proc) is None


@pytest.mark.parametrize("text", ["", "x", "100", "0 100000", "-1 100000", "1 0", "1 x"])
def test_what_is_no_quota_is_passed_over(machine: Machine, text: str) -> None:
    with pytest.raises(ValueError, match=r"quota|invalid literal"):
        parse_quota(text)
    top = machine.mount("cgroup2", "cgroup")
    quota(top / "a" / "b", 0.5)
    (top / "a" / "cpu.max").write_text(text)
    assert available_cores(machine.own("0::/a/b").proc) == 0.5


@pytest.mark.parametrize(
    ("text", "cores"), [("200000 100000\n", 2.0), ("50000 100000", 0.5), ("max 100000\n", math.inf)]
)
def test_a_quota_is_read(text: str, cores: float) -> None:
    assert parse_quota(text) == cores


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_whatever_proc_says_there_is_an_answer(
    tmp_path_factory: pytest.TempPathFactory, groups: bytes, mounts: bytes
) -> None:
    proc = tmp_path_factory.mktemp("proc")
    (proc / "cgroup").write_bytes(b"0::/a\n4:cpu,memory:" + groups)
    (proc / "mountinfo").write_bytes(b"1 1 0:1 / " + mounts + b" - cgroup2 x rw\n" + mounts)
    assert 0 < available_cores(proc) <= CORES
    assert 1 <= whole_cores(proc) <= CORES
    memory_limit(proc)


def test_without_proc_this_machine_is_looked_at_in_the_usual_place(tmp_path: Path) -> None:
    assert 0 < available_cores(tmp_path / "none") <= CORES


def test_this_machine_has_a_core() -> None:
    assert 0 < available_cores() <= CORES
