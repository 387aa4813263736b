"""captum_attr(): captum.attr (extra `explain`), imported when an explanation is asked for."""

from __future__ import annotations

import importlib
from typing import Any

from .prediction_exception import PredictionException


def captum_attr() -> Any:
    """Raises PredictionException (501) without captum."""
    try:
        return importlib.import_module("captum.attr")
    except ModuleNotFoundError as error:
        text = f"explanations need captum, which this server lacks (pip install captum): {error}"
        raise PredictionException(text, 501) from error
