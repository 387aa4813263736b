"""What goes wrong with a prediction, and what a client is told (4.5, 9.1-9.3)."""

from __future__ import annotations

from ..steps import Appears, Background, Call, Collect, Pause, Row, Setup, Step, Touch, Until
from .brief import ask, core, manage, ready, say, standard

_READY = Until(manage("GET", "/models/probe"), '"status": "READY"')


def _raw(text: bytes) -> Call:
    return Call("inference", raw=text, patience=3)


HANDLERS: tuple[Row, ...] = (
    core("handler raises", "4.5", say("fail for a reason")),
    core("handler raises RuntimeError", "4.5", say("runtime for a reason")),
    core("handler raises a CUDA error", "4.5", say("cuda out of memory")),
    core("handler raises MemoryError", "4.5", say("memory gone")),
    core("PredictionException 422", "4.5", say("refuse 422 not like this")),
    core("PredictionException 500", "4.5", say("refuse 500 mine")),
    core("PredictionException 413", "4.5", say("refuse 413 too much")),
    core("PredictionException 404", "4.5", say("refuse 404 no such page")),
    core("PredictionException 599", "4.5", say("refuse 599 odd")),
    core("PredictionException 200", "4.5", say("refuse 200 fine")),
    core("handler returns None", "4.5", say("none")),
    core("handler returns a mapping", "4.5", say("mapping")),
    core("handler returns too few", "4.5", say("few")),
    core("handler returns what JSON can't say", "4.5", say("object")),
    core("handler returns a numpy number", "4.4", say("numpy")),
    core("worker dies", "4.5", say("exit 1"), _READY, say("text back")),
    core("answer above max_response_size", "4.5", say("big 70000"), _READY, say("text back")),
    core("answer of nearly max_response_size", "4.5", say("big 40000")),
    core("body above max_request_size", "4.5", ask("/predictions/probe", b"x" * 50001, "application/octet-stream")),
    core("body of max_request_size", "4.5", ask("/predictions/probe", b"x" * 50000, "application/octet-stream")),
)

MESSAGES: tuple[Row, ...] = (
    core("no HTTP at all", "4.5", _raw(b"hello there\r\n\r\n")),
    core("request line too long", "4.5", _raw(b"GET /" + b"x" * 5000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")),
    core("headers too long", "4.5", _raw(b"GET /ping HTTP/1.1\r\nHost: x\r\nX-Long: " + b"y" * 9000 + b"\r\n\r\n")),
    core("bad percent-encoding in the path", "4.5", _raw(b"GET /predictions/%zz HTTP/1.1\r\nHost: x\r\n\r\n")),
    core("bad percent-encoding in the query", "4.5", _raw(b"GET /ping?a=%zz HTTP/1.1\r\nHost: x\r\n\r\n")),
    core("HTTP/1.0", "4.1", _raw(b"GET /ping HTTP/1.0\r\n\r\n")),
    core("HEAD of ping", "4.2", _raw(b"HEAD /ping HTTP/1.1\r\nHost: x\r\n\r\n")),
    core("no model_name for invocations", "4.5", ask("/invocations", "x", "text/plain")),
    core("a path that needs decoding", "4.2", ask("/predictions/prob%65", "text hello", "text/plain")),
)


def _held(gate: str, model: str) -> tuple[Step, ...]:
    """The model's only worker is busy until the file `gate` is there."""
    return Background(gate, say(f"hold {gate}", model)), Appears(f"{gate}.in")


def _waiting(model: str, count: int) -> Until:
    return Until(manage("GET", f"/models/{model}"), f'"pendingRequests": {count}')


def _together(gate: str, first: str, second: str) -> tuple[Step, ...]:
    """Two requests in one batch, in that order."""
    return (
        *_held(gate, "pair"),
        Background("a", say(first, "pair")), _waiting("pair", 1),
        Background("b", say(second, "pair")), _waiting("pair", 2),
        Touch(gate), Collect(gate), Collect("a"), Collect("b"),
    )  # fmt: skip


QUEUES: tuple[Row, ...] = (
    core(
        "a full queue", "9.2",
        *_held("g1", "tight"), Background("second", say("text second", "tight")), _waiting("tight", 1),
        say("text third", "tight"), ask("/predictions/tight/1.0", "text fourth", "text/plain"),
        Touch("g1"), Collect("g1"), Collect("second"),
    ),
    standard(
        "no free ticket", "9.2",
        *_held("g2", "ticket"), say("text second", "ticket", patience=2), Touch("g2"), Collect("g2"),
    ),
    core(
        "responseTimeout passes", "9.3",
        say("sleep 3", "strict"), Until(manage("GET", "/models/strict"), '"status": "READY"'), say("text back", "strict"),
    ),
    core(
        "clientTimeoutInMills passes in the queue", "9.3",
        *_held("g3", "hasty"), Background("second", say("text late", "hasty", patience=3)), _waiting("hasty", 1),
        Pause(0.5), Touch("g3"), Collect("second"),
    ),
    core("two requests make a batch", "9.1", *_together("g4", "count a", "count b")),
    core("one that fails fails its batch", "9.1", *_together("g5", "text a", "fail b")),
    core("a status of its own for each of a batch", "9.1", *_together("g6", "status 202 Yes", "status 418 No")),
    core("an element that JSON can't say fails its batch", "9.1", *_together("g7", "text a", "object")),
    core("no workers", "4.5", say("x", "echo"), ask("/predictions/echo/1.0", "x", "text/plain")),
    core("ping is healthy without workers wanted", "4.8", ask("/ping", method="GET")),
)  # fmt: skip

SETUPS = (
    Setup(
        "errors", HANDLERS + MESSAGES, before=ready("probe"), models=("probe.mar", "echo=echo.mar"),
        properties="max_request_size=50000\nmax_response_size=60000\ndefault_workers_per_model=1\n",
    ),
    Setup(
        "queues", (
            Row("register for the queues", "5.1", "CORE", (manage("POST", "/models?url=echo.mar"),)), *QUEUES,
        ),
        before=ready("tight", "ticket", "strict", "hasty", "pair"),
        models=("tight.mar", "ticket.mar", "strict.mar", "hasty.mar", "pair.mar"), archives=("echo.mar",),
    ),
)  # fmt: skip
