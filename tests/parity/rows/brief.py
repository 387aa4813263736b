"""Short ways to write rows."""

from __future__ import annotations

from ..steps import Call, Row, Step, Until


def core(name: str, section: str, *steps: Step) -> Row:
    return Row(name, section, "CORE", steps)


def standard(name: str, section: str, *steps: Step) -> Row:
    return Row(name, section, "STANDARD", steps)


def ask(
    path: str, body: str | bytes = b"", kind: str = "", method: str = "POST", patience: float = 20.0, **headers: str
) -> Call:
    """A call of the inference port; `kind` is its content type."""
    named = (("Content-Type", kind),) if kind else ()
    named += tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Call("inference", method, path, body.encode() if isinstance(body, str) else body, named, patience=patience)


def say(text: str, model: str = "probe", patience: float = 20.0) -> Call:
    """A word to the probe handler."""
    return ask(f"/predictions/{model}", text, "text/plain", patience=patience)


def ready(*models: str) -> tuple[Step, ...]:
    """Wait until a model that is loaded at start serves."""
    return tuple(Until(manage("GET", f"/models/{model}"), '"status": "READY"') for model in models)


def manage(method: str, path: str, body: str = "", kind: str = "", **headers: str) -> Call:
    named = (("Content-Type", kind),) if kind else ()
    named += tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Call("management", method, path, body.encode(), named)
