"""Runs one batch in the foreground: `python -m torchserve.core.backend.run_once`, for `torchserve predict`.

The handler has the terminal, so that breakpoint() works; with --pdb an exception opens the debugger at its line.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import pdb  # noqa: T100  it is what --pdb asks for
import sys
from collections.abc import Sequence
from pathlib import Path

from ..payload import Body
from ..wire.frames import FrameReader
from ..wire.messages import DEFAULT_RESULT, Failure, Load, PartHead, Partial, Pieces, Predict, Result, Row, ToFront
from .service import Service
from .stream import MAX_FRAME


class _Open(Service):
    """A service that lets the handler's exceptions through."""

    def _failure(self, error: BaseException) -> tuple[int, str, Failure | None]:
        raise error


def main() -> int:
    options = _parse()
    logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.INFO)
    with contextlib.redirect_stdout(sys.stderr):  # standard output is for answers only
        results, bodies = _run(options)
    for file, result, body in zip(options.file if results else (), results, bodies, strict=True):
        _show(file, result, body, options.output)
    return 0 if results and all(result.status < 400 for result in results) else 1


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m torchserve.core.backend.run_once")
    parser.add_argument("--load", required=True, help="the Load message, as JSON")
    parser.add_argument("--headers", default="{}", help="the requests' headers, as JSON")
    parser.add_argument("--pdb", action="store_true")
    parser.add_argument("--output", type=Path)
    parser.add_argument("file", nargs="*", help="content type and path, one after the other", default=[])
    options = parser.parse_args()
    options.types, options.file = options.file[::2], options.file[1::2]
    return options


def _run(options: argparse.Namespace) -> tuple[Sequence[Result], list[Body]]:
    """Return the results and their bodies, none if the model does not load or the batch fails, which is printed."""
    service = (_Open if options.pdb else Service)(_show_partial)
    load = Load(**json.loads(options.load))
    rows = tuple(
        Row(str(number), (PartHead("body", kind),), json.loads(options.headers))
        for number, kind in enumerate(options.types)
    )
    try:
        loaded = service.load(load) if not options.pdb else service.open(load)
        if loaded.code != 200:
            sys.stderr.write(f"The model does not load: {loaded.message}\n")
            return (), []
        for subject, note in loaded.notes.items():
            sys.stderr.write(f"{subject}: {note}\n")
        answer, bodies = service.predict(Predict(0, rows), [Path(path).read_bytes() for path in options.file])
    except Exception as error:
        logging.getLogger(__name__).error("%s: %s", type(error).__name__, error, exc_info=error)
        pdb.post_mortem(error.__traceback__)
        return (), []
    sys.stderr.write(f"handler: {answer.handler_ms:.1f} ms\n")
    if answer.code != 200:
        sys.stderr.write(f"{answer.code} {answer.message}\n")
        return (), []
    return answer.results or [DEFAULT_RESULT] * len(bodies), bodies


def _show(file: str, result: Result, body: Body, output: Path | None) -> None:
    data = bytes(body)
    headers = "".join(f"\n{name}: {value}" for name, value in result.headers)
    sys.stderr.write(f"{file}: {result.status} {result.content_type or ''}{headers}\n")
    if result.error:
        sys.stderr.write(f"{result.error}\n")
    elif output is not None:
        path = output / f"{Path(file).name}.out"
        path.write_bytes(data)
        sys.stderr.write(f"{path}: {len(data)} bytes\n")
    elif sys.stdout.isatty() and not _is_text(data):
        sys.stderr.write(f"{len(data)} bytes that are no text: --output FOLDER keeps them\n")
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(data if data.endswith(b"\n") or not _is_text(data) else data + b"\n")
        sys.stdout.flush()


def _show_partial(buffers: list[Body]) -> None:
    reader: FrameReader[ToFront] = FrameReader(ToFront, MAX_FRAME)
    for data in buffers:
        view = memoryview(data)
        while view.nbytes:
            place = reader.get_buffer()
            taken = min(len(place), view.nbytes)
            place[:taken] = view[:taken]
            reader.buffer_updated(taken)
            view = view[taken:]
    frame = reader.next_frame()
    if frame is not None and isinstance(frame.message, Partial | Pieces):
        for number, body in enumerate(frame.bodies):
            sys.stderr.write(f"chunk for {number}: {bytes(body)!r}\n")


def _is_text(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return b"\0" not in data


if __name__ == "__main__":
    sys.exit(main())
