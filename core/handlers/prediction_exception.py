"""PredictionException, with which a handler chooses the status and message that its batch is answered."""

from __future__ import annotations


class PredictionException(Exception):
    """Fails the whole batch: every request of it is answered `message` with the HTTP status `error_code`."""

    def __init__(self, message: str, error_code: int = 500) -> None:
        self.message = message
        self.error_code = error_code
        super().__init__(message)

    def __str__(self) -> str:
        return f"{self.message} : {self.error_code}"
