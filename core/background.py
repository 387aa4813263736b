"""Tasks that nobody awaits: a reference is kept until they are done, and their failures are logged."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from .errors import ServeError, WorkersFailed

log = logging.getLogger(__name__)


def hold(tasks: set[asyncio.Task[None]], task: asyncio.Task[None]) -> asyncio.Task[None]:
    """Keep a reference to a task until it is done; the event loop itself keeps only a weak one."""
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    return task


async def log_failure(work: Coroutine[Any, Any, None]) -> None:
    """Run `work`, which no caller waits for, and log its failure."""
    try:
        await work
    except WorkersFailed as error:
        log.error("%s", error.brief)
    except ServeError as error:
        log.error("%s", error)
    except Exception:
        log.exception("Management work failed")
