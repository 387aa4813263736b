"""Tokens on a real server: on beyond loopback or when asked for, the key file's life, and what each key opens."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from .conftest import Serve
from .handlers import ECHO
from .live import make_model


def keys(home: Path) -> dict[str, str]:
    found = json.loads((home / "key_file.json").read_bytes())
    return {kind: f"Bearer {entry['key']}" for kind, entry in found.items()}


@pytest.mark.parametrize("why", ["inference_address=http://0.0.0.0:0", "disable_token_authorization=false"])
def test_from_the_start_to_the_stop(serve: Serve, store: Path, tmp_path: Path, why: str):
    make_model(store, "echo", ECHO)
    server = serve("echo", properties=why)
    file = tmp_path / "key_file.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert server.has_logged(f"The keys are in {file}")
    mine = keys(tmp_path)
    assert server.call("Inference", "GET", "/ping").status == 200, "a probe needs no key"
    assert server.call("Metrics", "GET", "/metrics").status == 200
    assert server.manage("GET", "/models").status == server.predict("echo", b"x").status == 400
    assert server.manage("GET", "/models", Authorization=mine["inference"]).status == 400
    assert server.manage("GET", "/models", Authorization=mine["management"]).status == 200
    assert server.predict("echo", b"x", Authorization=mine["inference"]).body == b"x"

    assert server.manage("GET", "/token?type=inference", Authorization=mine["API"]).body == b"\n"
    assert server.predict("echo", b"x", Authorization=mine["inference"]).message.startswith(
        "Token Authorization failed"
    )
    assert server.predict("echo", b"x", Authorization=keys(tmp_path)["inference"]).status == 200
    assert server.stop() == 0
    assert not file.exists()


def test_tokens_switched_off_beyond_loopback(serve: Serve, store: Path, tmp_path: Path):
    make_model(store, "echo", ECHO)
    server = serve("echo", properties="inference_address=http://0.0.0.0:0\ndisable_token_authorization=true")
    assert server.predict("echo", b"x").status == 200
    assert not (tmp_path / "key_file.json").exists()
    (warning,) = (line for line in server.lines if "Token authorization is off" in line)
    assert "inference at http://0.0.0.0:0 (predict with every model)" in warning
    assert "management at" not in warning


def test_the_status_of_a_refusal_can_be_chosen(serve: Serve, store: Path, tmp_path: Path):
    make_model(store, "echo", ECHO)
    server = serve("echo", properties="token_error_status=401\ndisable_token_authorization=false")
    refused = server.predict("echo", b"x")
    assert (refused.status, refused.headers["www-authenticate"]) == (401, "Bearer")
