"""Every error the server answers with, as one tree. No status codes: each front door owns its own table.

An error says what happened, to which model, version and worker, why, and what to do about it. `kind` is what a front
door without a finer entry goes by.
"""

from __future__ import annotations

from typing import ClassVar, Literal

Kind = Literal["not_found", "invalid", "conflict", "denied", "too_large", "overloaded", "expired", "broken"]

# ServeError
# ├── NotFound ─────── ModelNotFound, VersionNotFound (DefaultNotFound), ArchiveNotFound, RouteNotFound
# ├── Invalid ──────── BadRequest, InvalidArchive, PackagesFailed, DownloadFailed, InvalidConfig
# ├── Conflict ─────── AlreadyRegistered, ArchiveExists, DefaultVersionInUse
# ├── Denied ───────── MethodNotAllowed, InvalidKey, ForeignSite
# ├── TooLarge
# ├── Overloaded ───── QueueFull (ServerFull), NoWorker, Draining, NotInTime
# ├── Expired ──────── SlowRequest, RequestExpired
# └── Broken ───────── HandlerFailed, WorkerDied, WorkersFailed


class ServeError(Exception):
    """Base of the tree; `message` is what the client reads."""

    kind: ClassVar[Kind] = "broken"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class NotFound(ServeError):
    kind = "not_found"


class ModelNotFound(NotFound):
    def __init__(self, model: str) -> None:
        super().__init__(f"Model not found: {model}")


class VersionNotFound(NotFound):
    def __init__(self, model: str, version: str) -> None:
        super().__init__(f"Model version: {version} does not exist for model: {model}")


class DefaultNotFound(VersionNotFound):
    """The same of a version that is to become the default, in TorchServe's words for it."""

    def __init__(self, model: str, version: str) -> None:
        NotFound.__init__(self, f"Model version {version} does not exist for model {model}")


class ArchiveNotFound(NotFound):
    """The url of a registration names nothing that may be read."""


class RouteNotFound(NotFound):
    def __init__(self) -> None:
        super().__init__("Requested resource is not found, please refer to API document.")


class Invalid(ServeError):
    kind = "invalid"


class BadRequest(Invalid):
    """A parameter, body or header that can't be understood."""


class InvalidArchive(Invalid):
    """An archive that is corrupt, hostile or incomplete; the text names the file and the cause."""


class PackagesFailed(Invalid):
    """The Python packages of a model could not be installed; the text has all that pip said."""


class DownloadFailed(Invalid):
    """The archive's url was allowed and could not be fetched."""


class InvalidConfig(Invalid):
    """A setting the server can't start with; the text names the key, the value and where it came from."""


class Conflict(ServeError):
    kind = "conflict"


class AlreadyRegistered(Conflict):
    def __init__(self, model: str, version: str) -> None:
        super().__init__(f"Model version {version} is already registered for model {model}")


class ArchiveExists(Conflict):
    """A download would overwrite a file of the model store."""


class DefaultVersionInUse(Conflict):
    def __init__(self, model: str) -> None:
        super().__init__(f"Cannot remove default version for model {model}")


class Denied(ServeError):
    kind = "denied"


class MethodNotAllowed(Denied):
    def __init__(self) -> None:
        super().__init__("Requested method is not allowed, please refer to API document.")


class InvalidKey(Denied):
    """The request has no key that opens what it asks for."""


class ForeignSite(Denied):
    """A web page of another server may be behind the request; the text names the setting that would let it."""


class TooLarge(ServeError):
    kind = "too_large"


class Overloaded(ServeError):
    """A refusal of what the server can't take on now.

    `retry_after` is in how many seconds the same request may be taken, if the cause passes by itself, and else None.
    """

    kind = "overloaded"

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class QueueFull(Overloaded):
    """The model's job queue is at `job_queue_size`."""


class ServerFull(QueueFull):
    """The bodies of all requests that the server has taken on are at `max_pending_bytes`."""


class NoWorker(Overloaded):
    """The model has no worker that serves, or could soon."""


class NoTicket(NoWorker):
    """The model takes only what a worker is free for (useJobTicket), and none is."""


class NotInTime(Overloaded):
    """The answer would come after the request's deadline."""


class Draining(Overloaded):
    """The server or the model version is shutting down and takes no new work."""


class Expired(ServeError):
    kind = "expired"


class SlowRequest(Expired):
    """The client sent its body too slowly."""


class RequestExpired(Expired):
    """The request waited in the queue for longer than its client, or clientTimeoutInMills, allows."""


class Broken(ServeError):
    kind = "broken"


class HandlerFailed(Broken):
    """The handler raised or broke its contract. `status` is the HTTP status that the handler contract assigns."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class WorkerDied(Broken):
    """The backend process ended, hung or broke the protocol while it ran this request's batch."""

    def __init__(self, message: str, *, out_of_memory: bool = False) -> None:
        super().__init__(message)
        self.out_of_memory = out_of_memory


class WorkersFailed(Broken):
    """Workers could not be started for a model. `brief` is what the log says, where their errors stand already."""

    def __init__(self, message: str, *, out_of_memory: bool = False, brief: str = "") -> None:
        super().__init__(message)
        self.out_of_memory = out_of_memory
        self.brief = brief or message
