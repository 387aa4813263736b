"""The last step of each chart. Needs the extra `bench`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any


def save_figure(figure: Any, axes: Iterable[Any], title: str, file: Path) -> Path:
    """Add grid, legend and title, save the figure as `file`, and close it."""
    from matplotlib import pyplot

    for axis in axes:
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    figure.suptitle(title)
    figure.tight_layout()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Software": None})
    pyplot.close(figure)
    return file
