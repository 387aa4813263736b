"""Archives for the models that TorchServe's gRPC tests register: each answers what its row of the data expects."""

from __future__ import annotations

import json
from pathlib import Path

from . import stubs

# Of the words of the answer all but the last are sent ahead.
_STREAMS = """
import json, pathlib
from ts.handler_utils.utils import send_intermediate_predict_response

class Streams:
    def initialize(self, context):
        self.told = json.loads(pathlib.Path(context.system_properties["model_dir"], "told.json").read_text())

    def handle(self, data, context):
        *ahead, last = self.told["predict"].split()
        for word in ahead:
            send_intermediate_predict_response([word], context.request_ids, "", 200, context)
        return [last + " "]
"""
_ZOO = "https://torchserve.s3.amazonaws.com/mar_files/"
# File -> an argument of its starts, and what TorchServe has by default and we, on loopback, have not.
_STARTS = {
    "test_gRPC_model_control": ("enable_model_api=False", "enable_model_api=false\n"),
    "test_gRPC_token_authorization": (
        "disable_token=False",
        "disable_token_authorization=false\nenable_model_api=true\n",
    ),
}


def furnish(home: Path) -> None:
    """Make the archives, and have the rows of the copy name them in place of the zoo's."""
    _answer(home, "inference_data", stubs.HANDLER)
    _answer(home, "inference_stream_data", _STREAMS)
    allowed = f"allowed_urls=file://{home}/zoo/.*"  # ours takes no file from outside the store unless told so
    inference, written = home / "test/pytest/test_gRPC_inference_api.py", "install_py_dep_per_model=true"
    if inference.exists():
        inference.write_text(inference.read_text().replace(written, f"{written}\\n{allowed}"))
    for name, (start, properties) in _STARTS.items():
        test = home / f"test/pytest/{name}.py"
        if test.exists():
            (home / "zoo").mkdir(exist_ok=True)
            stubs.archive(home / "zoo", "densenet161", "anything", None)
            config = home / f"{name}.properties"
            config.write_text(f"{properties}{allowed}\n")
            said = test.read_text().replace(_ZOO, f"file://{home}/zoo/")
            test.write_text(said.replace(start, f"{start}, snapshot_file={str(config)!r}"))


def _answer(home: Path, name: str, handler: str) -> None:
    data, zoo = home / f"test/postman/{name}.json", home / "zoo"
    if not data.exists():
        return
    zoo.mkdir(exist_ok=True)
    rows = json.loads(data.read_text())
    for row in rows:
        archive = f"{row['model_name']}_of_a_row"  # the stub of that model has its name in the store
        stubs.archive(zoo, archive, row.get("expected", "anything"), None, handler)
        row["url"] = f"file://{zoo}/{archive}.mar"
    data.write_text(json.dumps(rows))
