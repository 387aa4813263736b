"""Opens files only if they can be trusted: ours or root's, regular, and not writable by others. Else raises NotTrusted.

Other users of a machine can lay a file, a link or a FIFO where we look. Opening here never waits for the other end of a
FIFO, and the opened file itself is checked, so that nothing can be put in its place between the check and the read.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import secrets
import stat
from pathlib import Path

READABLE = 16 << 20  # bytes; a longer file is not one of ours
_TYPES = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class NotTrusted(PermissionError):
    """A file or folder that exists and can't be trusted. `strerror` is the reason, as text that follows the path."""


def distrust(found: os.stat_result, *, folder: bool = False) -> str:
    """Return why what was found can't be trusted, "" if it can.

    A group may write if it is root's or one of this process: umask 002 and the volumes of containers make such files.
    """
    right = stat.S_ISDIR if folder else stat.S_ISREG
    if not right(found.st_mode):
        kind = next((name for is_kind, name in _TYPES if is_kind(found.st_mode)), "a file")
        return f"it is {kind}, not {'a folder' if folder else 'a regular file'}"
    if found.st_uid not in {0, os.geteuid()}:
        return f"it belongs to {user(found.st_uid)}, and this process runs as {user(os.geteuid())}"
    mode = stat.S_IMODE(found.st_mode)
    if mode & stat.S_IWOTH and not (folder and mode & stat.S_ISVTX):
        return f"every user may write to it (mode {mode:o})"
    if mode & stat.S_IWGRP and found.st_gid not in {0, os.getegid(), *os.getgroups()}:
        return f"group {found.st_gid}, which this process is not in, may write to it (mode {mode:o})"
    return ""


def open_trusted(path: Path, flags: int = os.O_RDONLY, mode: int = 0o600) -> int:
    """Return a descriptor of a file that can be trusted. Raises NotTrusted; FileNotFoundError and other OSErrors.

    `flags` may create the file, with `mode`, but must not truncate it, which would happen before the check.
    """
    assert not flags & os.O_TRUNC
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode)
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise
        why = ""
        with contextlib.suppress(OSError):
            why = distrust(path.lstat())  # a link, a folder, a FIFO without a reader, or not ours to open
        if not why:
            raise
        raise NotTrusted(errno.EPERM, why, str(path)) from None
    try:
        found = os.fstat(descriptor)
        why = distrust(found)
        if not why and flags & (os.O_WRONLY | os.O_RDWR) and found.st_nlink > 1:
            why = "it has a second name, by a hard link"
        if why:
            raise NotTrusted(errno.EPERM, why, str(path))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_trusted(path: Path, limit: int = READABLE) -> bytes:
    """Return the content of a file that can be trusted. Raises NotTrusted, also beyond `limit` bytes; OSError."""
    with os.fdopen(open_trusted(path), "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise NotTrusted(errno.EPERM, f"it is longer than {limit} bytes", str(path))
    return data


def follow(path: Path) -> Path:
    """Return the target of a symbolic link that is ours or root's, or `path` itself if it is no link.

    Raises NotTrusted for a link of another user; OSError.
    """
    link = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(link)
        if not stat.S_ISLNK(found.st_mode):
            return path
        if found.st_uid not in {0, os.geteuid()}:
            raise NotTrusted(errno.EPERM, f"it is a symbolic link of {user(found.st_uid)}", str(path))
        return path.parent / os.readlink("", dir_fd=link)
    finally:
        os.close(link)


def check_links(folder: Path) -> None:
    """Raise NotTrusted if another user's link leads to what we write into `folder`; OSError if it isn't there."""
    for each in (folder.absolute(), *folder.absolute().parents):
        follow(each)


def open_appending(path: Path) -> int:
    """Return a descriptor of a log file to append to, created if it doesn't exist. Raises NotTrusted, OSError.

    The file may belong to anybody and may be a device or a FIFO that has a reader, since it is never read here. But it
    must not be reached by another user's link, at any place of the path, which would have us write to a file of that
    user's choice.
    """
    check_links(path.parent)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        target = follow(path)
    except FileNotFoundError:
        target = path
    descriptor = os.open(target, flags | (os.O_NOFOLLOW if target == path else 0), 0o666)
    found, folder = os.fstat(descriptor), path.parent.stat()
    ours = folder.st_uid in {0, os.geteuid()} and not folder.st_mode & stat.S_IWOTH
    if stat.S_ISREG(found.st_mode) and found.st_nlink > 1 and not ours:
        os.close(descriptor)
        raise NotTrusted(errno.EPERM, "it has a second name, by a hard link", str(path))
    return descriptor


def check_folder(path: Path) -> None:
    """Raise NotTrusted unless `path` is a folder, and no link, whose entries only we and root can replace; OSError."""
    why = distrust(path.lstat(), folder=True)
    if why:
        raise NotTrusted(errno.EPERM, why, str(path))


def replace_file(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write a file that appears under its name complete; a link there is replaced, not followed. Raises OSError."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        draft.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise


def user(uid: int) -> str:
    """Return a user's name and number, for messages."""
    try:
        return f"user {pwd.getpwuid(uid).pw_name} ({uid})"
    except KeyError:
        return f"user {uid}"
