"""Playing a row on a subject: each step that is to be recorded yields one piece of plain data."""

from __future__ import annotations

import json
import re
import subprocess
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import grpc

from . import rpc, wire
from .plain import outline, scrape
from .steps import (
    Appears,
    Background,
    Call,
    Collect,
    Command,
    Files,
    Lines,
    Outline,
    Pause,
    Row,
    Rpc,
    Scrape,
    Step,
    Touch,
    Until,
)
from .subject import Subject, poll


class Player:
    def __init__(self, subject: Subject, patience: float) -> None:
        """`patience`: seconds for what must happen."""
        self.patience = patience
        self._subject = subject
        self._threads = ThreadPoolExecutor(32)
        self._running: dict[str, Future[Any]] = {}

    def play(self, row: Row) -> list[Any]:
        """What was seen, step by step."""
        self._running.clear()  # of what an earlier row sent and did not collect
        return [seen for step in row.steps if (seen := self.step(step)) is not None]

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def step(self, step: Step) -> Any:
        match step:
            case Call():
                return self._call(step)
            case Rpc():
                return self._rpc(step)
            case Background(name, call):
                self._running[name] = self._threads.submit(self._call, call)
            case Collect(name):
                return self._running.pop(name).result()
            case Until(call, pattern, never):
                if not poll(lambda: self._reached(call, pattern, never=never), self.patience):
                    return {"none": f"not reached: {pattern}"}
            case Appears(path):
                if not poll((self._subject.home / path).exists, self.patience):
                    return {"none": f"no file {path}"}
            case Pause(seconds):
                time.sleep(seconds)
            case Touch(path, text):
                (self._subject.home / path).write_text(self._subject.fill(text))
            case Lines():
                return self._lines(step)
            case Files(glob):
                names = {str(path.relative_to(self._subject.home)) for path in self._subject.home.glob(glob)}
                return sorted(self._subject.namer.text(name) for name in names)
            case Scrape():
                return self._scrape(step)
            case Outline(call):
                return self._outline(call)
            case Command():
                return self._command(step)
        return None

    def _exchange(self, call: Call) -> dict[str, Any]:
        fill, port = self._subject.fill, self._subject.ports[call.face]
        headers = [(name, fill(value)) for name, value in call.headers]
        data = call.raw or wire.request(call.method, fill(call.path), headers, call.body, port)
        patience = min(call.patience, self.patience + 5)
        return wire.exchange(port, data, patience, tls=self._subject.setup.scheme == "https" and not call.raw)

    def _call(self, call: Call) -> dict[str, Any]:
        try:
            return self._subject.namer.answer(self._exchange(call))
        except wire.Silence as silence:
            return {"none": str(silence)}

    def _rpc(self, asked: Rpc) -> dict[str, Any]:
        method = asked.method if "/" in asked.method else f"{rpc.SERVICES[asked.face]}/{asked.method}"
        metadata = [(name, self._subject.fill(value)) for name, value in asked.metadata]
        compression = grpc.Compression[asked.compression] if asked.compression else None
        patience = min(asked.patience, self.patience + 5)
        port = self._subject.ports[asked.face]
        answer = rpc.exchange(port, method, asked.requests, metadata, compression, patience)
        return rpc.plain(answer, self._subject.namer)

    def _text(self, call: Call) -> str:
        try:
            answer = self._exchange(call)
        except wire.Silence as silence:
            return str(silence)
        return f"{answer['status']} {answer['body'].decode(errors='replace')}"

    def _reached(self, call: Call, pattern: str, *, never: bool) -> bool:
        """Or it was, and what was waited for was too short to be seen: what runs beside it has its answer already."""
        return bool(re.search(pattern, self._text(call))) is not never or any(
            each.done() for each in self._running.values()
        )

    def _lines(self, step: Lines) -> list[str]:
        path = self._subject.home / step.file

        def found() -> list[str]:
            text = path.read_text(errors="replace") if path.exists() else ""
            return [m[1] if m.re.groups else m[0] for m in re.finditer(step.pattern, text, re.MULTILINE)]

        poll(lambda: len(found()) >= step.least, min(8, self.patience))
        return [self._subject.namer.text(line) for line in found()[-step.last :]]

    def _scrape(self, step: Scrape) -> Any:
        try:
            answer = self._exchange(Call("metrics", path=step.path, headers=step.headers))
        except wire.Silence as silence:
            return {"none": str(silence)}
        return scrape(self._subject.namer.text(answer["body"].decode()), step.families, step.exact)

    def _outline(self, call: Call) -> Any:
        try:
            answer = self._exchange(call)
            return {"status": answer["status"]} | outline(json.loads(answer["body"]))
        except (wire.Silence, ValueError) as failure:
            return {"none": str(failure)}

    def _command(self, step: Command) -> dict[str, Any]:
        subject = self._subject
        output = subject.home / "command"
        env = subject.environment() | {name: subject.fill(value) for name, value in step.env}
        with output.open("wb") as out:
            process = subprocess.Popen(
                [subject.program(step.program), *map(subject.fill, step.arguments)],
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, cwd=subject.home, env=env,
            )  # fmt: skip
            try:
                code: int | str = process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                code = "did not end"
        lines = subject.namer.text(output.read_text(errors="replace")).splitlines()
        return {"code": code, "output": [line for line in lines if re.search(step.keep, line)]}
