"""A setting of the C library's allocator that large bodies need. May import nothing."""

from __future__ import annotations

from typing import Final

_CHUNK: Final = 31 << 20  # bytes; glibc's thresholds don't follow a chunk over 32 MiB


def keep_freed_memory() -> None:
    """Have up to 62 MiB of freed memory stay with the process.

    Otherwise most large bodies are received into new pages, which costs several times their copying: 0.4 ms per MB.
    glibc returns the end of its heap to the system as soon as it is twice as long as the largest chunk that it has seen
    freed; so such a chunk is allocated and freed here, of which no page is touched. Other C libraries ignore it.
    """
    bytes(_CHUNK)
