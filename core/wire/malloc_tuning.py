"""The C library's heap, told to keep what large bodies have used. May import nothing."""

from __future__ import annotations

from typing import Final

_CHUNK: Final = 31 << 20  # bytes; glibc learns nothing from one over 32 MiB


def keep_freed() -> None:
    """Have up to 62 MiB that were freed stay with the process. Else most large bodies come in pages that are new, which
    costs several times their copying: 0.4 ms a MB.

    glibc gives the end of its heap back as soon as it is twice as long as the largest chunk that it has seen go, and
    here is one, of which no page is touched. Other libraries learn nothing from it.
    """
    bytes(_CHUNK)
