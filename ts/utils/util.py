"""What handlers import from ts.utils.util."""

from torchserve.core.handlers.classes import list_classes_from_module
from torchserve.core.handlers.labels import load_label_mapping, map_class_to_label
from torchserve.core.handlers.prediction_exception import PredictionException
from torchserve.core.handlers.yaml_config import get_yaml_config

__all__ = [
    "PredictionException",
    "get_yaml_config",
    "list_classes_from_module",
    "load_label_mapping",
    "map_class_to_label",
]
