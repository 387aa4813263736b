"""Print the installed version of all that `torchserve[dev,bench]` needs, as constraints for pip: `make constraints`."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Requirement("torchserve[dev,bench]")


def closure(root: Requirement) -> dict[str, str]:
    """Return the public versions of the packages that `root` needs on this machine, without `root` itself."""
    found: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(root, extra) for extra in ("", *root.extras)]
    while waiting:
        wanted, extra = waiting.pop()
        name = canonicalize_name(wanted.name)
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            installed = distribution(name)
        except PackageNotFoundError:
            continue
        found[name] = Version(installed.version).public
        for line in installed.requires or ():
            need = Requirement(line)
            if need.marker is None or need.marker.evaluate({"extra": extra}):
                waiting += [(need, each) for each in ("", *need.extras)]
    del found[canonicalize_name(root.name)]
    return found


if __name__ == "__main__":
    sys.stdout.write("# Made by `make constraints`: the versions that `make check` passed with.\n")
    sys.stdout.writelines(f"{name}=={version}\n" for name, version in sorted(closure(ROOT).items()))
