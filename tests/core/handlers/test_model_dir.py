"""What handlers' tests fill a model's folder with."""

from __future__ import annotations

import http.server
import tempfile
import threading
from pathlib import Path

import pytest

from torchserve.core.handlers.model_dir import copy_files, download_model


def test_files_get_new_names(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    copy_files(tmp_path, tmp_path, {"a": "b"})
    assert (tmp_path / "b").read_text() == "x"


def test_a_model_is_fetched_once(tmp_path: Path, monkeypatch) -> None:
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"weights")

        def log_message(self, *_: object) -> None: ...

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            download_model(f"http://127.0.0.1:{server.server_port}/x/net.pth", tmp_path / name)
            assert (tmp_path / name / "model.pt").read_bytes() == b"weights"
        server.shutdown()
    assert asked == ["/x/net.pth"]
    with pytest.raises(ValueError, match="file:"):
        download_model("file:///etc/passwd", tmp_path)
