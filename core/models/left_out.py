"""LeftOut: the models that a start should have loaded and could not: the server is up, and not ready without them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..archive.store import default_name
from ..config.saved_models import SavedModel
from ..errors import ModelNotFound, NotFound

_LONGEST = 300  # characters of a reason that the readiness answer shows; the log has all of it
_SECRET = re.compile(r"(?<=://)[^/?#\s]*@|\?\S*")  # a url's user and password, and its query, which may be signed


class NotLoaded(ModelNotFound):
    """A lookup of a model that could not be loaded at start; the text says why."""

    def __init__(self, model: str, reason: str) -> None:
        NotFound.__init__(self, f"Model not found: {model}. {reason}")


@dataclass(frozen=True, slots=True)
class _Entry:
    """A record of what failed. `saved` is what a snapshot keeps of it, None if nothing."""

    archive: str
    model: str
    reason: str
    saved: SavedModel | None


class LeftOut:
    """The reasons why models were left out at start, until one of the name, or from the archive, is registered."""

    def __init__(self) -> None:
        self._entries: dict[tuple[str, str, str], _Entry] = {}

    def add(self, archive: str, error: Exception, *, name: str | None = None, saved: SavedModel | None = None) -> None:
        """Record that `archive` could not be loaded at start as the model `name`, by default the archive's name.

        Of `error` the first line is shown, of a url no password and no query. What is `saved` stays in snapshots, so
        that the next start tries again.
        """
        line = next(iter(str(error).splitlines()), "") or type(error).__name__
        shown = _SECRET.sub("", line)
        shown = shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"
        place = _SECRET.sub("", archive)
        model = name or default_name(Path(place))
        of_model = f" of model {name}" if name else ""
        reason = f"The archive {place}{of_model} could not be loaded at start: {shown}"
        self._entries[archive, model, saved.version if saved else ""] = _Entry(archive, model, reason, saved)

    def registered(self, archive: str, model: str) -> None:
        """Forget what failed: `model` has been registered from `archive`, or from another one under its name."""
        for key in [key for key in self._entries if model == key[1] or (archive == key[0] and key[1] == _of(archive))]:
            del self._entries[key]

    def forget(self, model: str) -> bool:
        """Forget what failed of `model`, and return whether anything had."""
        keys = [key for key in self._entries if key[1] == model]
        for key in keys:
            del self._entries[key]
        return bool(keys)

    def explained(self, error: ModelNotFound, model: str) -> ModelNotFound:
        """Return `error`, or one with the reason if an archive that would be called `model` was left out."""
        found = next((entry.reason for entry in self._entries.values() if entry.model == model), None)
        return error if found is None else NotLoaded(model, found)

    def saved(self) -> list[SavedModel]:
        """Return what a snapshot keeps, so that the next start tries again."""
        return [entry.saved for entry in self._entries.values() if entry.saved is not None]

    def __iter__(self) -> Iterator[str]:
        """Yield the reasons, in the order of the archives' names."""
        return iter([self._entries[key].reason for key in sorted(self._entries)])


def _of(archive: str) -> str:
    return default_name(Path(_SECRET.sub("", archive)))
