"""Archives in S3: `s3://bucket/key`, and signatures for `https://` URLs of S3. Needs boto3, the extra `s3`.

Account, region and endpoint are those of the environment, as in every AWS tool; a registration chooses bucket and key.
"""

from __future__ import annotations

import importlib
import time
from contextlib import closing
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from .download_progress import CountedFile
from .limits import DownloadLimits
from .retrying import MayPass, status_may_pass

_CHUNK = 64 << 10


def copy_from_s3(url: str, out: CountedFile, limits: DownloadLimits, left: float) -> None:
    """Copy the object that `url` names within `left` seconds. Raises ValueError (MayPass) or OSError with the cause."""
    parts = urlsplit(url)
    end = time.monotonic() + left
    botocore = _library("botocore.exceptions")
    try:
        with closing(_client(limits)) as client:
            found = client.get_object(Bucket=parts.netloc, Key=unquote(parts.path[1:]))
            _copy(found["Body"], found["ContentLength"], out, limits, end)
    except (botocore.BotoCoreError, botocore.ClientError, botocore.HTTPClientError) as error:
        raise (MayPass if _may_pass(error, botocore) else ValueError)(str(error)) from error


def _may_pass(error: Any, botocore: Any) -> bool:
    if isinstance(error, botocore.ClientError):
        return status_may_pass(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    passing = (botocore.ConnectionError, botocore.HTTPClientError, botocore.IncompleteReadError)
    return isinstance(error, passing) and not isinstance(error, botocore.SSLError)


def _copy(body: Any, length: int, out: CountedFile, limits: DownloadLimits, end: float) -> None:
    with closing(body):
        if length > limits.max_bytes:
            raise ValueError(f"it has {length} bytes, and at most {limits.max_bytes} are accepted")
        out.expect(length)
        for data in body.iter_chunks(_CHUNK):
            out.write(data)
            if time.monotonic() > end:
                raise ValueError(f"it took longer than {limits.total_timeout:g} s")


def signed_headers(url: SplitResult) -> dict[str, str]:
    """Return the headers by which a GET of this very URL is made with the AWS account in the environment."""
    session = _library("boto3").session.Session()
    credentials = session.get_credentials()
    if credentials is None:
        raise ValueError("s3_sse_kms needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment")
    request = _library("botocore.awsrequest").AWSRequest("GET", urlunsplit(url))
    region = session.region_name or "us-east-1"
    _library("botocore.auth").S3SigV4Auth(credentials.get_frozen_credentials(), "s3", region).add_auth(request)
    return dict(request.headers.items())


def _client(limits: DownloadLimits) -> Any:
    config = _library("botocore.config").Config(
        connect_timeout=limits.idle_timeout, read_timeout=limits.idle_timeout, retries={"total_max_attempts": 1}
    )
    return _library("boto3").session.Session().client("s3", config=config)


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ValueError("S3 needs the package boto3: pip install 'torchserve[s3]'") from None
