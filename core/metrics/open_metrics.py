"""OpenMetrics 1.0: a family's text in that format, in which a histogram's bucket names the trace of one request.

Names of samples stay what they are in the older format, so that dashboards go on working whichever of the two a server
is asked for. A counter whose name has no `_total`, as most of TorchServe's, so becomes of unknown type.
"""

from __future__ import annotations

from itertools import accumulate

from .family import Family, java_double
from .series import Histogram

_TOTAL = "_total"


def open_text(family: Family) -> str:
    """Return the text of a family. May be called from any thread."""
    name, kind = _named(family.name, family.kind)
    lines = [f"# HELP {name} {_escaped(family.help)}\n# TYPE {name} {kind}\n"]
    for labels, series in family.rows():
        given = labels.rstrip(",")
        if isinstance(series, Histogram):
            _write_histogram(family, given, series, lines)
        else:
            lines.append(f"{family.name}{_braced(given)} {java_double(series.value)}\n")
    return "".join(lines)


def reworded(text: str) -> str:
    """Return text in the older format, of which only the comments differ, as OpenMetrics."""
    lines: list[str] = []
    shown = True
    for block in text.split("# HELP ")[1:]:
        name, _, rest = block.partition(" ")
        about, _, rest = rest.partition("\n")
        kind_line, _, samples = rest.partition("\n")
        shown = not name.endswith("_created")
        if shown:
            base, kind = _named(name, kind_line.rpartition(" ")[2])
            lines.append(f"# HELP {base} {_escaped(about)}\n# TYPE {base} {kind}\n{samples}")
    return "".join(lines)


def _named(name: str, kind: str) -> tuple[str, str]:
    if kind == "counter":
        return (name.removesuffix(_TOTAL), kind) if name.endswith(_TOTAL) else (name, "unknown")
    return name, "unknown" if kind == "untyped" else kind


def _write_histogram(family: Family, labels: str, series: Histogram, lines: list[str]) -> None:
    counts = list(series.counts)
    if not any(counts):
        return
    name, total, before = family.name, 0, f"{labels}," if labels else ""
    for index, (edge, total) in enumerate(zip(family.edges, accumulate(counts), strict=True)):
        exemplar = series.exemplars.get(index)
        example = ""
        if exemplar is not None:
            trace_id, value, at = exemplar
            example = f' # {{trace_id="{trace_id}"}} {value:.9g} {at:.3f}'
        lines.append(f'{name}_bucket{{{before}le="{edge}"}} {total}{example}\n')
    lines.append(f"{name}_count{_braced(labels)} {total}\n{name}_sum{_braced(labels)} {java_double(series.sum)}\n")


def _braced(labels: str) -> str:
    return f"{{{labels}}}" if labels else ""


def _escaped(text: str) -> str:
    return text.replace('"', r"\"")
