"""LeftOut: the archives that `load_models=all` found in the model store and could not load."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..archive.store import default_name
from ..errors import ModelNotFound, NotFound

_LONGEST = 300  # characters of a reason that the readiness answer shows; the log has all of it


class NotLoaded(ModelNotFound):
    """A lookup of a model whose archive could not be loaded at start; the text says why."""

    def __init__(self, model: str, reason: str) -> None:
        NotFound.__init__(self, f"Model not found: {model}. {reason}")


class LeftOut:
    """The reasons why archives were left out, by name in the model store, until a model is registered from them."""

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}

    def add(self, archive: str, error: Exception) -> None:
        """Record that `archive` could not be loaded at start. Of `error` the first line is shown."""
        line = next(iter(str(error).splitlines()), "") or type(error).__name__
        shown = line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"
        self._reasons[archive] = f"The archive {archive} could not be loaded at start: {shown}"

    def registered(self, archive: str, model: str) -> None:
        """Forget what failed: `model` has been registered from `archive`, or from another one under its name."""
        for name in [name for name in self._reasons if name == archive or default_name(Path(name)) == model]:
            del self._reasons[name]

    def explained(self, error: ModelNotFound, model: str) -> ModelNotFound:
        """Return `error`, or one with the reason if an archive that would be called `model` was left out."""
        found = next((why for name, why in self._reasons.items() if default_name(Path(name)) == model), None)
        return error if found is None else NotLoaded(model, found)

    def __iter__(self) -> Iterator[str]:
        """Yield the reasons, in the order of the archives' names."""
        return iter([self._reasons[name] for name in sorted(self._reasons)])
