"""What the table of rows is made of: steps, rows, setups. Plain data, frozen, so that a row's text identifies it.

In texts `{home}`, `{inference}`, `{management}`, `{metrics}` (ports) and `{key:inference}` (a token) are filled in when played.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Call:
    """One request; what came back is recorded. `raw` replaces the whole request by these bytes."""

    face: str
    method: str = "GET"
    path: str = "/"
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    raw: bytes = b""
    patience: float = 20.0


@dataclass(frozen=True)
class Background:
    """The same, sent while the next steps are played; `Collect` records its answer."""

    name: str
    call: Call


@dataclass(frozen=True)
class Collect:
    name: str


@dataclass(frozen=True)
class Until:
    """Repeat a call, recording nothing, until its status line and body hold `pattern` (or, with `never`, no longer do)."""

    call: Call
    pattern: str
    never: bool = False


@dataclass(frozen=True)
class Appears:
    """Wait until a file is there in the home folder: the handler's `hold` makes one as it begins."""

    path: str


@dataclass(frozen=True)
class Pause:
    """Let time pass that the row is about."""

    seconds: float


@dataclass(frozen=True)
class Touch:
    """Make a file in the home folder: the handler's `hold` waits for it."""

    path: str
    text: str = ""


@dataclass(frozen=True)
class Lines:
    """Record the lines of a file that match `pattern`, once there are `least`; `pick` keeps that group alone.

    Only the `last` so many count, if that is given.
    """

    file: str
    pattern: str
    least: int = 1
    last: int = 0


@dataclass(frozen=True)
class Files:
    """Record which files match a glob below the home folder."""

    glob: str


@dataclass(frozen=True)
class Scrape:
    """Record the lines of /metrics about families that match `families`, sorted; values only where `exact` matches."""

    families: str
    exact: str = "$^"
    path: str = "/metrics"
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Outline:
    """Record what an OpenAPI document says can be asked: operations, their parameters and statuses, not its prose."""

    call: Call


@dataclass(frozen=True)
class Command:
    """Run a command of the same installation in the home folder; record its exit code and what it printed.

    Of the output only lines matching `keep` are recorded.
    """

    arguments: tuple[str, ...]
    program: str = "torchserve"
    keep: str = "."
    env: tuple[tuple[str, str], ...] = ()
    until: str = ""


@dataclass(frozen=True)
class Rpc:
    """One gRPC call of `method` on a port (grpc, grpc_management); what came back is recorded.

    `method` without a service is one of the port's own. `requests` are the messages, as mappings or as bytes.
    """

    face: str
    method: str
    requests: tuple[Any, ...] = ({},)
    metadata: tuple[tuple[str, str], ...] = ()
    compression: str = ""
    patience: float = 20.0


Step = Rpc | Call | Background | Collect | Until | Appears | Pause | Touch | Lines | Files | Scrape | Outline | Command


@dataclass(frozen=True)
class Row:
    """One behaviour: its name, where the account tells of it, how much it matters, and how to see it."""

    name: str
    section: str
    tag: str
    steps: tuple[Step, ...]

    @property
    def digest(self) -> str:
        """Changes with what is asked, so that an answer to another question is not taken for this one's."""
        return hashlib.sha1(repr(self.steps).encode(), usedforsecurity=False).hexdigest()[:12]


@dataclass(frozen=True)
class Setup:
    """One start of the server and the rows played on it, in order. Without `start` the rows run commands themselves."""

    name: str
    rows: tuple[Row, ...]
    before: tuple[Step, ...] = ()
    models: tuple[str, ...] = ()
    archives: tuple[str, ...] = ()
    properties: str = ""
    flags: tuple[str, ...] = ("--ncs", "--disable-token-auth", "--enable-model-api")
    env: tuple[tuple[str, str], ...] = ()
    files: tuple[tuple[str, str], ...] = ()
    start: bool = True
    scheme: str = field(default="http")
