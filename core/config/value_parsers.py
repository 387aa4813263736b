"""The parsers of settings: each takes the text of a value and raises ValueError with what is wrong about it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from .address import Address, parse_address

_CENTURY = 60 * 24 * 36525  # minutes


def flag(text: str) -> bool:
    """Return the boolean in `text` as Java reads it: anything but `true` is False."""
    return text.strip().lower() == "true"


def whole(low: int, high: int = 2**31 - 1) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"\s*[+-]?[0-9]{1,20}\s*", text):
            raise ValueError(f'For input string: "{text}"')
        value = int(text)
        if not low <= value <= high:
            raise ValueError(f"{value} is outside {low} to {high}")
        return value

    return parse


def minutes(text: str) -> float:
    try:
        value = float(text.strip())
    except ValueError:
        raise ValueError(f'For input string: "{text}"') from None
    if not 0 < value <= _CENTURY:
        raise ValueError(f"{text.strip()} is outside 0 to {_CENTURY} minutes")
    return value


def status(*legal: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if text.strip() not in map(str, legal):
            raise ValueError(f"{text.strip()} is none of {', '.join(map(str, legal))}")
        return int(text)

    return parse


def redis_url(text: str) -> str:
    if urlsplit(text.strip()).scheme not in {"redis", "rediss", "unix"}:
        raise ValueError("it must begin with redis://, rediss:// or unix://")
    return text.strip()


def header(text: str) -> str:
    if not (text.strip().isascii() and text.strip().isprintable()):
        raise ValueError("a header has printable ASCII characters only")
    return text.strip()


def path(text: str) -> Path:
    try:
        return Path(text.strip()).expanduser()
    except RuntimeError:
        raise ValueError("that user has no home folder") from None


def paths(text: str) -> tuple[Path, ...]:
    """Return the paths in a list with commas."""
    return tuple(map(path, words(text)))


def words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def metrics_mode(text: str) -> str:
    """Return the mode in `text` as TorchServe reads it: an unknown one is log."""
    mode = text.strip().lower()
    return mode if mode in {"prometheus", "legacy"} else "log"


def pattern(text: str) -> str:
    try:
        re.compile(text.strip())
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"{text!r} is no regular expression: {error}") from None
    return text.strip()


def patterns(text: str) -> tuple[str, ...]:
    return tuple(map(pattern, words(text)))


def host(text: str) -> str:
    """Return a host to listen on: a name or an address, of IPv6 with or without brackets."""
    host = text.strip()
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if not re.fullmatch(r"[0-9A-Za-z_.:%-]+", host):
        raise ValueError(f"{text.strip()} is no host name and no address")
    return host


_HOST = re.compile(r"\*|(?:\*\.)?[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?(?::[0-9]{1,5})?|\[[0-9a-f:.]+\](?::[0-9]{1,5})?")


def hosts(text: str) -> tuple[str, ...]:
    hosts = words(text.lower())
    for host in hosts:
        if not _HOST.fullmatch(host):
            raise ValueError(f"{host} is none of name, name:port, *.domain and *")
    return hosts


def one_of(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        word = text.strip().lower()
        if word not in words:
            raise ValueError(f"it is one of {', '.join(words)}")
        return word

    return parse


def address(default_port: int) -> Callable[[str], Address]:
    return lambda text: parse_address(text, default_port)


def addresses(text: str) -> tuple[Address, ...]:
    """Return a comma-separated list of addresses."""
    return tuple(parse_address(word, 8080) for word in words(text))


_ROUTE = re.compile(r"(?:/[A-Za-z0-9._~:@!$&'()*+,;=-]+)+")


def route(text: str) -> str:
    """Return a path that a row of the routes may have: literal, without escapes."""
    path = text.strip()
    if not _ROUTE.fullmatch(path) or len(path) > 1000:
        raise ValueError("it is no path such as /v1/predict")
    return path


def _address_or_file(text: str) -> tuple[str, SplitResult]:
    """Return an address without the spaces around it, and its parts; a file's has an absolute path."""
    address = text.strip()
    try:
        url = urlsplit(address)
        _ = url.port
    except ValueError as error:
        raise ValueError(f"{address!r} is no address: {error}") from None
    if url.scheme == "file" and (url.netloc or not url.path.startswith("/") or url.path.endswith("/")):
        raise ValueError(f"{address!r} must be file:///PATH with an absolute path")
    return address, url


_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OTLP_SCHEMES = ("http", "https", "grpc", "grpcs")


def otlp_endpoint(text: str) -> str:
    """Return the address of an OpenTelemetry collector, or of a file."""
    endpoint, url = _address_or_file(text)
    if url.scheme != "file" and (
        url.scheme not in _OTLP_SCHEMES or not url.hostname or url.query or url.username or url.password
    ):
        raise ValueError(f"{endpoint!r} is none of {', '.join(f'{each}://HOST:PORT' for each in _OTLP_SCHEMES)}")
    return endpoint


def payload_sink(text: str) -> str:
    """Return the address that takes sampled payloads, or that of a file."""
    target, url = _address_or_file(text)
    if url.scheme != "file" and (
        url.scheme not in ("http", "https") or not url.hostname or url.username or url.password or not target.isascii()
    ):
        raise ValueError(f"{target!r} is none of http://HOST/PATH, https://HOST/PATH and file:///PATH")
    return target


def pairs(text: str) -> str:
    """Return a list of name=value, whose names are those of header fields."""
    for pair in words(text):
        name, equals, value = pair.partition("=")
        if not equals or not _FIELD_NAME.fullmatch(name.strip()) or not value.isprintable() or not value.isascii():
            raise ValueError("it is a list of name=value, where names and values are such as headers may have")
    return text.strip()


def share(text: str) -> float:
    """Return a number from 0 to 1."""
    try:
        value = float(text.strip())
    except ValueError:
        raise ValueError(f'For input string: "{text}"') from None
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{text.strip()} is outside 0 to 1")
    return value


_ENGINE = re.compile(r"local|ray(=[0-9A-Za-z_.:/\[\]-]+)?")


def engine(text: str) -> str:
    """Return an engine: `local`, `ray`, or `ray=` and the address of a cluster."""
    name = text.strip()
    if not _ENGINE.fullmatch(name):
        raise ValueError("it is one of local, ray and ray=ADDRESS, such as ray=10.0.0.1:6379 or ray=auto")
    return name
