"""One HTTP/1.1 exchange over a socket of its own, seen as it is: reason phrase, header values, chunks, silence."""

from __future__ import annotations

import socket
import ssl
from typing import Any


class Silence(Exception):
    """No whole answer came; the text says how it ended."""


def request(method: str, path: str, headers: list[tuple[str, str]], body: bytes, port: int) -> bytes:
    given = {name.lower() for name, _ in headers}
    lines = [f"{method} {path} HTTP/1.1"]
    if "host" not in given:
        lines.append(f"Host: 127.0.0.1:{port}")
    lines += [f"{name}: {value}" for name, value in headers]
    if "content-length" not in given and "transfer-encoding" not in given and (body or method in {"POST", "PUT"}):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def exchange(port: int, data: bytes, patience: float, *, tls: bool = False) -> dict[str, Any]:
    """What the server answers to these bytes: status, reason, headers (lower case), body, chunks. Raises Silence."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=patience) as plain:
            connection = _unverified().wrap_socket(plain) if tls else plain
            with connection:
                connection.sendall(data)
                return _answer(connection, bodiless=data.startswith(b"HEAD "))
    except TimeoutError:
        raise Silence("no answer") from None
    except ConnectionRefusedError:
        raise Silence("refused") from None
    except (OSError, EOFError) as error:
        raise Silence("closed" if isinstance(error, (ConnectionError, EOFError)) else type(error).__name__) from None


def _unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _answer(connection: socket.socket, *, bodiless: bool) -> dict[str, Any]:
    with connection.makefile("rb") as stream:
        status, reason = _status(stream)
        while status == 100:
            _headers(stream)
            status, reason = _status(stream)
        headers = _headers(stream)
        chunks: list[bytes] = []
        if bodiless:
            body = b""
        elif headers.get("transfer-encoding") == "chunked":
            chunks = _chunks(stream)
            body = b"".join(chunks)
        elif "content-length" in headers:
            size = int(headers["content-length"])
            body = stream.read(size)
            if len(body) < size:
                raise EOFError
        else:
            body = b"" if status in {204, 304} else stream.read()
        return {"status": status, "reason": reason, "headers": headers, "body": body, "chunks": chunks}


def _status(stream: Any) -> tuple[int, str]:
    line = stream.readline().decode("latin-1").rstrip("\r\n")
    if not line:
        raise EOFError
    _, code, *reason = line.split(" ", 2)
    return int(code), " ".join(reason)


def _headers(stream: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    while line := stream.readline().decode("latin-1").rstrip("\r\n"):
        name, _, value = line.partition(":")
        found[name.lower()] = value.strip()
    return found


def _chunks(stream: Any) -> list[bytes]:
    found = []
    while size := int(_line(stream).split(b";")[0], 16):
        found.append(stream.read(size))
        stream.readline()
    stream.readline()
    return found


def _line(stream: Any) -> bytes:
    line = stream.readline()
    if not line:
        raise EOFError
    return line
