"""Descriptors: as many open files as the system lets this process have."""

from __future__ import annotations

import logging
import resource

log = logging.getLogger(__name__)

_LEAST = 1024
_MOST = 1 << 20  # some programs go through all possible descriptors, and some systems allow a billion


def raise_limit() -> int:
    """Raise the soft limit of open files to the hard one; return what it is then. Worker processes inherit it.

    Where a sandbox doesn't tell the limit, it stays, and its least usual value is returned.
    """
    try:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    except OSError as error:
        log.warning("the limit of open files can't be read, and stays: %s", error)
        return _LEAST
    wanted = _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError) as error:
            log.warning("the limit of open files stays at %d: %s", soft, error)
            return soft
        log.info("The limit of open files is %d, raised from %d", wanted, soft)
        return wanted
    return soft
