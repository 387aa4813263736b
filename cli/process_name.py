"""The name by which programs find TorchServe among a machine's processes: the class that its JVM was started with.

SageMaker's toolkit looks for it as a word of its own in a process's command line, and takes exactly one such process
for the server; health checks search for it with pgrep. Here it is an option of the interpreter (`-X`) without effect.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from .first_process import stand_by

TS_NAMESPACE = "org.pytorch.serve.ModelServer"

_OTHER_COMMANDS = frozenset({"--stop", "--version", "-v", "--help", "-h"})


def named_command(arguments: Sequence[str]) -> list[str]:
    """Return the command of a server process.

    With -P the working folder is not on its module path: a token.py or logging.py there would be taken for the standard
    library's.
    """
    return [sys.executable, "-P", "-X", TS_NAMESPACE, "-m", "torchserve.cli.main", *arguments]


def take_name(arguments: Sequence[str]) -> None:
    """Execute this process's own command anew under the server's name, if these arguments start one in the foreground.

    It keeps its pid, its descriptors and the options of its interpreter. Costs some 50 ms of the start. The first
    process of a container stays as it is, and has the server as its child.
    """
    first = os.getpid() == 1
    stays = "--foreground" in arguments or first
    starts = all(word.startswith("-") for word in arguments[:1]) and not _OTHER_COMMANDS.intersection(arguments)
    if not (stays and starts) or TS_NAMESPACE in sys.orig_argv:
        return
    command = [sys.orig_argv[0], "-X", TS_NAMESPACE, *sys.orig_argv[1:]]
    if first:
        stand_by([*command, *(() if "--foreground" in arguments else ("--foreground",))])
    os.execv(sys.executable, command)  # noqa: S606
