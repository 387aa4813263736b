"""Regions: the parts of POSIX shared memory that clients have registered, by user and name.

A client that runs on this machine may leave a tensor in a file of /dev/shm and name it in place of the tensor's bytes.
Four things could go wrong, and decide what is done here:

- **The file shrinks.** Whoever may write to a file may shorten it at any time, and a process that has mapped it dies of
  SIGBUS when it touches a page that is gone. So nothing is mapped: preadv reads and pwrite writes the bytes, and both
  come back short instead. That is one copy by the kernel each way, as fast as memory can be copied, and what was read
  can't change while a model computes with it. The file's size is looked at when a region is registered, to tell of a
  mistake early, and again whenever a region is used.
- **The server reads for a client what the client may not.** The server may be root, and serve several users. So a
  region belongs to the user (uid) that owns its file, and only the processes of that user may register, use or see it;
  the front doors get the uid from the kernel, not from the client. Each user has names of its own. Two processes of one
  user are not kept apart, as the system doesn't keep them apart either: each can open the other's files by itself.
- **The key names something else.** It is a name within /dev/shm. Symbolic links are not followed, and what is there is
  looked at before it is opened: opening a FIFO or a device does something.
- **A region goes while it is used.** Unregistering takes its name away at once. The file stays open until the last
  request that uses it is over, so that its descriptor can't become another file's meanwhile.
"""

from __future__ import annotations

import errno
import os
import resource
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..errors import BadRequest, NotFound, Overloaded, RegionExists, SharedMemoryDenied
from .infer_request import LONGEST_NAME

FOLDER: Final = Path("/dev/shm")  # noqa: S108 - where POSIX has its shared memory, on Linux
MOST_REGIONS: Final = 512  # of all users; each has a file descriptor
MOST_OF_USER: Final = 256
LONGEST_KEY: Final = 255  # bytes of a file's name
MOST_BYTES: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class RegionStatus:
    """A region as its client has registered it."""

    name: str
    key: str
    offset: int
    byte_size: int


class Region:
    """A registered part of a shared memory file. `status` says which; `unused` closes the file once it is removed."""

    __slots__ = ("_descriptor", "_removed", "_uses", "status")

    def __init__(self, status: RegionStatus, descriptor: int) -> None:
        self.status = status
        self._descriptor = descriptor
        self._uses = 0
        self._removed = False

    def used(self) -> None:
        """Keep the file open until as many calls of `unused`."""
        self._uses += 1

    def unused(self) -> None:
        """End one use."""
        self._uses -= 1
        self._close_if_over()

    def remove(self) -> None:
        """Close the file once nobody uses it."""
        self._removed = True
        self._close_if_over()

    def _close_if_over(self) -> None:
        if self._removed and not self._uses and self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)

    def check(self, told: str, offset: int, size: int) -> None:
        """Raise BadRequest unless the region, and by now its file, have `size` bytes at `offset`."""
        status = self.status
        if offset + size > status.byte_size:
            raise BadRequest(
                f"{told} takes the bytes {offset} to {offset + size} of shared memory region {status.name!r}, which has"
                f" {status.byte_size}."
            )
        there = os.fstat(self._descriptor).st_size
        if status.offset + offset + size > there:
            raise self._shortened(told, offset + size, there)

    def read(self, told: str, buffer: memoryview, offset: int) -> None:
        """Fill `buffer` with the bytes at `offset`. Raises BadRequest if the file ends before that."""
        at, done = self.status.offset + offset, 0
        while done < len(buffer):
            try:
                count = os.preadv(self._descriptor, [buffer[done:]], at + done)
            except OSError as error:
                raise self._failed(told, "read", error) from None
            if not count:
                raise self._shortened(told, offset + len(buffer), os.fstat(self._descriptor).st_size)
            done += count

    def write(self, told: str, data: memoryview, offset: int) -> None:
        """Write `data` at `offset`. Raises BadRequest where the file has no such bytes, or the system no memory."""
        self.check(told, offset, len(data))  # pwrite would make a file longer that has been shortened
        at, done = self.status.offset + offset, 0
        while done < len(data):
            try:
                done += os.pwrite(self._descriptor, data[done:], at + done)
            except OSError as error:
                raise self._failed(told, "written", error) from None

    def _shortened(self, told: str, end: int, there: int) -> BadRequest:
        status = self.status
        return BadRequest(
            f"{told}: shared memory region {status.name!r} has lost its end: {status.offset + end} bytes of"
            f" {status.key!r} are needed, and it has {there} by now. Don't shorten it before it is unregistered."
        )

    def _failed(self, told: str, done: str, error: OSError) -> BadRequest:
        status = self.status
        why = "the system has no memory left for it" if error.errno == errno.ENOSPC else error.strerror
        return BadRequest(f"{told}: shared memory region {status.name!r} ({status.key!r}) can't be {done}: {why}.")


class Regions:
    """The regions of all users. Its methods are called by one thread."""

    def __init__(self, folder: Path = FOLDER, most: int | None = None, most_of_user: int = MOST_OF_USER) -> None:
        self._folder = folder
        self._most = _affordable() if most is None else most
        self._most_of_user = min(most_of_user, self._most)
        self._found: dict[int, dict[str, Region]] = {}

    def register(self, user: int, name: str, key: str, offset: int, byte_size: int) -> None:
        """Register `byte_size` bytes at `offset` of the shared memory `key`, which has to be a file of `user`.

        Raises RegionExists, NotFound, SharedMemoryDenied, BadRequest, Overloaded.
        """
        _check_name(name)
        file = _file_name(key)
        _check_number("offset", offset, 0)
        _check_number("byte_size", byte_size, 1)
        own = self._found.get(user, {})
        if name in own:
            raise RegionExists(
                f"A shared memory region {name!r} is registered already, for {own[name].status.key!r}: unregister it"
                " first."
            )
        self._check_room(len(own))
        told = f"Shared memory region {name!r}"
        descriptor = self._open(told, user, key, file)
        there = os.fstat(descriptor).st_size
        if offset + byte_size > there:
            os.close(descriptor)
            raise BadRequest(
                f"{told}: offset {offset} and byte_size {byte_size} end at {offset + byte_size}, and {key!r} has"
                f" {there} bytes."
            )
        region = Region(RegionStatus(name, key, offset, byte_size), descriptor)
        self._found.setdefault(user, {})[name] = region

    def status(self, user: int, name: str = "") -> list[RegionStatus]:
        """Return the region of this name, or all regions of a user. Raises NotFound."""
        own = self._found.get(user, {})
        if name and name not in own:
            raise NotFound(f"No shared memory region {name[:LONGEST_NAME]!r} is registered.")
        return [own[name].status] if name else [region.status for region in own.values()]

    def unregister(self, user: int, name: str = "") -> None:
        """Remove the region of this name, if there is one, or all regions of a user."""
        own = self._found.get(user, {})
        for each in [name] if name else list(own):
            region = own.pop(each, None)
            if region is not None:
                region.remove()
        if not own:
            self._found.pop(user, None)

    def get(self, user: int, told: str, name: str) -> Region:
        """Return a region. Raises BadRequest, beginning with `told`, if the user has none of this name."""
        found = self._found.get(user, {}).get(name)
        if found is None:
            raise BadRequest(
                f"{told}: no shared memory region {name[:LONGEST_NAME]!r} is registered. Register it first, as the"
                " user who owns it."
            )
        return found

    def close(self) -> None:
        """Remove all regions."""
        for user in list(self._found):
            self.unregister(user)

    def _check_room(self, own: int) -> None:
        if own >= self._most_of_user:
            raise Overloaded(
                f"{own} shared memory regions are registered, and a user may have at most {self._most_of_user}:"
                " unregister some, or register one large region and use parts of it."
            )
        if sum(map(len, self._found.values())) >= self._most:
            raise Overloaded(f"The server has {self._most} shared memory regions, and takes no more.")

    def _open(self, told: str, user: int, key: str, file: str) -> int:
        """Return the descriptor of a file that `user` owns, for reading and writing."""
        try:
            there = os.open(self._folder / file, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NotFound(f"{told}: there is no shared memory {key!r}.") from None
        except OSError as error:
            raise _not_opened(told, key, error) from None
        try:
            found = os.fstat(there)
            if not stat.S_ISREG(found.st_mode):
                raise BadRequest(f"{told}: {key!r} is {_kind(found.st_mode)}, and no shared memory.")
            if found.st_uid != user:
                raise SharedMemoryDenied(
                    f"{told}: {key!r} belongs to user {found.st_uid}, and this client is a process of user {user}."
                    " Register it as the user who owns it."
                )
            return os.open(f"/proc/self/fd/{there}", os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise _not_opened(told, key, error) from None
        finally:
            os.close(there)


def _not_opened(told: str, key: str, error: OSError) -> BadRequest | Overloaded | SharedMemoryDenied:
    if error.errno in {errno.EMFILE, errno.ENFILE}:
        return Overloaded(f"{told}: the server has no file descriptor left for it. Try again later.", retry_after=1.0)
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return SharedMemoryDenied(
            f"{told}: the server, a process of user {os.geteuid()}, may not read and write {key!r}. Give it the"
            " permission (chmod), or run client and server as one user."
        )
    return BadRequest(f"{told}: {key!r} can't be opened: {error.strerror}.")


def _file_name(key: str) -> str:
    """Return the name of a key's file. Raises BadRequest for what can't be one."""
    file = key.removeprefix("/")
    size = len(file.encode("utf-8", "replace"))
    if not 0 < size <= LONGEST_KEY:
        raise BadRequest(f"The key has {size} bytes behind its first slash; 1 to {LONGEST_KEY} are accepted.")
    if "/" in file or "\0" in file or file in {".", ".."} or not _is_text(file):
        raise BadRequest(
            f"The key {key!r} is no name of POSIX shared memory, which is that of a file in {FOLDER} without a path:"
            " letters, digits, and no slash but the first."
        )
    return file


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_name(name: str) -> None:
    if not 0 < len(name) <= LONGEST_NAME:
        raise BadRequest(
            f"A shared memory region's name has 1 to {LONGEST_NAME} characters, and this one has {len(name)}."
        )


def _check_number(what: str, value: int, least: int) -> None:
    if not least <= value <= MOST_BYTES:
        raise BadRequest(f"{what} must be a number of bytes, {least} to {MOST_BYTES}, not {str(value)[:40]}.")


def _kind(mode: int) -> str:
    kinds = ((stat.S_ISLNK, "a symbolic link"), (stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a FIFO"))
    return next((text for is_it, text in kinds if is_it(mode)), "a device or socket")


def _affordable() -> int:
    """Return how many regions there may be, so that most of the file descriptors are left to connections."""
    try:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    except OSError:  # a sandbox refuses: 1024 is what most systems start processes with
        soft = 1024
    return MOST_REGIONS if soft == resource.RLIM_INFINITY else max(1, min(MOST_REGIONS, soft // 8))
