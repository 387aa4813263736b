"""The errors that the server answers with, as one tree. They have no status codes: each front door has a table of its
own.

A message says what happened, to which model, version and worker, why, and what to do about it. A front door that has no
entry for a class falls back on `kind`.
"""

from __future__ import annotations

from typing import ClassVar, Literal

Kind = Literal["not_found", "invalid", "conflict", "denied", "too_large", "overloaded", "expired", "broken"]

# ServeError
# ├── NotFound ─────── ModelNotFound, VersionNotFound (DefaultNotFound), ArchiveNotFound, RouteNotFound,
# │                    WorkflowNotFound
# ├── Invalid ──────── BadRequest (ContextExceeded), InvalidArchive (InvalidWorkflow, InvalidGraph), PackagesFailed,
# │                    DownloadFailed, InvalidConfig
# ├── Conflict ─────── AlreadyRegistered, ArchiveExists, DefaultVersionInUse, VersionInTraffic, RegionExists,
# │                    WorkflowExists
# ├── Denied ───────── MethodNotAllowed, InvalidKey, ForeignSite, SharedMemoryDenied
# ├── TooLarge
# ├── Overloaded ───── QueueFull (ServerFull), ClientLimited, NoWorker, Draining, NotInTime, CallDeadlock
# ├── Expired ──────── SlowRequest, RequestExpired, GenerationExpired
# └── Broken ───────── HandlerFailed, WorkerDied, WorkersFailed, WorkflowFailed, NodeFailed, CallTooDeep,
#                    NotProfiled


class ServeError(Exception):
    """The base of the tree; `message` is the text for the client."""

    kind: ClassVar[Kind] = "broken"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class NotFound(ServeError):
    kind = "not_found"


class ModelNotFound(NotFound):
    def __init__(self, model: str) -> None:
        super().__init__(f"Model not found: {model}")
        self.model = model


class VersionNotFound(NotFound):
    def __init__(self, model: str, version: str) -> None:
        super().__init__(f"Model version: {version} does not exist for model: {model}")
        self.model, self.version = model, version


class DefaultNotFound(VersionNotFound):
    """A version that is not there and was to become the default, told in TorchServe's words."""

    def __init__(self, model: str, version: str) -> None:
        NotFound.__init__(self, f"Model version {version} does not exist for model {model}")
        self.model, self.version = model, version


class ArchiveNotFound(NotFound):
    """A registration's url that names nothing which may be read."""


class RouteNotFound(NotFound):
    def __init__(self) -> None:
        super().__init__("Requested resource is not found, please refer to API document.")


class WorkflowNotFound(NotFound):
    """A workflow that is not registered, or an archive of one that names nothing which may be read."""


class Invalid(ServeError):
    kind = "invalid"


class BadRequest(Invalid):
    """A parameter, body or header that can't be understood."""


class ContextExceeded(BadRequest):
    """A request for more tokens than the context of a language model has; the text names both numbers."""


class InvalidArchive(Invalid):
    """An archive that is corrupt, hostile or incomplete; the text names the file and the cause."""


class InvalidWorkflow(InvalidArchive):
    """A workflow archive that can't be used; the text names the key of its spec and the cause."""


class InvalidGraph(InvalidArchive):
    """A workflow whose graph has a cycle, no start or several, or an unknown node; the text names the nodes."""


class PackagesFailed(Invalid):
    """A failure to install a model's Python packages; the text has all of pip's output."""


class DownloadFailed(Invalid):
    """A failure to fetch an archive from a url that is allowed."""


class InvalidConfig(Invalid):
    """A setting that the server can't start with; the text names the key, the value and its origin."""


class Conflict(ServeError):
    kind = "conflict"


class AlreadyRegistered(Conflict):
    def __init__(self, model: str, version: str) -> None:
        super().__init__(f"Model version {version} is already registered for model {model}")


class ArchiveExists(Conflict):
    """A download that would overwrite a file of the model store."""


class DefaultVersionInUse(Conflict):
    def __init__(self, model: str) -> None:
        super().__init__(f"Cannot remove default version for model {model}")


class VersionInTraffic(Conflict):
    def __init__(self, model: str, version: str, share: int) -> None:
        super().__init__(
            f"Version {version} of model {model} answers {share} % of the requests that name no version. Give its share"
            f" to another one first (PUT /models/{model}/traffic), or end the sharing (DELETE)."
        )


class RegionExists(Conflict):
    """A shared memory region under a name that its user has given to another one."""


class WorkflowExists(Conflict):
    def __init__(self, workflow: str) -> None:
        super().__init__(f"Workflow {workflow} is already registered.")


class ProfileRunning(Conflict):
    """A profile of a worker of which one is being taken."""


class Denied(ServeError):
    kind = "denied"


class MethodNotAllowed(Denied):
    def __init__(self) -> None:
        super().__init__("Requested method is not allowed, please refer to API document.")


class InvalidKey(Denied):
    """A request without a key for what it asks for."""


class ForeignSite(Denied):
    """A request that another server's web page may have made; the text names the setting that would allow it."""


class SharedMemoryDenied(Denied):
    """A use of shared memory by a client that may not have it, or where nobody may."""


class TooLarge(ServeError):
    kind = "too_large"


class Overloaded(ServeError):
    """A refusal of a request that the server can't take on now.

    `retry_after` is the seconds after which the same request may succeed, None if the cause does not pass by itself.
    """

    kind = "overloaded"

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class QueueFull(Overloaded):
    """A refusal because the model's job queue holds `job_queue_size` requests."""


class ClientLimited(Overloaded):
    """A refusal because this client has reached one of its limits (client_limits); the text names it."""


class ServerFull(QueueFull):
    """A refusal because the bodies of all accepted requests have reached `max_pending_bytes`."""


class NoWorker(Overloaded):
    """A refusal because the model has no worker that serves, or could soon."""


class NoTicket(NoWorker):
    """A refusal because no worker is free, and the model keeps no queue (useJobTicket)."""


class NotInTime(Overloaded):
    """A refusal because the answer would come after the request's deadline."""


class Draining(Overloaded):
    """A refusal because the server or the model version is shutting down."""


class CallDeadlock(Overloaded):
    """A refusal of a handler's call to a model all of whose workers wait for the caller; the text names the cycle."""


class Expired(ServeError):
    kind = "expired"


class SlowRequest(Expired):
    """A request whose client sent its body too slowly."""


class RequestExpired(Expired):
    """A request that waited in the queue for longer than its client, or clientTimeoutInMills, allows."""


class GenerationExpired(Expired):
    """A request for text whose first or next token, or whose end, did not come in time."""


class Broken(ServeError):
    kind = "broken"


class HandlerFailed(Broken):
    """A handler that raised or broke its contract. `status` is the HTTP status that this contract assigns."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class WorkerDied(Broken):
    """A backend process that ended, hung or broke the protocol while it ran the request's batch."""

    def __init__(self, message: str, *, out_of_memory: bool = False) -> None:
        super().__init__(message)
        self.out_of_memory = out_of_memory


class WorkersFailed(Broken):
    """A failure to start a model's workers. `brief` is the log's text, since their errors have been logged already."""

    def __init__(self, message: str, *, out_of_memory: bool = False, brief: str = "") -> None:
        super().__init__(message)
        self.out_of_memory = out_of_memory
        self.brief = brief or message


class WorkflowFailed(Broken):
    """A workflow that was not registered, as some of its nodes could not be; the text tells of each."""


class NodeFailed(Broken):
    """A node of a workflow that gave no answer to a request; the text names the node, the cause and the attempts."""


class CallTooDeep(Broken):
    """A handler's call that too many models' handlers have led to, one calling the next; the text names them."""


class NotProfiled(Broken):
    """A profile that was begun and did not become a file; the text says why."""
