"""What all rivals serve: the workload's handler, and the batching that its archive asks TorchServe for."""

from __future__ import annotations

import importlib.util
import os
from typing import Any

BATCH = int(os.environ["RIVAL_BATCH"])
MILLISECONDS = int(os.environ["RIVAL_DELAY_MS"])


def make_handler() -> Any:
    """An instance of the only class in the file $RIVAL_HANDLER, initialized."""
    spec = importlib.util.spec_from_file_location("rival_handler", os.environ["RIVAL_HANDLER"])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (kind,) = (value for value in vars(module).values() if isinstance(value, type))
    handler = kind()
    handler.initialize(None)
    return handler
