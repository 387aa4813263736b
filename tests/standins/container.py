"""A container as strict platforms run them: an unknown user without a home, and all read-only but two folders.

`python container.py FOLDER -- COMMAND ...`, as root, runs COMMAND so; `FOLDER/tmp` and `FOLDER/logs` can be written to.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

UID = 54321
# The interpreter of these tests may lie in a home that others can't read.
_AS_OTHER = [
    "setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--inh-caps=+dac_read_search",
    "--ambient-caps=+dac_read_search", "--",
]  # fmt: skip
_NAMES = ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME", "XDG_CACHE_HOME")
_KEPT = ("/proc", "/dev", "/sys")


@cache
def available() -> bool:
    """Whether this process may make such a container."""
    if os.geteuid() != 0 or not (shutil.which("setpriv") and shutil.which("unshare")):
        return False
    tries = (["unshare", "-m", "mount", "--make-rprivate", "/"], [*_AS_OTHER, "true"])
    return all(subprocess.run(each, capture_output=True, check=False).returncode == 0 for each in tries)


def contained(folder: Path, command: Sequence[str]) -> list[str]:
    """The command that runs `command` in such a container."""
    for name in ("tmp", "logs"):
        (folder / name).mkdir(exist_ok=True)
        os.chown(folder / name, UID, UID)
    return ["unshare", "-m", sys.executable, "-P", __file__, str(folder), "--", *command]


def _lock(folder: str) -> None:
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    for name in ("tmp", "logs"):
        subprocess.run(["mount", "--bind", f"{folder}/{name}", f"{folder}/{name}"], check=True)
    places = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for place in places:
        if not place.startswith((folder, *_KEPT)):
            subprocess.run(["mount", "-o", "remount,ro,bind", place], check=False, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    _lock(sys.argv[1])
    environment = {name: value for name, value in os.environ.items() if name not in _NAMES}
    os.execvpe(_AS_OTHER[0], [*_AS_OTHER, *sys.argv[3:]], environment)
