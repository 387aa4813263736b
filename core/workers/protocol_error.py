"""WorkerProtocolError: a worker's message can be read, and has no place in the conversation."""

from __future__ import annotations


class WorkerProtocolError(Exception):
    """The worker is ended for it: what it says next could be taken for another batch's answer."""
