"""verdict(): what an exception of a handler answers: TorchServe's status and text, and a description for its author."""

from __future__ import annotations

import logging

from ..handlers.prediction_exception import PredictionException
from ..wire.messages import Failure, Load
from .failure import describe, detail, failure_of, out_of_memory, print_traceback, sendable, text_of, where
from .outputs import InvalidOutput, UnsupportedOutput, http_status

log = logging.getLogger(__name__)


def verdict(error: BaseException, load: Load, fault: str = "") -> tuple[int, str, Failure | None]:
    """Return status, text and, unless the handler meant to fail, the description for its author.

    `fault` is what has killed the device context, if that is dead. Never raises, whatever the exception's own methods
    do.
    """
    code, message = _status_and_text(error, load.model_name)
    if fault:
        message = f"The device context of this process is dead after {fault}"
        return 500, message, failure_of(error, load.model_dir)
    if isinstance(error, PredictionException):
        return code, message, None
    if isinstance(error, InvalidOutput):
        return code, message, Failure("InvalidOutput", sendable(f"{error}: {error.reason}"))
    failure = failure_of(error, load.model_dir)
    if load.errors_in_response:
        message = f"{message}: {describe(error)}{where(failure)}\n{failure.traceback}"
    return code, message, failure


def _status_and_text(error: BaseException, model: str) -> tuple[int, str]:
    if isinstance(error, InvalidOutput):
        log.warning("model: %s, %s: %s.", model, error, error.reason)
        return 503, str(error)
    if isinstance(error, UnsupportedOutput):
        log.warning("model: %s, unable to serialize model output, %s", model, error)
        return 503, "Unsupported model output data type."
    print_traceback(detail(error))
    if isinstance(error, PredictionException):
        return http_status(error.error_code), sendable(text_of(error.message))
    if out_of_memory(error):
        return 507, "Out of resources"
    return 503, "Prediction failed"
