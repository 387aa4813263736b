"""The section `payloadLog` of a yaml: what it may say; where it is wrong nothing of the model is logged."""

from __future__ import annotations

from typing import Any

import pytest

from torchserve.core.config.payload_options import PayloadOptions, read_payload_log


@pytest.mark.parametrize(
    ("section", "options"),
    [
        (None, PayloadOptions()),
        (True, PayloadOptions()),
        (False, PayloadOptions(off=True)),
        ({}, PayloadOptions()),
        ({"sample": 1}, PayloadOptions(sample=1.0)),
        (
            {"sample": 0.5, "mode": "request", "maxBodyBytes": "64KB", "redact": "redact.py:no_names"},
            PayloadOptions(0.5, "request", 64_000, ("redact", "no_names")),
        ),
        ({"redact": "a/b.py:Handler.hide"}, PayloadOptions(redact=("a.b", "Handler.hide"))),
        ({"redact": "a.b:hide", "maxBodyBytes": 7}, PayloadOptions(max_body=7, redact=("a.b", "hide"))),
    ],
)
def test_what_it_may_say(section: Any, options: PayloadOptions) -> None:
    assert read_payload_log({"payloadLog": section}) == options


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("yes", "have the keys"),
        ({"sampel": 1}, "no key 'sampel'"),
        ({"sample": 2}, "sample must be from 0 to 1, not 2"),
        ({"sample": True}, "sample must be"),
        ({"mode": "both"}, "mode must be all, request or response"),
        ({"maxBodyBytes": "1GB"}, "maxBodyBytes must be up to"),
        ({"maxBodyBytes": []}, "maxBodyBytes must be"),
        ({"redact": "redact.py"}, "redact must be like"),
        ({"redact": ["a:b"]}, "redact must be like"),
        ({"redact": "a:b.c.d"}, "redact must be like"),
    ],
)
def test_what_is_wrong_is_logged_and_nothing_of_the_model_is(
    section: Any, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert read_payload_log({"payloadLog": section}) == PayloadOptions(off=True)
    assert said in caplog.text
