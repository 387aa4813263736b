"""The workload's handler in BentoML; runs in BentoML's environment: `bentoml serve bentoml_app:Served`.

BentoML batches lists only, so each request is a list with one JSON string.
"""

# pyright: reportMissingImports=false
# Without `from __future__ import annotations`: BentoML reads the annotations of the API.
import bentoml
from serving import BATCH, Handler


@bentoml.service(workers=1, traffic={"timeout": 60}, logging={"access": {"enabled": False}})
class Served:
    """A service from strings to the same strings. BentoML learns its batch sizes and has no delay to set."""

    def __init__(self) -> None:
        self._handler = Handler()

    @bentoml.api(batchable=True, max_batch_size=BATCH)
    def predict(self, rows: list[str], /) -> list[str]:
        answers = self._handler.answers([row.encode() for row in rows])
        return [answer.decode() for answer in answers]
