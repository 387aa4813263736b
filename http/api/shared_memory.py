"""The endpoints of Triton's shared memory extensions: regions of system shared memory, and none of CUDA's.

A client sees and changes the regions of its own user alone. None of CUDA's can be registered, so that there are none to
list or to remove: clients that clean up before they begin are not stopped by that.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ...core.errors import BadRequest
from ...core.oip.regions import Regions
from ...core.payload import Reply
from ..app_context import AppContext
from ..message.reply import json_reply
from ..message.request import Request
from ..shared_memory import switched_on, user_of
from .open_inference import json_parameters

NO_CUDA = "CUDA shared memory is not supported: send tensors in binary form, or use system shared memory."


class SystemSharedMemory:
    """The endpoints of a listener, of whose requests the tensors may lie in `regions`, if there are any."""

    def __init__(self, regions: Regions | None) -> None:
        self._regions = regions

    def status(self, _context: AppContext, request: Request) -> Reply:
        """Answer GET /v2/systemsharedmemory[/region/{region}]/status: the client's regions."""
        regions, user = self._of(request)
        return json_reply([asdict(each) for each in regions.status(user, request.params.get("region", ""))])

    def register(self, context: AppContext, request: Request) -> Reply:
        """Answer POST /v2/systemsharedmemory/region/{region}/register: open a part of a shared memory."""
        regions, user = self._of(request)
        given = json_parameters(context, request)
        key = given.get("key")
        if not isinstance(key, str):
            raise BadRequest("The JSON body needs key, the name of a shared memory as shm_open takes it.")
        offset, size = _number(given, "offset", 0), _number(given, "byte_size", None)
        regions.register(user, request.params["region"], key, offset, size)
        return json_reply({})

    def unregister(self, _context: AppContext, request: Request) -> Reply:
        """Answer POST /v2/systemsharedmemory[/region/{region}]/unregister: forget a region, or all of the client's."""
        regions, user = self._of(request)
        regions.unregister(user, request.params.get("region", ""))
        return json_reply({})

    def _of(self, request: Request) -> tuple[Regions, int]:
        regions = switched_on(self._regions)
        head = request.head
        fields = {} if head is None else {name.lower(): value for name, value in head.headers().items()}
        return regions, user_of(None if head is None else head.peer, fields)


def cuda_status(_context: AppContext, _request: Request) -> Reply:
    """Answer GET /v2/cudasharedmemory/status: there are no regions."""
    return json_reply([])


def cuda_unregister(_context: AppContext, _request: Request) -> Reply:
    """Answer POST /v2/cudasharedmemory[/region/{region}]/unregister: there is nothing to forget."""
    return json_reply({})


def cuda(_context: AppContext, _request: Request) -> Reply:
    """Answer anything else below /v2/cudasharedmemory: refuse it."""
    raise BadRequest(NO_CUDA)


def _number(given: dict[str, Any], name: str, default: int | None) -> int:
    value = given.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadRequest(f"The JSON body needs {name}, a number of bytes, not {str(value)[:40]!r}.")
    return value
