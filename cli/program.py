"""The program `torchserve`: what it does before the command line is read.

A server takes its name, which executes the process anew. That is done here, before click and the command are imported,
so that they are imported once.
"""

from __future__ import annotations

import sys
from importlib import import_module

from .inherited import settle
from .process_name import take_name


def run() -> None:
    """Run the command `torchserve` with the words of its command line."""
    settle()
    take_name(sys.argv[1:])
    import_module(".main", __package__).main()  # as subcommands are imported: late, and `main` is a program, too
