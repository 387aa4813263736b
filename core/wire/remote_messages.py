"""The messages of workers on other hosts, beside those of `messages`: how both of their connections begin, and what
the front and a worker's minder say to each other.

    front ◄── both       Hello                      once, first, on each connection
    front ──► minder     Start                      once
    front ◄── minder     Need?                      if the node hasn't the model's files
    front ──► minder     Piece*                     those files, one after the other; of the last one `end` is set
    front ◄── minder     Started                    once
    front ◄── minder     Printed*, RankFailed*, Leaving?, Exited?
    front ──► minder     Look?                      at any time after Started
    front ◄── minder     Seen                       for each Look
    front ──► minder     Kill?
    front ◄─► minder     Alive*                     every few seconds, in both directions

Behind its Hello a backend is told and tells the same as one on the front's own host.
"""

from __future__ import annotations

import msgspec

from .messages import Loaded


class Ticket(msgspec.Struct, frozen=True):
    """A permission of one process to make one connection to the front. It is good for one worker and one start.

    `authority`, `certificate` and `key` are PEM texts, "" if the connection is not encrypted. `beat` is the seconds
    between two Alive messages; who hears none in three times that counts the other side as lost. `grace` is the seconds
    that a worker may still live without its front.
    """

    worker: str
    epoch: int
    host: str
    port: int
    nonce: str
    authority: str = ""
    certificate: str = ""
    key: str = ""
    beat: float = 5.0
    grace: float = 10.0


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """The first message of a connection: the ticket's nonce, and who shows it on which host."""

    worker: str
    epoch: int
    nonce: str
    pid: int
    host: str


class Ranks(msgspec.Struct, frozen=True):
    """The ranks of a worker: processes that torchrun starts with these options, for a model of that parallelType."""

    count: int
    kind: str
    options: tuple[str, ...]


class Start(msgspec.Struct, frozen=True, tag="start"):
    """An order to start the backend process of a worker, or its ranks, the first of which connects with `ticket`.

    `digest` names the model's files. Variables whose names match the regular expression `hidden` in full are left out
    of the process's environment; `variables` are added to it.
    """

    ticket: Ticket
    digest: str
    hidden: str | None = None
    variables: dict[str, str] = {}
    python: str | None = None
    ranks: Ranks | None = None


class Need(msgspec.Struct, frozen=True, tag="need"):
    """A request for the files of the model, which the node hasn't yet."""


class Piece(msgspec.Struct, frozen=True, tag="piece"):
    """A part of a file, in order: the frame's body is appended to the file at `path` in the model's folder.

    The `end` of all files has no path and no body.
    """

    path: str = ""
    executable: bool = False
    end: bool = False


class Started(msgspec.Struct, frozen=True, tag="started"):
    """A notice that the backend process runs, as `pid` on its host; the model's files lie in `folder` there."""

    pid: int
    folder: str


class Printed(msgspec.Struct, frozen=True, tag="printed"):
    """A group of lines that the process has printed to `stream`, stdout or stderr."""

    stream: str
    lines: tuple[str, ...]


class RankFailed(msgspec.Struct, frozen=True, tag="rank_failed"):
    """A notice that a rank other than the first could not load the model; what it says of it is `outcome`."""

    outcome: Loaded


class Alive(msgspec.Struct, frozen=True, tag="alive"):
    """A sign of life. `memory` is the bytes of host memory that the worker's processes have in use, `pids` are those of
    its ranks, in their order, if it has any.
    """

    memory: int = 0
    pids: tuple[int, ...] = ()


class Leaving(msgspec.Struct, frozen=True, tag="leaving"):
    """A notice that the node is going: the worker may finish its batch, and should take no more."""

    reason: str


class Exited(msgspec.Struct, frozen=True, tag="exited"):
    """A notice that the process has ended with this code (negative: a signal's), or never began for `reason`."""

    code: int
    reason: str = ""


class Kill(msgspec.Struct, frozen=True, tag="kill"):
    """An order to kill the process and whatever it started."""


class Look(msgspec.Struct, frozen=True, tag="look"):
    """An order to read the Python stacks of the process's threads."""


class Seen(msgspec.Struct, frozen=True, tag="seen"):
    """The stacks of the process's threads, or the `error` that kept them from being read."""

    stacks: str = ""
    error: str = ""


ToMinder = Start | Piece | Kill | Alive | Look
FromMinder = Need | Started | Printed | RankFailed | Alive | Leaving | Exited | Seen
