"""The exception with which a handler chooses the status and message of the response."""

from __future__ import annotations


class PredictionException(Exception):
    """An error that fails the whole batch: each request is answered `message` with HTTP status `error_code`.

    Returned in the place of a request's result instead of raised, it is the answer to that request alone.
    """

    def __init__(self, message: str, error_code: int = 500) -> None:
        self.message = message
        self.error_code = error_code
        super().__init__(message)

    def __str__(self) -> str:
        return f"{self.message} : {self.error_code}"
