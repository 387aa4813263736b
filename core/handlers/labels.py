"""Labels of classes: reads index_to_name.json, and maps probabilities to labels."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

log = logging.getLogger(__name__)


def load_label_mapping(mapping_file_path: str) -> dict[str, str] | None:
    """Return the map from class index (as text) to label, or None if there is no file.

    The label of an entry that is a list, such as ["n01440764", "tench"], is the last item. Raises ValueError, which
    names the file, if the file holds anything else.
    """
    path = Path(mapping_file_path)
    if not path.is_file():
        log.warning("%r is missing. Inference output will not include class name.", mapping_file_path)
        return None
    mapping = json.loads(path.read_bytes())
    if not isinstance(mapping, dict):
        raise ValueError(f'{mapping_file_path}: index->name JSON mapping should be in "class": "label" format.')  # noqa: TRY004
    names = mapping.get("object_type_names")
    if isinstance(names, list):  # the older format of TorchServe's object detection
        mapping = {str(index): name for index, name in enumerate(names)}
    labels: dict[str, str] = {}
    for key, value in mapping.items():
        label = value[-1] if isinstance(value, list) and value else value
        if not isinstance(label, str):
            raise ValueError(  # noqa: TRY004  the file is wrong, not the argument
                f"{mapping_file_path}: labels in index->name mapping must be either str or List[str],"
                f" {key!r} has {value!r}"
            )
        labels[key] = label
    return labels


def map_class_to_label(
    probs: Sequence[Sequence[float]],
    mapping: Mapping[str, str] | None = None,
    lbl_classes: Sequence[Sequence[int]] | None = None,
) -> list[dict[str, float]]:
    """Return {label: probability} for each row of `probs`.

    `lbl_classes` holds each probability's class index, which is its position by default. Without a mapping the label is
    the class index as text. Raises KeyError for a class that the mapping lacks, and TypeError for a mapping that is no
    dict.
    """
    if mapping is not None and not isinstance(mapping, Mapping):
        raise TypeError("Mapping must be a dict")
    rows: list[dict[str, float]] = []
    for position, row in enumerate(probs):
        classes = lbl_classes[position] if lbl_classes is not None else range(len(row))
        keys = [str(index) for index in classes]
        rows.append(dict(zip((mapping[key] for key in keys) if mapping is not None else keys, row, strict=True)))
    return rows
