"""Answering: a server of canned answers, to see what a command asks and what it makes of what it gets."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast


class Answering(ThreadingHTTPServer):
    """`answers` by "METHOD /path?query": status, and text or something to be JSON. `asked`: what came, with its key."""

    daemon_threads = True

    def __init__(self, answers: dict[str, tuple[int, Any]]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = answers
        self.asked: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        server = cast(Answering, self.server)
        line = f"{self.command} {self.path}"
        server.asked.append((line, self.headers["Authorization"]))
        status, found = server.answers.get(line, (404, {"code": 404, "type": "T", "message": f"no {line}"}))
        body = (found if isinstance(found, str) else json.dumps(found)).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_DELETE = answer

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def answering(answers: dict[str, tuple[int, Any]]) -> Iterator[Answering]:
    server = Answering(answers)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
