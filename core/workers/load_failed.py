"""LoadFailed: a failure to start a worker."""

from __future__ import annotations

from ..wire.messages import Failure


class LoadFailed(Exception):
    """A failure to load the model; the traceback, if there is one, is in the model log."""

    def __init__(
        self, message: str, *, out_of_memory: bool = False, brief: str = "", failure: Failure | None = None
    ) -> None:
        """`brief` is the text for the log, which has the traceback already."""
        super().__init__(message)
        self.out_of_memory = out_of_memory
        self.brief = brief or message
        self.failure = failure
