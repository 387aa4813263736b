"""get_yaml_config, the model's own YAML as a dict, by a safe loader."""

from __future__ import annotations

from typing import Any

import yaml

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def get_yaml_config(yaml_file_path: str) -> dict[str, Any]:
    """The file's mapping, {} for an empty file. Raises OSError, yaml.YAMLError, ValueError when it isn't a mapping."""
    with open(yaml_file_path, encoding="utf-8") as file:
        config = yaml.load(file, Loader=_LOADER)
    if config is None:
        return {}
    if not isinstance(config, dict):
        raise ValueError(f"{yaml_file_path} holds a {type(config).__name__}, expected a mapping")  # noqa: TRY004  the file is wrong, not the argument
    return config
