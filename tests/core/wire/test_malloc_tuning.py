"""malloc_tuning: what large bodies have used stays with the process."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

CODE = """
import resource
from torchserve.core.wire.malloc_tuning import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    [bytearray(1_000_000) for _ in range(20)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

keep_freed_memory()
print(faults(), faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other libraries learn nothing")
def test_what_was_freed_is_used_again() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    first, second = map(int, done.stdout.split())
    assert first > 4000
    assert second < 100
