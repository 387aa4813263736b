"""A small engine of the shape of `vllm serve`: a real server of OpenAI's API on a Unix socket or a port.

    python small_engine.py serve MODEL --uds PATH --served-model-name NAME

MODEL is a text file, and the language model the pairs of words in it: each word is followed by one of those that follow
it there, by turns. All sequences advance by one word per step, as in a batching engine; `--steps manual` has a step
happen at each POST /step. What happens is written to the file `--journal`, a JSON object a line.

Some prompts misbehave: `die 3` ends the process behind the third word, `hang 3` has it stop
doing anything at all, `garbage`, `disorder`, `line` and `head` answer what is no answer, `flood` fills the log, with
`ill` its health is bad from then on, and `child` starts a process that leaves the session and ignores SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aiohttp import web

CHILD = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(1e6)"
RAW = {
    "garbage": b"\x00\x01 this is no HTTP\r\n\r\n" * 3,
    "disorder": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\ntoo long for five\r\n0\r\n\r\n",
    "head": b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * (1 << 20),
    "line": b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: " + b"x" * (6 << 20),
}


class Model:
    """The pairs of words of a text. It generates the same for the same prompt."""

    def __init__(self, text: str) -> None:
        words = text.split()
        self._followers: dict[str, list[str]] = {}
        for word, follower in zip(words, [*words[1:], words[0]], strict=True):
            self._followers.setdefault(word, []).append(follower)
        self._words = words

    def generate(self, prompt: str) -> Iterator[str]:
        word = next((word for word in reversed(prompt.split()) if word in self._followers), self._words[-1])
        for turn in range(1 << 31):
            followers = self._followers[word]
            word = followers[turn % len(followers)]
            yield word


class Sequence:
    def __init__(self, request: str, words: Iterator[str], most: int) -> None:
        self.request = request
        self.words = words
        self.left = most
        self.queue: asyncio.Queue[str | None] = asyncio.Queue()


class Engine:
    """The engine: its sequences, and the steps by which they advance."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.model = Model(Path(options.model).read_text())
        self.names = [*options.served_model_name, *(each.partition("=")[0] for each in options.lora_modules)]
        self.running: dict[str, Sequence] = {}
        self.status = 200  # of /health
        self.steps = 0
        self.tokens = 0
        self.count = 0

    def note(self, **what: Any) -> None:
        if self.options.journal:
            with Path(self.options.journal).open("a") as file:
                file.write(json.dumps({"pid": os.getpid(), **what}) + "\n")

    def step(self) -> None:
        self.steps += 1
        if self.running:
            self.note(step=self.steps, running=sorted(self.running))
        for sequence in list(self.running.values()):
            self.tokens += 1
            sequence.left -= 1
            sequence.queue.put_nowait(next(sequence.words))
            if sequence.left <= 0:
                sequence.queue.put_nowait(None)
                del self.running[sequence.request]

    async def step_on(self) -> None:
        while True:
            await asyncio.sleep(float(self.options.steps))
            self.step()

    async def answer(self, request: web.Request, *, chat: bool) -> web.StreamResponse:
        try:
            body = await request.json()
        except ValueError:
            return _error("the body is no JSON", 400)
        name = body.get("model") or self.names[0]
        if name not in self.names:
            return _error(f"The model `{name}` does not exist.", 404)
        self.count += 1
        key = request.headers.get("X-Request-Id") or str(self.count)
        prompt = str(body["messages"][-1]["content"] if chat else body["prompt"])
        word, _, number = prompt.partition(" ")
        if word in RAW:
            return await self._misbehave(request, word)
        after = self._prepare(word, number)
        sequence = Sequence(key, self.model.generate(prompt), int(body.get("max_tokens") or 8))
        self.running[key] = sequence
        self.note(began=key, model=name, headers=dict(request.headers))
        try:
            return await self._send(request, body, sequence, name, chat=chat, misdeed=(word, after))
        finally:
            if self.running.pop(key, None) is not None:
                self.note(aborted=key, step=self.steps)

    def _prepare(self, word: str, number: str) -> int:
        if word == "flood":
            for index in range(int(number)):
                print(f"line {index} " + "x" * 200)
        elif word == "ill":
            self.status = 503
        elif word == "child":
            child = _start_child()
            self.note(child=child.pid)
        return int(number) if word in ("die", "hang") else -1

    async def _misbehave(self, request: web.Request, word: str) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.write(RAW[word])
        await asyncio.sleep(1e6)
        raise AssertionError

    async def _send(
        self, request: web.Request, body: dict[str, Any], sequence: Sequence, name: str, *, chat: bool,
        misdeed: tuple[str, int],
    ) -> web.StreamResponse:  # fmt: skip
        response: web.StreamResponse | None = None
        made: list[str] = []
        while (word := await sequence.queue.get()) is not None:
            if len(made) == misdeed[1]:
                await asyncio.sleep(0.05)  # what was written is sent
                if misdeed[0] == "die":
                    os.kill(os.getpid(), signal.SIGKILL)
                self.note(hangs=True)
                _stand_still()
            made.append(word)
            if body.get("stream"):
                if response is None:
                    response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
                    await response.prepare(request)
                delta = {"delta": {"content": f" {word}"}} if chat else {"text": f" {word}"}
                await response.write(
                    _event(self._object(sequence, name, [{"index": 0, **delta}], chat=chat, chunk=True))
                )
        usage = {"prompt_tokens": 1, "completion_tokens": len(made), "total_tokens": 1 + len(made)}
        text = "".join(f" {word}" for word in made)
        if response is None:
            content = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
            choice = {"index": 0, **content, "finish_reason": "length"}
            return web.json_response({**self._object(sequence, name, [choice], chat=chat, chunk=False), "usage": usage})
        last = {"index": 0, "finish_reason": "length", **({"delta": {}} if chat else {"text": ""})}
        await response.write(_event(self._object(sequence, name, [last], chat=chat, chunk=True)))
        await response.write(b"data: [DONE]\n\n")
        return response

    def _object(self, sequence: Sequence, name: str, choices: list[Any], *, chat: bool, chunk: bool) -> dict[str, Any]:
        kind = ("chat.completion.chunk" if chunk else "chat.completion") if chat else "text_completion"
        return {"id": f"small-{sequence.request}", "object": kind, "created": 1, "model": name, "choices": choices}

    # ---- the other routes

    async def health(self, _request: web.Request) -> web.Response:
        return web.Response(status=self.status)

    async def models(self, _request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": name, "object": "model"} for name in self.names]})

    async def manual_step(self, _request: web.Request) -> web.Response:
        self.step()
        return web.json_response({"step": self.steps, "running": sorted(self.running)})

    async def metrics(self, _request: web.Request) -> web.Response:
        label = f'model_name="{self.names[0]}"'
        lines = [
            "# HELP small:num_requests_running Sequences in the batch.", "# TYPE small:num_requests_running gauge",
            f"small:num_requests_running{{{label}}} {float(len(self.running))}",
            "# HELP small:generation_tokens_total Words generated.", "# TYPE small:generation_tokens_total counter",
            f"small:generation_tokens_total{{{label}}} {float(self.tokens)}", "this is no metric", "",
        ]  # fmt: skip
        return web.Response(text="\n".join(lines))


def _start_child() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", CHILD], start_new_session=True)


def _stand_still() -> None:
    time.sleep(1e6)


def _event(content: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % json.dumps(content).encode()


def _error(message: str, status: int) -> web.Response:
    told = {
        "message": message,
        "type": "NotFoundError" if status == 404 else "BadRequestError",
        "param": None,
        "code": status,
    }
    return web.json_response({"error": told}, status=status)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="small_engine")
    add = parser.add_argument
    add("command", choices=["serve"])
    add("model")
    add("--uds")
    add("--port", type=int, default=8000)
    add("--served-model-name", nargs="+", default=["small"])
    add("--lora-modules", nargs="+", default=[])
    add("--enable-lora", action="store_true")
    add("--max-num-seqs", type=int)
    add("--steps", default="0.002", help="seconds of a step, or manual")
    add("--journal")
    add("--start", choices=["", "hang", "exit"], default="", help="how the start fails")
    add("--ignore-sigterm", action="store_true")
    add("--children", type=int, default=0, help="processes that the engine starts beside it")
    return parser.parse_args()


async def _serve(options: argparse.Namespace) -> None:
    engine = Engine(options)
    children = [_start_child() for _ in range(options.children)]
    engine.note(started=options.model, uds=options.uds, children=[child.pid for child in children], arguments=sys.argv)
    app = web.Application(client_max_size=1 << 30)
    app.router.add_get("/health", engine.health)
    app.router.add_get("/metrics", engine.metrics)
    app.router.add_get("/v1/models", engine.models)
    app.router.add_post("/step", engine.manual_step)
    app.router.add_post("/v1/chat/completions", lambda request: engine.answer(request, chat=True))
    app.router.add_post("/v1/completions", lambda request: engine.answer(request, chat=False))
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    site = web.UnixSite(runner, options.uds) if options.uds else web.TCPSite(runner, "127.0.0.1", options.port)
    await site.start()
    print(f"small engine serves {', '.join(engine.names)}", file=sys.stderr)
    if options.steps == "manual":
        await asyncio.Event().wait()
    await engine.step_on()


if __name__ == "__main__":
    said = _parse()
    if said.ignore_sigterm:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if said.start == "exit":
        print("no memory is left for the weights", file=sys.stderr)
        sys.exit(3)
    if said.start == "hang":
        print("loading for ever", file=sys.stderr)
        time.sleep(1e6)
    asyncio.run(_serve(said))
