"""The messages between the front and its fork server, each a packet of its own.

    front ──► fork server    Preload?              first
    front ──► fork server    Fork                  with the descriptors that the worker gets
    front ◄── fork server    Forked, or Refused    for each Fork
    front ◄── worker         Forked                by its new process, once it has its session and its streams

The fork server and the worker tell the same, since either may be killed before it has.
"""

from __future__ import annotations

import msgspec

# What the fork server may import before it forks, by the name that handlers import it by: libraries and handlers of
# this server, never a model's own files.
PRELOADABLE = (
    "numpy",
    "torch",
    "torchvision",
    "ts.torch_handler.base_handler",
    "ts.torch_handler.image_classifier",
    "ts.torch_handler.image_segmenter",
    "ts.torch_handler.object_detector",
    "ts.torch_handler.text_classifier",
    "ts.torch_handler.text_handler",
    "ts.torch_handler.vision_handler",
)


class Fork(msgspec.Struct, frozen=True, tag="fork"):
    """An order to fork the worker `name`, once `modules` are imported.

    `environment` are the variables in which it differs from the fork server's own, None for one that it must not have.
    `closed` are names that the model's folder has: a module of such a name must not be imported already.
    """

    name: str
    modules: tuple[str, ...]
    environment: dict[str, str | None]
    closed: tuple[str, ...] = ()


class Preload(msgspec.Struct, frozen=True, tag="preload"):
    """An order to import `modules` of PRELOADABLE. There is no answer: what fails is tried again by the first Fork."""

    modules: tuple[str, ...]


class Forked(msgspec.Struct, frozen=True, tag="forked"):
    """The worker's process. It is `ready` once it has its session and its streams."""

    pid: int
    ready: bool = False


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """A refusal: no process was made, for a reason in words that follow "since". If `final`, none will ever be."""

    reason: str
    final: bool = False


ToForkServer = Fork | Preload
FromForkServer = Forked | Refused
