"""The program `torchserve`: what it does before it reads its command line.

The command and the settings take a fifth of a second to import. What needs nothing of them is done first: the process
takes its name, which executes it anew, and a server starts the process that imports torch.
"""

from __future__ import annotations

import sys
from importlib import import_module

from .inherited import settle
from .process_name import CONSOLE, REPORT_FD, TS_NAMESPACE, take_name


def run() -> None:
    """Run the command `torchserve` with the words of its command line."""
    settle()
    take_name(sys.argv[1:])
    if TS_NAMESPACE not in sys.orig_argv:
        _main()
        return
    from ..core.workers.process_ahead import end_ahead, start_ahead

    start_ahead(without=(REPORT_FD, CONSOLE))  # this process becomes a server
    try:
        _main()
    finally:
        end_ahead()  # the start has failed before its settings were read


def _main() -> None:
    import_module(".main", __package__).main()  # as subcommands are imported: late, and `main` is a program, too
