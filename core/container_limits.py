"""What this process may use of the machine: its cores by affinity and control groups, and its memory by control groups.

Each group on the way from the process's own up to the root may set a limit, and the lowest one is in force. Docker,
Kubernetes, systemd and Slurm set theirs at different places of that way, in version 1 (a hierarchy for each
controller) or 2 (one for all). Where the hierarchies are mounted, and which part of them, is in /proc/self/mountinfo;
which group is the process's own is in /proc/self/cgroup. All functions block while a few such files are read.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

T = TypeVar("T")

PROC = Path("/proc/self")
_USUAL = Path("/sys/fs/cgroup")  # where /proc is hidden
_NO_LIMIT = 1 << 60  # bytes; version 1 writes about 2^63 for "none"
_DEEPEST = 64  # groups on the way that are looked at


@dataclass(frozen=True, slots=True)
class MemoryLimit:
    """A control group's memory limit, and the bytes in use there less those that the kernel takes back first: of files
    that were not read lately.
    """

    limit: int
    used: int


def available_cores(proc: Path = PROC) -> float:
    """Return the cores that this process may use, by its affinity and the quotas of its control groups; maybe a
    fraction.
    """
    try:
        cores = float(len(os.sched_getaffinity(0)))
    except OSError:  # a sandbox refuses
        cores = float(os.cpu_count() or 1)
    return min([cores, *_values(proc, "cpu", _quota)])


def whole_cores(proc: Path = PROC) -> int:
    """Return `available_cores` rounded up: what Java, and so TorchServe, takes for the number of processors."""
    return math.ceil(available_cores(proc))


def memory_limit(proc: Path = PROC) -> MemoryLimit | None:
    """Return the lowest memory limit of this process's control groups, or None if there is none."""
    return min(_values(proc, "memory", _memory), key=lambda found: found.limit, default=None)


def parse_quota(text: str) -> float:
    """Return the cores in the text of cpu.max: `200000 100000` is 2, `max 100000` is no limit. Raises ValueError."""
    quota, _, period = text.partition(" ")
    if quota == "max":
        return math.inf
    cores = int(quota) / int(period) if int(period) else 0.0
    if cores <= 0:
        raise ValueError(f"not a CPU quota: {text!r}")
    return cores


def _quota(group: Path, version: int) -> float:
    if version == 2:
        return parse_quota((group / "cpu.max").read_text())
    quota, period = ((group / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
    return math.inf if quota == "-1" else parse_quota(f"{quota} {period}")


def _memory(group: Path, version: int) -> MemoryLimit:
    limit, used, idle = (
        ("memory.max", "memory.current", "inactive_file")
        if version == 2
        else ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    )
    most = int((group / limit).read_text())  # `max` is a ValueError, too
    if most >= _NO_LIMIT:
        raise ValueError("no limit")
    found = re.search(rf"^{idle} (\d+)$", (group / "memory.stat").read_text(), re.MULTILINE)
    return MemoryLimit(most, max(int((group / used).read_text()) - int(found[1] if found else 0), 0))


def _values(proc: Path, controller: str, read: Callable[[Path, int], T]) -> list[T]:
    """Return what `read` returns for each group on the way up that has a limit of that controller."""
    values: list[T] = []
    for group, version in _groups(proc, controller):
        with suppress(OSError, ValueError):  # the root has no such files, and many groups no limit
            values.append(read(group, version))
    return values


def _groups(proc: Path, controller: str) -> Iterator[tuple[Path, int]]:
    """Yield the folders of this process's groups, from its own up to the mounted one, and the version of each."""
    try:
        own, mounts = (proc / "cgroup").read_text(), (proc / "mountinfo").read_text()
    except (OSError, ValueError):
        yield from ((_USUAL, 2), (_USUAL / controller, 1))
        return
    paths = _own_groups(own)
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(" "), after.split(" ")
        if len(fields) < 5 or len(kind) < 3:
            continue
        if kind[0] == "cgroup2":
            version, path = 2, paths.get("")
        elif kind[0] == "cgroup" and controller in kind[2].split(","):
            version, path = 1, paths.get(controller)
        else:
            continue
        if path is not None:
            root, mounted = map(_unescaped, fields[3:5])
            yield from ((folder, version) for folder in _way_up(Path(mounted), root, path))


def _own_groups(text: str) -> dict[str, str]:
    """Return the path of this process's group by controller; "" is version 2, of all controllers."""
    paths: dict[str, str] = {}
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        controllers, found, path = rest.partition(":")
        if found:
            paths |= dict.fromkeys(controllers.split(","), path)
    return paths


def _way_up(mounted: Path, root: str, path: str) -> Iterator[Path]:
    """Yield the folder of the group `path` and those above it, up to `mounted`, where the group `root` is seen.

    A container sees its own group there, whatever path the host has for it.
    """
    parts: tuple[str, ...] = ()
    with suppress(ValueError):
        parts = PurePosixPath(path).relative_to(root).parts
    if ".." in parts:
        parts = ()
    for length in range(min(len(parts), _DEEPEST), -1, -1):
        yield mounted.joinpath(*parts[:length])


def _unescaped(text: str) -> str:
    """Return a path of mountinfo, where a space is `\\040`."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
