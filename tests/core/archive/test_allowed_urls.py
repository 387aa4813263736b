"""Which URLs and addresses are permitted, without any I/O."""

from __future__ import annotations

from pathlib import Path

import pytest

from torchserve.core.archive.allowed_urls import TORCHSERVE_DEFAULT, AllowedUrls
from torchserve.core.errors import ArchiveNotFound

STORE = Path("/models")


@pytest.mark.parametrize("patterns", [None, TORCHSERVE_DEFAULT])
def test_s3_has_to_be_written_down(patterns: tuple[str, ...] | None):
    with pytest.raises(ArchiveNotFound, match=r"^Model not found at: s3://models/x.mar$"):
        AllowedUrls(patterns).check("s3://models/x.mar", STORE)


@pytest.mark.parametrize(
    ("patterns", "url", "permitted"),
    [
        (None, "https://models.example/x.mar", True),
        (TORCHSERVE_DEFAULT, "http://models.example:8443/x.mar", True),
        (None, "file:///models/x.mar", True),
        (None, "file:///models-too/x.mar", False),
        (None, "file:////models/x.mar", False),
        (None, "file:///etc/passwd", False),
        (["file://.*"], "file:///etc/passwd", True),
        (["file://.*"], "file://localhost/etc/passwd", True),
        (["file://.*"], "file://elsewhere/etc/passwd", False),
        ([".*"], "ftp://models.example/x.mar", False),
        ([".*"], "https:///x.mar", False),
        ([".*"], "https://a@b/x.mar", False),
        ([".*"], "https://a:0/x.mar", False),
        ([".*"], "https://a:http/x.mar", False),
        ([], "https://models.example/x.mar", False),
        ([""], "https://models.example/x.mar", False),
        (["https://a/x", " https://b/.* "], "https://b/x.mar", True),
        (["https://a"], "https://a/x.mar", False),
        (["a/x.mar"], "https://a/x.mar", False),
        (["s3://models/.*"], "s3://models/x.mar", True),
        (["s3://models/.*"], "s3://models.others/x.mar", False),
        ([".*"], "s3:///x.mar", False),
        ([".*"], "s3://models/", False),
        ([".*"], "s3://models", False),
        ([".*"], "s3://a@models/x.mar", False),
    ],
)
def test_permitted_urls(patterns: list[str] | None, url: str, permitted: bool):
    allowed = AllowedUrls(patterns)
    if permitted:
        allowed.check(url, STORE)
    else:
        with pytest.raises(ArchiveNotFound, match="does not match any allowed URL"):
            allowed.check(url, STORE)
