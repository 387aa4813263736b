"""The import of captum.attr (extra `explain`), which happens only when an explanation is asked for."""

from __future__ import annotations

import importlib
from typing import Any

from .prediction_exception import PredictionException


def captum_attr() -> Any:
    """Return the module captum.attr. Raises PredictionException (501) if captum is not installed."""
    try:
        return importlib.import_module("captum.attr")
    except ModuleNotFoundError as error:
        text = f"explanations need captum, which this server lacks (pip install captum): {error}"
        raise PredictionException(text, 501) from error
