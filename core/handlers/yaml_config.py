"""The model's yaml as a dict, read by a safe loader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


def get_yaml_config(yaml_file_path: str) -> dict[str, Any]:
    """Return the mapping in the file, {} for an empty file. Raises OSError, yaml.YAMLError, and ValueError for no
    mapping.
    """
    config = yaml.load(Path(yaml_file_path).read_bytes(), Loader=yaml.CSafeLoader)
    if config is None:
        return {}
    if not isinstance(config, dict):
        raise ValueError(f"{yaml_file_path} holds a {type(config).__name__}, expected a mapping")  # noqa: TRY004  the file is wrong, not the argument
    return config
