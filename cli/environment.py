"""What the dump of the configuration at a start says about the machine and its folders."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from ..core.config.dump import Surroundings
from ..core.container_limits import whole_cores
from ..core.logs.plan import log_folder, metrics_folder
from ..core.version import __version__


def describe_environment(config_file: Path | None, gpus: int) -> Surroundings:
    """Return the versions, folders and processors of this process. `gpus` is the number of GPUs that workers may be
    placed on.
    """
    return Surroundings(
        version=__version__,
        home=Path(__file__).resolve().parents[1],
        working_folder=Path.cwd(),
        temp=Path(tempfile.gettempdir()),
        gpus=gpus,
        cpus=whole_cores(),
        python=sys.executable,
        config_file=config_file,
        logs=log_folder(),
        metrics=metrics_folder(),
    )
