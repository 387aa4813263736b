"""The environment of a worker. It imports little: the fork server has it before all else."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

from ..bounded_match import TooCostly, matching
from ..errors import InvalidConfig
from ..user_folders import missing_identity
from .threads import Threads


def worker_environment(
    base: Mapping[str, str], *, hidden: str | None, gpus: Sequence[str], threads: Threads
) -> dict[str, str]:
    """Return a worker's environment: the server's, less the names that match `hidden`, with only `gpus` (uuids)
    visible.

    `threads` is what OpenMP, and so torch and numpy, compute with, unless the environment says so already.
    """
    environment = visible(base, hidden)
    environment |= threads.variables(environment) | missing_identity(environment)
    if gpus:
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
    return environment


def visible(base: Mapping[str, str], hidden: str | None) -> dict[str, str]:
    """Return `base` less the names that match `hidden` in full (blacklist_env_vars). Raises InvalidConfig.

    The first call with a pattern blocks, see `bounded_match`; the server makes it before it serves.
    """
    unseen = _matching(hidden, frozenset(base)) if hidden else frozenset[str]()
    return {name: value for name, value in base.items() if name not in unseen}


@functools.lru_cache(maxsize=8)
def _matching(pattern: str, names: frozenset[str]) -> frozenset[str]:
    try:
        return frozenset(matching([pattern], names))
    except (TooCostly, OSError) as error:
        raise InvalidConfig(f"blacklist_env_vars can't be compared with the environment: {error}") from None
