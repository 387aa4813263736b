"""The fork server: a process that has imported torch, and forks a worker for each request of its front.

`python -m torchserve.core.backend --forks` is the same program as a worker's, which becomes a worker in each
process that it forks: `serve` returns there, with the arguments that the worker would have been started with. It
imports libraries and handlers of this server only, and nothing of a model: what a model's code does to its process
stays there. Nor does it ask for a GPU, since CUDA doesn't survive a fork.

A worker is a child of the front (`sibling`), so that the two don't need each other any more. It has a session, streams,
environment and command line of its own. What a process draws or counts when libraries are imported is done again:
random seeds, and the threads that libraries compute with.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import gc
import importlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import msgspec

from ..wire.fork_messages import PRELOADABLE, Fork, Forked, FromForkServer, Preload, Refused, ToForkServer
from .process_title import set_title
from .sibling import Impossible, fork_sibling
from .signals import KEPT

log = logging.getLogger(__name__)

_PACKET = 1 << 17  # bytes of a request
_MOST_DESCRIPTORS = 8
_QUICKER = {"torchvision": "torchserve.core.handlers.images.quick_torchvision"}  # what imports it without more
_OPENBLAS = "OPENBLAS_NUM_THREADS"  # numpy's library of linear algebra starts its threads while it is imported
# The function that sets OpenBLAS's number of threads, as numpy's own wheels, distributions and others name it.
_SET_THREADS = ("scipy_openblas_set_num_threads64_", "openblas_set_num_threads64_", "openblas_set_num_threads")


def serve(descriptor: int) -> list[str] | None:
    """Fork a worker for each request that comes by the socket `descriptor`.

    Return the worker's arguments in each new process, and None in this one once the front has closed the socket.
    """
    given = dict(os.environ)
    os.environ[_OPENBLAS] = "1"
    known = frozenset(_top_level())
    for number in KEPT:  # the front ends this process, as it ends its workers
        signal.signal(number, signal.SIG_IGN)
    control = socket.socket(fileno=descriptor)
    control.set_inheritable(False)
    while True:
        packet, descriptors = _receive(control)
        if not packet:
            return None
        request: ToForkServer = msgspec.json.decode(packet, type=ToForkServer)
        if isinstance(request, Preload):
            with contextlib.suppress(Exception):  # what fails is told when a worker needs it
                _import(request.modules)
            continue
        arguments = _answer(control, request, descriptors, given, known)
        if arguments is not None:
            return arguments
        for each in descriptors:
            os.close(each)


def _receive(control: socket.socket) -> tuple[bytes, list[int]]:
    size = socket.CMSG_SPACE(_MOST_DESCRIPTORS * array.array("i").itemsize)
    packet, ancillary, _, _ = control.recvmsg(_PACKET, size, socket.MSG_CMSG_CLOEXEC)
    descriptors = array.array("i")
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    return packet, list(descriptors)


def _answer(
    control: socket.socket,
    request: Fork,
    descriptors: Sequence[int],
    given: Mapping[str, str],
    known: Collection[str],
) -> list[str] | None:
    """Fork for a request. Return the worker's arguments in the new process, None in this one."""
    try:
        _import(request.modules)
        imported = sorted(_top_level().difference(known).intersection(request.closed))
        if imported:
            raise Impossible(f"the model's folder has modules named {', '.join(imported)}, which others have as well")
        pid = fork_sibling()
    except Impossible as error:
        _say(control, Refused(str(error), final=error.final))
        return None
    except Exception as error:  # noqa: BLE001  a library may raise anything while it is imported
        _say(control, Refused(f"a module can't be imported: {type(error).__name__}: {error}"))
        return None
    if pid:
        _say(control, Forked(pid))
        return None
    return _become(control, request, descriptors, given)


def _say(control: socket.socket, message: FromForkServer) -> None:
    with contextlib.suppress(OSError):  # the front has gone: the next read tells so
        control.send(msgspec.json.encode(message))


def _top_level() -> set[str]:
    return {name.partition(".")[0] for name in sys.modules}


def _import(names: Sequence[str]) -> None:
    """Import the modules of PRELOADABLE that are not imported yet. Objects of modules are not looked through again by
    the garbage collector, which would copy their pages in each worker; nor meanwhile, as nearly all of them stay.
    """
    missing = [name for name in names if name not in sys.modules]
    if not missing:
        return
    gc.disable()
    try:
        for name in missing:
            if name not in PRELOADABLE:
                raise Impossible(f"{name} is not a module that is imported before a worker is there")
            importlib.import_module(_QUICKER.get(name, name))
    finally:
        gc.freeze()
        gc.enable()


def _become(control: socket.socket, request: Fork, descriptors: Sequence[int], given: Mapping[str, str]) -> list[str]:
    """Make this new process what a worker's is that was started on its own, and return its arguments."""
    out, err, front, *memory = descriptors
    os.setsid()
    for stream, descriptor in ((1, out), (2, err)):
        os.dup2(descriptor, stream)
        os.close(descriptor)
    _set_environment(given, request.environment)
    _draw_seeds()
    _set_threads(os.environ, given)
    arguments = ["--name", request.name, "--parent", str(os.getppid()), "--fd", str(front)]
    if memory:
        arguments += ["--memory", *map(str, memory)]
    sys.argv[1:] = arguments
    set_title([sys.executable, "-P", "-m", "torchserve.core.backend", *arguments])
    control.send(msgspec.json.encode(Forked(os.getpid(), ready=True)))
    control.close()
    return arguments


def _set_environment(given: Mapping[str, str], differences: Mapping[str, str | None]) -> None:
    """Set each variable anew, as `set_title` needs it."""
    os.environ.clear()
    for name, value in {**given, **differences}.items():
        if value is not None:
            os.environ[name] = value


def _draw_seeds() -> None:
    """Draw new seeds for numpy and torch, which took theirs while they were imported; Python does so by itself."""
    if (random := sys.modules.get("numpy.random")) is not None:
        random.seed()
    if (torch := sys.modules.get("torch")) is not None:
        torch.default_generator.seed()


def _set_threads(environment: Mapping[str, str], given: Mapping[str, str]) -> None:
    """Tell torch and numpy how many threads to compute with: they have read that while they were imported."""
    wanted = environment.get("OMP_NUM_THREADS", "")
    torch = sys.modules.get("torch")
    if torch is not None and wanted != given.get("OMP_NUM_THREADS", "") and wanted.isdigit():
        torch.set_num_threads(int(wanted))
    if "numpy" in sys.modules:
        told = environment.get(_OPENBLAS) or wanted
        _set_openblas_threads(int(told) if told.isdigit() else len(os.sched_getaffinity(0)))


def _set_openblas_threads(count: int) -> None:
    for path in {line.split()[-1] for line in _maps() if "openblas" in line}:
        with contextlib.suppress(OSError):
            library = ctypes.CDLL(path)
            for name in _SET_THREADS:
                if hasattr(library, name):
                    getattr(library, name)(count)
                    break


def _maps() -> list[str]:
    return Path("/proc/self/maps").read_text(errors="replace").splitlines()
