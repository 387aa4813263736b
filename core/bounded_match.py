"""Matches regular expressions of the configuration within a bound on their cost.

Python's `re` backtracks: an ambiguous pattern, such as `(a+)+b`, takes time exponential in the text, and holds the
interpreter's lock meanwhile, so that no thread of this process could end the match. The patterns are Java's, which
users bring along from TorchServe; an engine of linear time would refuse some of them (lookaheads, back references). So
the match runs in a process of its own, which the kernel ends after SECONDS of processor time.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Collection, Sequence

SECONDS = 1.0  # of processor time
_PATIENCE = 120.0  # seconds, however busy the machine is
_MATCH = """
import json, re, signal, sys
asked = json.load(sys.stdin)
signal.signal(signal.SIGPROF, signal.SIG_DFL)
signal.setitimer(signal.ITIMER_PROF, asked["seconds"])
matched = set()
for number, pattern in enumerate(asked["patterns"]):
    print(number, flush=True)
    compiled = re.compile(pattern, re.IGNORECASE if asked["any_case"] else 0)
    matched.update(place for place, text in enumerate(asked["texts"]) if compiled.fullmatch(text))
print(json.dumps(sorted(matched)))
"""


class TooCostly(ValueError):
    """A pattern that takes longer than SECONDS to match; the text names it."""


def matching(
    patterns: Sequence[str], texts: Collection[str], *, any_case: bool = False, seconds: float = SECONDS
) -> list[str]:
    """Return those of `texts` that one of `patterns` matches in full.

    Blocks while a process is started, about 20 ms. Raises TooCostly, and OSError if no process can be started.
    """
    listed = list(texts)
    if not patterns or not listed:
        return []
    asked = {"patterns": list(patterns), "texts": listed, "any_case": any_case, "seconds": seconds}
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _MATCH],
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise OSError(f"no answer in {_PATIENCE:g} s") from None
    told = done.stdout.split("\n")
    if done.returncode == 0:
        return [listed[place] for place in json.loads(told[-2])]
    if done.returncode > 0 or len(told) < 2:
        raise OSError(f"matching ended with {done.returncode}: {' '.join(done.stderr.split())[-200:]}")
    raise TooCostly(
        f"the pattern {patterns[int(told[-2])]!r} takes longer than {seconds:g} s: nested or adjoining repetitions, as"
        " in (a+)+ and .*.*, can be matched in too many ways"
    )
