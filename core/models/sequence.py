"""SequenceKeys: reads which sequence a request belongs to.

TorchServe's headers for stateful models are found in any case, and with hyphens, since many proxies drop headers with
underscores. A request of the Open Inference Protocol may say the same by Triton's parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from uuid import uuid4

from ..config.settings import Settings
from ..errors import BadRequest
from ..oip.infer_request import LONGEST_NAME
from ..payload import Infer, Parameters


class SequenceKeys(NamedTuple):
    """The names of the headers for a sequence's id, its beginning and its end."""

    id: str
    start: str
    end: str

    @classmethod
    def of(cls, settings: Settings) -> SequenceKeys:
        return cls(
            settings.ts_header_key_sequence_id,
            settings.ts_header_key_sequence_start,
            settings.ts_header_key_sequence_end,
        )

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables by which a worker's context learns these names."""
        return {
            "TS_REQUEST_SEQUENCE_ID": self.id,
            "TS_REQUEST_SEQUENCE_START": self.start,
            "TS_REQUEST_SEQUENCE_END": self.end,
        }

    def read(self, headers: Mapping[str, str], infer: Infer | None = None) -> tuple[str, bool, dict[str, str]]:
        """Return the sequence's id, whether it ends with this request, and the headers for the handler.

        These have the three headers under their configured names. Without a header that names the sequence, the
        parameters `sequence_id`, `sequence_start` and `sequence_end` of a request say it; the id 0 is none, as Triton's
        clients send it by themselves. A request that names no sequence begins a new one. Raises BadRequest.
        """
        given = {key: value for key in self if (value := _found(headers, key)) is not None}
        if self.id not in given and infer is not None:
            given |= self._of(infer.parameters)
        if self.id not in given:
            given |= {self.id: f"ts-seq-{uuid4()}", self.start: "true"}
        return given[self.id], given.get(self.end, "").lower() == "true", {**headers, **given}

    def _of(self, parameters: Parameters) -> dict[str, str]:
        sequence = parameters.get("sequence_id", 0)
        if sequence in {0, ""}:
            return {}
        if len(str(sequence)) > LONGEST_NAME:
            raise BadRequest(
                f"The sequence_id has {len(str(sequence))} characters and at most {LONGEST_NAME} are accepted."
            )
        found = {self.id: str(sequence)}
        for key, name in ((self.start, "sequence_start"), (self.end, "sequence_end")):
            if parameters.get(name) is True:
                found[key] = "true"
        return found


def _found(headers: Mapping[str, str], key: str) -> str | None:
    wanted = _folded(key)
    return next((value for name, value in headers.items() if _folded(name) == wanted), None)


def _folded(name: str) -> str:
    return name.lower().replace("-", "_")
