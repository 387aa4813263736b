"""Functions with which tests of handlers fill a model's folder."""

from __future__ import annotations

import os
import shutil
import tempfile
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from ..trusted_file import check_folder


def copy_files(src_dir: Path, dst_dir: Path, files: Mapping[str, str]) -> None:
    """Copy files of `src_dir` to `dst_dir`. `files` maps each name to its new name."""
    for name, new_name in files.items():
        shutil.copyfile(src_dir / name, dst_dir / new_name)


def download_model(model_url: str, model_dir: Path) -> None:
    """Save the file at `model_url` as model.pt in `model_dir`. Each file is downloaded once and then kept in the
    temporary folder.

    Raises ValueError for a URL that is not http(s), and OSError.
    """
    parts = urlsplit(model_url)
    if parts.scheme not in {"http", "https"}:
        raise ValueError(f"expected an http(s) URL, got {model_url!r}")
    # By user: weights can hold code, and all may write to the temp folder.
    top = Path(tempfile.gettempdir(), f"torchserve-test-models-{os.geteuid()}")
    top.mkdir(mode=0o700, exist_ok=True)
    check_folder(top)
    kept = top / (parts.hostname or "") / Path(parts.path).name
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with (
            urllib.request.urlopen(model_url) as answer,  # noqa: S310  (checked above)
            tempfile.NamedTemporaryFile(dir=kept.parent, delete=False) as file,
        ):
            shutil.copyfileobj(answer, file)
        Path(file.name).replace(kept)
    shutil.copy(kept, model_dir / "model.pt")
