"""The model's yaml as a dict, read by a safe loader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..bounded_yaml import load_yaml


def get_yaml_config(yaml_file_path: str) -> dict[str, Any]:
    """Return the file's mapping, {} for an empty file.

    Raises OSError; yaml.YAMLError; ValueError when it isn't a mapping, or costs more than a model's YAML may.
    """
    config = load_yaml(Path(yaml_file_path).read_bytes())
    if config is None:
        return {}
    if not isinstance(config, dict):
        raise ValueError(f"{yaml_file_path} holds a {type(config).__name__}, expected a mapping")  # noqa: TRY004  the file is wrong, not the argument
    return config
