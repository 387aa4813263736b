"""`python -m benchmarks.lengths` shows in virtual time what `lengthBuckets` gains texts, and costs other models.

The real scheduler serves the texts of the workload `sentences`, or texts whose length costs nothing, in batches of like
length and in the queue's order, to the same clients: in closed loops, and as Poisson arrivals at a share of what was
answered in the order of the queue one by one. It takes half a minute. Exit status 1 where batches of like length answer
fewer requests than a twentieth below the others.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import click
from torchserve.cli.loadgen.arrivals import poisson

from .simulation.lengths import Seen, Texts, play
from .workload import ragged_texts

CLIENTS, LOADS = (1, 4, 16, 64), (0.3, 0.6, 0.9)
BEST_WITHIN = 0.05  # share of the requests that may be answered less, as estimates are learnt of what is noisy
BUCKETS = (16, 32, 64, 128)  # tokens
LENGTHS = tuple(round(1.3 * len(text.split())) + 2 for text in ragged_texts())  # pieces of words, and two marks
MODELS = (
    # The processor's seconds of MiniLM in torch's fused layers, on an EPYC with AVX2, to within a tenth.
    Texts("MiniLM", lambda rows, longest: 0.0085 + rows * longest * (0.00029 + 7e-7 * longest), LENGTHS, BUCKETS),
    Texts("padding is all", lambda rows, longest: 0.0003 * rows * longest, LENGTHS, BUCKETS),
    Texts("length costs nothing", lambda rows, _: 0.004 + 0.0006 * rows, LENGTHS, BUCKETS),
)


def told(seen: Seen) -> str:
    """Return what was seen as a cell: requests/s, median and 99th percentile of latency, mean batch."""
    median, p99 = (1e3 * seen.percentile(share) for share in (0.5, 0.99))
    return f"**{seen.rate:.1f}** {median:.0f}/{p99:.0f} ms, {seen.batch:.1f}"


def rows(texts: Texts, seconds: float) -> Iterator[tuple[str, Seen, Seen]]:
    """Yield what was seen at each number of clients and each load: in the queue's order, and by length."""
    for clients in CLIENTS:
        plain, bucketed = (play(texts, clients, seconds, bucketed=each) for each in (False, True))
        yield f"{clients} clients", plain, bucketed
    alone = play(texts, 1, seconds, bucketed=False).rate
    for load in LOADS:
        plain, bucketed = (play(texts, poisson(load * alone, 7), seconds, bucketed=each) for each in (False, True))
        yield f"{load:.0%}", plain, bucketed


@click.command(help=__doc__)
@click.option("--seconds", default=20.0, show_default=True, help="Virtual seconds of each cell, behind 3 s of warm-up.")
def main(seconds: float) -> None:
    short: list[str] = []
    for texts in MODELS:
        print(f"### {texts.name}\n\n| | in order | by length |\n|---|---|---|")
        for name, plain, bucketed in rows(texts, seconds):
            print(f"| {name} | {told(plain)} | {told(bucketed)} |", flush=True)
            if bucketed.rate < (1.0 - BEST_WITHIN) * plain.rate:
                short.append(f"{texts.name}, {name}: {bucketed.rate:.1f}/s by length, {plain.rate:.1f}/s in order")
        print()
    for line in short:
        print("short:", line)
    sys.exit(1 if short else 0)


if __name__ == "__main__":
    main()
