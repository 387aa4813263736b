"""The account of a chaos run: what was asked, what came back, and which of it no fault explains. No I/O.

A request is sent with an id of its own and comes to exactly one fate. Faults are told to the ledger before they are
caused, so that an answer can be judged by what had happened between its request's first byte and its own last one:

    a worker of its model was killed or stopped, or  -> 500 and 507 are explained
    of a model that has a part in its answer
    its model version was removed                    -> 404 and 503 are explained
    the server was killed                            -> no answer is explained
    the server was told to stop                      -> no answer is explained where the request was sent afterwards,
                                                        or was the first on its connection: that may not have been
                                                        accepted. All else that was sent before has to be answered.

Times are seconds on one clock of the caller's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum


class Fate(Enum):
    """What became of a request. Those of `BAD` are faults of the server."""

    RIGHT = "answered rightly"
    REFUSED = "refused with a reason"
    FAILED = "failed with its worker"
    CUT = "without an answer when the server ended"
    LEFT = "given up by its own client"
    LOST = "lost: no answer, and no fault explains it"
    WRONG = "wrong: the answer to another request, or not all of it"
    DOUBLED = "doubled: run or answered more than once"
    UNEXPLAINED = "unexplained: an error that no fault explains"


BAD = frozenset({Fate.LOST, Fate.WRONG, Fate.DOUBLED, Fate.UNEXPLAINED})

WORKER, REMOVAL, KILL, STOP = "worker", "removal", "kill", "stop"


@dataclass(frozen=True, slots=True)
class Fault:
    """Something done to the server in begin…end. `model` is "" where it is about all of them."""

    kind: str
    begin: float
    end: float
    model: str = ""

    def touches(self, begin: float, end: float, model: str) -> bool:
        return self.begin <= end and self.end >= begin and self.model in {"", model}


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as its client saw it: sent in begin…sent, `end` is when its answer or its connection ended.

    `kind` is what it is counted under, and `through` are other models that have a part in its answer.
    """

    id: str
    model: str
    begin: float
    sent: float
    end: float
    first: bool  # on its connection
    patient: bool = True  # False: its client left, or was too slow on purpose
    kind: str = "predictions"
    through: tuple[str, ...] = ()


@dataclass(slots=True)
class Ledger:
    """All requests and faults of a run; `verdict` when it is over."""

    faults: list[Fault] = field(default_factory=list)
    fates: Counter[Fate] = field(default_factory=Counter)
    kinds: dict[str, Counter[Fate]] = field(default_factory=dict)  # the same, by the requests' kind
    statuses: Counter[int] = field(default_factory=Counter)
    examples: dict[Fate, list[str]] = field(default_factory=dict)

    def answered(self, asked: Asked, status: int, *, right: bool, told: str = "") -> Fate:
        """Record an answer. `right`: a success that is this request's; `told`: the text of an error."""
        self.statuses[status] += 1
        if 200 <= status < 300:
            return self._book(asked, Fate.RIGHT if right else Fate.WRONG, f"{status} {told}")
        if not told:
            return self._book(asked, Fate.UNEXPLAINED, f"{status} without a text")
        return self._book(asked, self._judge(asked, status), f"{status} {told}")

    def unanswered(self, asked: Asked, how: str) -> Fate:
        """Record a request whose connection ended without its answer."""
        if self._ended(asked):
            return self._book(asked, Fate.CUT, how)
        return self._book(asked, Fate.LOST if asked.patient else Fate.LEFT, how)

    def ran(self, ids: Iterable[str], may: Mapping[str, int] | None = None) -> None:
        """Take what the handlers have written down: each id once for every time that it ran.

        Of a workflow's node that is `ID@MODEL`; `may` says how often a request may run at a model, where that is more
        than once.
        """
        for name, count in Counter(ids).items():
            if count > (may or {}).get(name.partition("@")[2], 1):
                self._note(Fate.DOUBLED, f"{name} ran {count} times")

    @property
    def bad(self) -> int:
        return sum(self.fates[fate] for fate in BAD)

    def _judge(self, asked: Asked, status: int) -> Fate:
        if status in {500, 507}:
            return Fate.FAILED if self._during(asked, WORKER, REMOVAL, KILL, STOP) else Fate.UNEXPLAINED
        if status == 404:
            return Fate.REFUSED if self._during(asked, REMOVAL, KILL, STOP) else Fate.UNEXPLAINED
        if status in {408, 413, 400}:
            return Fate.UNEXPLAINED if asked.patient else Fate.REFUSED
        return Fate.REFUSED if status in {503, 504} else Fate.UNEXPLAINED

    def _during(self, asked: Asked, *kinds: str) -> bool:
        models = (asked.model, *asked.through)
        return any(
            f.kind in kinds and any(f.touches(asked.begin, asked.end, model) for model in models) for f in self.faults
        )

    def _ended(self, asked: Asked) -> bool:
        for fault in self.faults:
            if fault.kind == KILL and fault.touches(asked.begin, asked.end, ""):
                return True
            if fault.kind == STOP and fault.touches(asked.begin, asked.end, ""):
                if asked.first or asked.sent >= fault.begin:
                    return True
        return False

    def _book(self, asked: Asked, fate: Fate, detail: str) -> Fate:
        self.kinds.setdefault(asked.kind, Counter())[fate] += 1
        return self._note(fate, f"{asked.id} to {asked.model}: {detail[:300]}")

    def _note(self, fate: Fate, example: str) -> Fate:
        self.fates[fate] += 1
        kept = self.examples.setdefault(fate, [])
        if len(kept) < 5:
            kept.append(example)
        return fate
