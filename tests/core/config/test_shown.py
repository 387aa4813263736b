"""The configuration as the dashboard shows it: each value with its origin, and no secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from torchserve.core.config.configuration import _safe, read_configuration
from torchserve.core.config.keys import KEYS


def test_each_setting_is_shown_with_its_origin_and_secrets_are_hidden(tmp_path: Path) -> None:
    file = tmp_path / "config.properties"
    file.write_text("job_queue_size=7\nkeystore_pass=geheim\nallowed_urls=https://user:geheim@host/models\n")
    found = {each["key"]: each for each in read_configuration(file, environment={}).shown()}
    assert list(found) == list(KEYS)
    assert found["job_queue_size"] == {"key": "job_queue_size", "value": "7", "origin": f"{file}, line 1"}
    assert found["max_request_size"]["origin"] == "default"
    assert "geheim" not in str(found)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://user:secret@host/a.mar", "https://(hidden)@host/a.mar"),
        ("m=https://host/a.mar?X-Amz-Signature=secret&b=2,n=n.mar", "m=https://host/a.mar?(hidden)"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http(s)?://.*", "http(s)?://.*"),
    ],
)
def test_what_an_address_keeps_secret_is_hidden(text: str, shown: str) -> None:
    assert _safe(text).startswith(shown)
    assert "secret" not in _safe(text)
