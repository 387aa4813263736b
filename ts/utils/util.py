"""Re-exports the names that handlers import from ts.utils.util."""

from torchserve.core.handlers.classes import list_classes_from_module
from torchserve.core.handlers.deprecated import deprecated
from torchserve.core.handlers.labels import load_label_mapping, map_class_to_label
from torchserve.core.handlers.loading.pt2 import PT2Backend, check_valid_pt2_backend
from torchserve.core.handlers.prediction_exception import PredictionException
from torchserve.core.handlers.tokenizer import CLEANUP_REGEX
from torchserve.core.handlers.yaml_config import get_yaml_config

__all__ = [
    "CLEANUP_REGEX",
    "PT2Backend",
    "PredictionException",
    "check_valid_pt2_backend",
    "deprecated",
    "get_yaml_config",
    "list_classes_from_module",
    "load_label_mapping",
    "map_class_to_label",
]
