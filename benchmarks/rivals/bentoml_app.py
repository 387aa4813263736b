"""The workload's own handler behind BentoML; runs in BentoML's environment: `bentoml serve bentoml_app:Served`.

What is batched there are lists, so that it gets a list of one JSON string.
"""

# pyright: reportMissingImports=false
# No annotations of the future here: BentoML looks at those of the API.
import bentoml
from serving import BATCH, Handler


@bentoml.service(workers=1, traffic={"timeout": 60}, logging={"access": {"enabled": False}})
class Served:
    """Strings in, the same strings out; BentoML sizes the batches by what it learns, and has no delay to set."""

    def __init__(self) -> None:
        self._handler = Handler()

    @bentoml.api(batchable=True, max_batch_size=BATCH)
    def predict(self, rows: list[str], /) -> list[str]:
        answers = self._handler.answers([row.encode() for row in rows])
        return [answer.decode() for answer in answers]
