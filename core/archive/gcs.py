"""Archives in Google Cloud Storage: `gs://bucket/object`, read over HTTPS as its JSON API has it.

Requests carry the access token of the account that the machine has, from its metadata server, or else the one that the
package google-auth finds; without either the object must be public. STORAGE_EMULATOR_HOST names another server, as for
Google's own libraries.
"""

from __future__ import annotations

import http.client
import importlib
import json
import os
import re
import time
from contextlib import closing
from threading import Lock
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit

from ..errors import DownloadFailed
from .allowed_urls import AllowedUrls

_STORAGE = "https://storage.googleapis.com"
_METADATA = "metadata.google.internal"
_TOKEN_PATH = "/computeMetadata/v1/instance/service-accounts/default/token"  # noqa: S105  (a path)
_SCOPE = "https://www.googleapis.com/auth/devstorage.read_only"
_WAIT = 10.0  # seconds for an answer of the metadata server, or for a list
_EARLY = 60.0  # seconds before its end in which a token is not used any more
_LONGEST_TOKEN = 64 << 10  # bytes of the metadata server's answer
_LONGEST_LIST = 16 << 20  # bytes of a list of objects
_MOST_OBJECTS = 1000  # that are looked at for archives
_MOST_ARCHIVES = 100


def own_storage() -> str:
    """Return the folder of objects that the platform has given to this server, with a slash at its end, or ""."""
    uri = os.environ.get("AIP_STORAGE_URI", "").strip()
    return f"{uri.rstrip('/')}/" if uri.startswith("gs://") else ""


def object_url(url: str) -> str:
    """Return where the object that a `gs://` URL names is downloaded from. Raises ValueError if it names none."""
    parts = urlsplit(url)
    name = unquote(parts.path[1:])
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{1,221}", parts.netloc) or not name:
        raise ValueError("it is no gs://bucket/object")
    return f"{_endpoint()}/storage/v1/b/{parts.netloc}/o/{quote(name, safe='')}?alt=media"


def storage_only() -> AllowedUrls:
    """Return the permission to read from the storage's own server, and from no other."""
    return AllowedUrls([re.escape(f"{_endpoint()}/") + ".*"])


def list_archives(folder: str) -> tuple[str, ...]:
    """Return the `gs://` URLs of the archives right below a `gs://` URL that ends with a slash; blocks.

    Raises DownloadFailed.
    """
    parts = urlsplit(folder)
    prefix = unquote(parts.path[1:])
    query = urlencode({"prefix": prefix, "delimiter": "/", "fields": "items(name)", "maxResults": _MOST_OBJECTS})
    try:
        answer = _get(
            f"{_endpoint()}/storage/v1/b/{quote(parts.netloc, safe='')}/o?{query}", authorization(), _LONGEST_LIST
        )
        names = [str(item["name"]) for item in json.loads(answer).get("items", ())]
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DownloadFailed(f"The archives in {folder} can't be listed: {error}") from error
    archives = [name for name in names if name.endswith(".mar")]
    if not archives or len(archives) > _MOST_ARCHIVES:
        raise DownloadFailed(f"{folder} has {len(archives)} archives (*.mar), and 1 to {_MOST_ARCHIVES} are loaded")
    return tuple(f"gs://{parts.netloc}/{quote(name)}" for name in sorted(archives))


def authorization() -> dict[str, str]:
    """Return the header by which the storage knows this machine's account, or none; blocks."""
    with _lock:
        if time.monotonic() >= _known.until:
            _known.token, life = _of_metadata() or _of_library() or ("", _EARLY)
            _known.until = time.monotonic() + max(life - _EARLY, 1.0)
        return {"Authorization": f"Bearer {_known.token}"} if _known.token else {}


class _Known:
    """The access token that was found last, "" if there is none, and when to look again."""

    token: str = ""
    until: float = 0.0


_known = _Known()
_lock = Lock()


def _of_metadata() -> tuple[str, float] | None:
    """Return an access token of the machine's account and its life in seconds, or None where there is no account."""
    host = os.environ.get("GCE_METADATA_HOST", _METADATA)
    try:
        answer = json.loads(_get(f"http://{host}{_TOKEN_PATH}", {"Metadata-Flavor": "Google"}, _LONGEST_TOKEN))
        return str(answer["access_token"]), float(answer["expires_in"])
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return None


def _of_library() -> tuple[str, float] | None:
    """Return an access token as the package google-auth finds one, if it is there: from a key file, for example."""
    try:
        auth: Any = importlib.import_module("google.auth")
        transport: Any = importlib.import_module("google.auth.transport.requests")
        credentials, _ = auth.default(scopes=[_SCOPE])
        credentials.refresh(transport.Request())
    except Exception:  # noqa: BLE001  (the library is not there, or finds no account, in ways of its own)
        return None
    return str(credentials.token), 300.0


def _endpoint() -> str:
    given = os.environ.get("STORAGE_EMULATOR_HOST", "").rstrip("/")
    if not given:
        return _STORAGE
    return given if "://" in given else f"http://{given}"


def _get(url: str, headers: dict[str, str], longest: int) -> bytes:
    """Return the body of the answer to a GET. Raises ValueError if it is not 200 or too long."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    with closing(kind(parts.netloc, timeout=_WAIT)) as connection:
        connection.request("GET", f"{parts.path}?{parts.query}" if parts.query else parts.path, headers=headers)
        response = connection.getresponse()
        body = response.read(longest + 1)
    if response.status != http.client.OK:
        raise ValueError(f"{parts.hostname} answered {response.status} {response.reason}")
    if len(body) > longest:
        raise ValueError(f"the answer has more than {longest} bytes")
    return body
