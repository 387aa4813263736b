"""The example of a workflow answers as its page says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ..e2e.live import LiveServer
from .conftest import EXAMPLES


def test_both_models_answer(house: LiveServer) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    script = EXAMPLES / "workflow" / "pack.sh"
    subprocess.run([script, house.store], env={**os.environ, "PATH": path}, check=True, capture_output=True)
    assert house.manage("POST", "/workflows?url=translate.war").status == 200
    answer = house.call("Inference", "POST", "/wfpredict/translate", b" Good morning ", content_type="text/plain")
    assert answer.json == {"german": "guten Morgen", "french": "bon matin"}
    page = (EXAMPLES / "workflow" / "README.md").read_text()
    assert answer.body.decode() in page
