"""Archives in S3, from a server that speaks its protocol."""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from torchserve.core.archive.limits import DownloadLimits
from torchserve.core.archive.store import Located
from torchserve.core.errors import ArchiveExists, ArchiveNotFound, DownloadFailed

from .finding import locate
from .web import Handler, Server

ALLOWED = ["s3://models/.*"]


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(autouse=True)
def account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIDTEST", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "eu-west-3",
        "AWS_CONFIG_FILE": str(tmp_path / "none"), "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        "AWS_EC2_METADATA_DISABLED": "true", "AWS_MAX_ATTEMPTS": "1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket `models` with an object `deep/x y.mar`."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    with closing(boto3.client("s3")) as client:
        if "models" not in [each["Name"] for each in client.list_buckets()["Buckets"]]:
            client.create_bucket(Bucket="models", CreateBucketConfiguration={"LocationConstraint": "eu-west-3"})
            client.put_object(Bucket="models", Key="deep/x+y.mar", Body=b"archive" * 50_000)
    return "models"


def test_an_object_lands_in_the_store(bucket: str, store: Path) -> None:
    url = "s3://models/deep/x+y.mar"
    assert locate(url, store, ALLOWED) == Located(url, store / "x+y.mar", "x+y.mar", downloaded=True)
    assert (store / "x+y.mar").read_bytes() == b"archive" * 50_000
    with pytest.raises(ArchiveExists, match=r"Model file already exists x\+y.mar"):
        locate(url, store, ALLOWED)


@pytest.mark.parametrize(
    ("url", "limits", "message"),
    [
        ("s3://models/none.mar", None, "NoSuchKey"),
        ("s3://models-of-others/x.mar", None, "NoSuchBucket"),
        ("s3://models/deep/x+y.mar", DownloadLimits(max_bytes=1000), "350000 bytes, and at most 1000"),
        ("s3://models/deep/x+y.mar", DownloadLimits(total_timeout=0), "longer than 0 s"),
    ],
)
def test_what_can_not_be_had(bucket: str, store: Path, url: str, limits: DownloadLimits | None, message: str) -> None:
    with pytest.raises(DownloadFailed, match=f"Failed to download archive from: {re.escape(url)} .*{message}"):
        locate(url, store, ["s3://.*"], limits)
    assert list(store.iterdir()) == []


def test_a_bucket_that_is_not_allowed_is_not_asked_for(
    server: Server, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url(""))
    for allowed in (None, ALLOWED):
        with pytest.raises(ArchiveNotFound):
            locate("s3://others/x.mar", store, allowed)
    assert server.hits == []


@pytest.mark.parametrize(
    ("codes", "hits", "cause"),
    [
        ((503, 500, 200), 3, None),
        ((503, 503, 503), 3, "tried 3 times"),
        ((200, 200, 200), 3, None),  # torn, torn, whole
        ((403,), 1, "Forbidden|AccessDenied|403"),
        ((404,), 1, "Not Found|404"),
    ],
)
def test_s3_is_asked_again_for_what_may_pass(
    server: Server, store: Path, monkeypatch: pytest.MonkeyPatch, codes: tuple[int, ...], hits: int, cause: str | None
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url("").rstrip("/"))

    def answer(handler: Handler) -> None:
        number = len(handler.server.hits) - 1
        if codes[number] != 200:
            handler.send(codes[number])
        elif number < 2 and codes[0] == 200:
            handler.send(200, b"arch", Content_Length="7")
        else:
            handler.send(200, b"archive")

    server.answer = answer
    if cause is None:
        assert locate("s3://models/x.mar", store, ["s3://.*"]).path.read_bytes() == b"archive"
    else:
        with pytest.raises(DownloadFailed, match=cause):
            locate("s3://models/x.mar", store, ["s3://.*"])
    assert len(server.hits) == hits


def test_no_account(bucket: str, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(DownloadFailed, match="Unable to locate credentials"):
        locate("s3://models/deep/x+y.mar", store, ALLOWED)


def test_without_boto3(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "botocore.exceptions", None)
    with pytest.raises(DownloadFailed, match=re.escape("pip install 'torchserve[s3]'")):
        locate("s3://models/deep/x+y.mar", store, ALLOWED)


# ---- signed requests (s3_sse_kms)


def credential(handler: Handler) -> str | None:
    found = handler.headers["Authorization"]
    return None if found is None else found.partition("Credential=")[2].partition(",")[0]


def test_requests_are_signed_when_asked_for(server: Server, store: Path) -> None:
    seen: list[tuple[str | None, str | None]] = []

    def answer(handler: Handler) -> None:
        seen.append((credential(handler), handler.headers["X-Amz-Security-Token"]))
        handler.send(200, b"archive")

    server.answer = answer
    assert locate(server.url("a.mar"), store, server.allowed, signed=True).path.read_bytes() == b"archive"
    assert locate(server.url("b.mar"), store, server.allowed).path.read_bytes() == b"archive"
    ((key, token), unsigned) = seen
    assert re.fullmatch(r"AKIDTEST/\d{8}/eu-west-3/s3/aws4_request", key or "")
    assert (token, unsigned) == (None, (None, None))


def test_a_session_of_a_role_shows_its_token(server: Server, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of a role")
    tokens: list[str | None] = []

    def answer(handler: Handler) -> None:
        tokens.append(handler.headers["X-Amz-Security-Token"])
        handler.send(200, b"archive")

    server.answer = answer
    locate(server.url(), store, server.allowed, signed=True)
    assert tokens == ["of a role"]


def test_a_signature_does_not_follow_a_redirect_to_another_host(server: Server, canary: Server, store: Path) -> None:
    seen: list[str | None] = []

    def there(handler: Handler) -> None:
        seen.append(credential(handler))
        handler.send(200, b"archive")

    canary.answer = there
    server.answer = lambda handler: handler.send(302, Location=canary.url())
    locate(server.url(), store, [*server.allowed, *canary.allowed], signed=True)
    assert seen == [None]


def signature_over(handler: Handler, secret: str) -> str:
    """Signature Version 4 of the request that arrived, as S3 computes it."""
    _, fields = handler.headers["Authorization"].split(" ", 1)
    given = dict(field.strip().split("=", 1) for field in fields.split(","))
    path, _, query = handler.path.partition("?")
    names = given["SignedHeaders"].split(";")
    headers = "".join(f"{name}:{handler.headers[name].strip()}\n" for name in names)
    pairs = "&".join(sorted(pair if "=" in pair else f"{pair}=" for pair in query.split("&") if pair))
    canonical = "\n".join(
        ["GET", path, pairs, headers, given["SignedHeaders"], handler.headers["X-Amz-Content-SHA256"]]
    )
    _, *scope = given["Credential"].split("/")
    text = ["AWS4-HMAC-SHA256", handler.headers["X-Amz-Date"], "/".join(scope), sha256(canonical.encode()).hexdigest()]
    key = f"AWS4{secret}".encode()
    for part in [*scope, "\n".join(text)]:
        key = hmac.digest(key, part.encode(), "sha256")
    return key.hex()


@pytest.mark.parametrize("path", ["x.mar", "a%20b/c.mar?versionId=x%2Fy&a=b", "u%C3%A4.mar#part"])
def test_a_signature_is_over_the_request_that_arrives(server: Server, store: Path, path: str) -> None:
    checked: list[bool] = []

    def answer(handler: Handler) -> None:
        given = handler.headers["Authorization"].partition("Signature=")[2]
        checked.append(given == signature_over(handler, "secret"))
        handler.send(200, b"archive")

    server.answer = answer
    locate(server.url(path), store, [".*"], signed=True)
    assert checked == [True]


def test_signing_without_an_account(server: Server, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(DownloadFailed, match="s3_sse_kms needs AWS_ACCESS_KEY_ID"):
        locate(server.url(), store, server.allowed, signed=True)
    assert server.hits == []
