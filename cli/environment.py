"""What a start finds out about its machine and folders, for the dump of the configuration."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from ..core.config.dump import Surroundings
from ..core.logs.plan import log_folder, metrics_folder
from ..core.version import __version__


def describe_environment(config_file: Path | None, gpus: int) -> Surroundings:
    """`gpus`: how many workers may be placed on."""
    return Surroundings(
        version=__version__,
        home=Path(__file__).resolve().parents[1],
        working_folder=Path.cwd(),
        temp=Path(tempfile.gettempdir()),
        gpus=gpus,
        cpus=os.cpu_count() or 1,
        python=sys.executable,
        config_file=config_file,
        logs=log_folder(),
        metrics=metrics_folder(),
    )
