"""A language model whose engine generates an x in each step, holds its steps while a file is there, and keeps a diary."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

from .live import LiveServer, eventually, make_model

CONTEXT = 1000  # tokens, and as many fit into the engine's memory

_HANDLER = '''
import asyncio
from pathlib import Path

from torchserve.core.generation.engine import EngineCapacity, EngineStats, Progress
from torchserve.core.handlers.language_model import LanguageModel
from torchserve.core.handlers.language_model_options import LanguageModelOptions

STEP = 0.002


class Letters:
    """A tokenizer whose tokens are bytes."""

    chat_template = "some"
    all_special_ids = []
    all_special_tokens = []

    def apply_chat_template(self, messages, **_):
        return "".join(each["content"] for each in messages)

    def encode(self, text, **_):
        return list(text.encode())

    def decode(self, tokens, **_):
        return bytes(tokens).decode(errors="replace")

    def __len__(self):
        return 256


class Engine:
    context_length = 1000
    capacity = EngineCapacity(1000, 1000, 10, 100)

    def __init__(self, folder):
        self.hold, self.diary = Path(folder, "hold"), Path(folder, "diary")
        self.running, self.steps, self.stepping = {}, 0, None

    def note(self, *words):
        with self.diary.open("a") as file:
            print(self.steps, *words, file=file)

    def submit(self, request_id, prompt, sampling, receive):
        self.note("submit", request_id, bytes(prompt[:6]).decode().strip())
        self.running[request_id] = (len(prompt), sampling.max_tokens, receive, [])
        if self.stepping is None:
            self.stepping = asyncio.ensure_future(self.step())

    async def step(self):
        while self.running:
            await asyncio.sleep(STEP)
            if self.hold.exists():
                continue
            self.steps += 1
            for request_id, (_, most, receive, tokens) in list(self.running.items()):
                tokens.append(120)
                self.note("token", request_id)
                if len(tokens) == most:
                    del self.running[request_id]
                receive(Progress(list(tokens), "length" if len(tokens) == most else None))
        self.stepping = None

    def cancel(self, request_id):
        if self.running.pop(request_id, None) is not None:
            self.note("cancel", request_id)

    def stats(self):
        used = sum(prompt + len(tokens) for prompt, _, _, tokens in self.running.values())
        return EngineStats(len(self.running), 0, used / 1000)

    def stop(self):
        self.running.clear()


class Handler(LanguageModel):
    def initialize(self, context):
        self._options = LanguageModelOptions()
        self._understand(Letters(), 256, [-1])
        self._engine = context.monitored(Engine(context.model_yaml_config["diary"]))
'''


class Model:
    """Such a model in a server's store, and clients of it."""

    def __init__(self, store: Path, home: Path, name: str, config: str = "") -> None:
        self.name = name
        self.folder = home / f"engine-{name}"
        self.folder.mkdir()
        make_model(
            store, name, _HANDLER,
            f"minWorkers: 1\nmaxWorkers: 1\ngeneratesText: true\nresponseTimeout: 1200\ndiary: {self.folder}\n{config}",
        )  # fmt: skip
        self.server: LiveServer | None = None

    def hold(self) -> None:
        """Have the engine take no step until `go`."""
        (self.folder / "hold").touch()

    def go(self) -> None:
        (self.folder / "hold").unlink()

    def diary(self, what: str) -> list[list[str]]:
        """The entries of one kind: the number of steps, the kind, the id, and more."""
        path = self.folder / "diary"
        lines = path.read_text().splitlines() if path.exists() else []
        return [words for line in lines if (words := line.split(maxsplit=3))[1] == what]

    def submitted(self) -> list[str]:
        """The begins of the prompts that the engine got, in that order."""
        return [words[3] for words in self.diary("submit")]

    def send(
        self, prompt: str | list[int], *, client: str = "", headers: dict[str, str] | None = None, **more: Any
    ) -> HTTPConnection:
        """Send a completion; its answer is still to be read."""
        assert self.server is not None
        connection = HTTPConnection("127.0.0.1", self.server.ports["Inference"], timeout=600)
        told = {"Authorization": f"Bearer {client}"} if client else {}
        body = json.dumps({"model": self.name, "prompt": prompt, **more})
        connection.request("POST", "/v1/completions", body, {**told, **(headers or {})})
        return connection

    def waits(self, running: int, queued: int) -> None:
        """Wait until so many requests are in the worker, and so many in the queue."""
        server = self.server
        assert server is not None
        eventually(lambda: server.accepted(self.name) == (running, queued))


def tokens(begin: str, count: int) -> list[int]:
    """A prompt of so many tokens, of which the server knows the number."""
    return list(begin.encode().ljust(count))


def events(response: HTTPResponse) -> Iterator[Any]:
    """The events of a streamed answer, as they come."""
    while line := response.readline():
        if line.startswith(b"data: "):
            yield line[6:].decode().strip() if b"[DONE]" in line else json.loads(line[6:])


def error_of(connection: HTTPConnection) -> tuple[int, dict[str, Any]]:
    """The status and OpenAI's error of an answer."""
    response = connection.getresponse()
    found = json.loads(response.read())
    connection.close()
    return response.status, found["error"]
