"""torchrun as a child of the front: `python -m torchserve.core.backend.agent PARENT_PID OPTIONS…`.

Like every backend, it dies with the process that started it, and its ranks die with it.
"""

from __future__ import annotations

import sys

from torch.distributed.run import main as torchrun

from .parent_death import die_with_parent

if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    torchrun(sys.argv[2:])
