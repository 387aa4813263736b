"""Which URLs and addresses are permitted, without any I/O."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from torchserve.core.archive.allowed_urls import TORCHSERVE_DEFAULT, AllowedUrls, is_public
from torchserve.core.errors import ArchiveNotFound

STORE = Path("/models")


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("10.0.0.1", False),
        ("172.16.3.4", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1", False),
        ("fd00::1", False),
        ("fec0::1", False),
        ("ff02::1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("64:ff9b::5db8:d822", True),
        ("2002:7f00:1::", False),
    ],
)
def test_public_addresses(address: str, public: bool):
    assert is_public(ip_address(address)) is public


@pytest.mark.parametrize("patterns", [None, TORCHSERVE_DEFAULT])
def test_s3_has_to_be_written_down(patterns: tuple[str, ...] | None):
    with pytest.raises(ArchiveNotFound, match="^Model not found at: s3://models/x.mar$"):
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
