"""Where this server answers otherwise on purpose: the row, the reason, and what it answers instead, field by field."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .departures_grpc import GRPC
from .departures_workflows import WORKFLOWS

ANY = "<anything>"
DOCUMENTS = Path(__file__).with_name("documents.json")  # ours, written by `python -m tests.parity documents`


@dataclass(frozen=True)
class Departure:
    """`edits` turn the oracle's answer into ours: a path such as `0/body/message` -> our value; None takes it away.

    `instead` is all of ours, where theirs is none.
    """

    reason: str
    edits: Mapping[str, Any] = field(default_factory=dict)
    instead: list[Any] | None = None


_HEADERS = {
    "cache-control": "no-cache; no-store, must-revalidate, private", "connection": "keep-alive",
    "content-length": "<length>", "content-type": "application/json", "expires": "Thu, 01 Jan 1970 00:00:00 UTC",
    "pragma": "no-cache", "x-request-id": "<uuid>",
}  # fmt: skip

_COME_AGAIN = dict(sorted((_HEADERS | {"retry-after": "1"}).items()))


def json_answer(status: int, reason: str, body: Any, **headers: str) -> dict[str, Any]:
    """A whole answer of ours, where nothing of theirs is kept."""
    named = dict(sorted((_HEADERS | headers).items()))
    return {"status": status, "reason": reason, "headers": named, "form": "json, pretty, newline", "body": body}


def error(status: int, reason: str, kind: str, message: str) -> dict[str, Any]:
    return json_answer(status, reason, {"code": status, "type": kind, "message": message})


_MODEL = {"id": "", "object": "model", "created": ANY, "owned_by": "torchserve-<version>"}
_REFUSED = "Model name is not defined."
DEPARTURES: dict[str, Departure] = {
    "input: broken JSON": Departure(
        "a malformed JSON body is refused, naming the position: the handler would fail with less to say",
        {"0": error(400, "Bad Request", "BadRequestException",
                    "Malformed JSON in body: Expecting value at line 1 column 7 (char 6).")},
    ),
    **{
        row: Departure("KServe's client asks there whether the server is alive", {"0": json_answer(200, "OK", {"status": "alive"})})
        for row in ("root by GET", "one port: root")
    },
    "v1 readiness is not on the inference port": Departure(
        "KServe and OpenAI's clients ask for models where they predict",
        {"0": json_answer(200, "OK", {"name": "probe", "ready": True} | _MODEL | {"id": "probe"})},
    ),
    "one port: v1 readiness": Departure(
        "beside KServe's fields there are those that OpenAI's clients read",
        {f"0/body/{name}": value for name, value in (_MODEL | {"id": "echo"}).items()},
    ),
    "authors: a word that the vocabulary lacks": Departure(
        "it counts as <unk>, which torchtext's vocabularies did by themselves",
        instead=[{
            "status": 200, "reason": "",
            "headers": {name: value for name, value in _HEADERS.items() if name != "content-type"},
            "form": "json, pretty", "body": [{"up": 0.0, "down": 1.0}],
        }],
    ),
    "PredictionException 413": Departure(
        "a status that a handler chooses is passed on as it is",
        {"0/status": 413, "0/reason": "Request Entity Too Large", "0/body/code": 413},
    ),
    "PredictionException 599": Departure("a status without a standard phrase has an empty one", {"0/reason": ""}),
    "handler returns a numpy number": Departure(
        "what a handler returns is JSON if there is a JSON for it: numpy's and torch's numbers and arrays among it",
        instead=[{
            "status": 200, "reason": "",
            "headers": {name: value for name, value in _HEADERS.items() if name != "content-type"},
            "form": "text", "body": "1.5",
        }],
    ),
    "answer above max_response_size": Departure(
        "one request must not hurt others: its worker stays",
        {"0/body/message": "The response of 70000 bytes is over max_response_size, which is 60000"},
    ),
    **{
        row: Departure(
            "the Open Inference Protocol is there by default (ts_open_inference_protocol=false: as in TorchServe)", {"0": ours}
        )
        for row, ours in (
            ("v2 metadata is not there", json_answer(200, "OK", {
                "name": "probe", "versions": ["1.0"], "platform": "pytorch", "inputs": [], "outputs": [],
            })),
            ("v2 ready is not there", json_answer(200, "OK", {"name": "probe", "ready": True})),
            ("v2 server metadata without the setting", json_answer(200, "OK", {
                "name": "torchserve", "version": ANY, "extensions": ANY,
            })),
            ("v2 versions", json_answer(400, "Bad Request", {"error": ANY})),
        )
    },
    "body above max_request_size": Departure(
        "clients that read JSON",
        {"0": error(413, "Request Entity Too Large", "RequestEntityTooLargeException",
                    "The request body has 50001 bytes and at most 50000 are accepted (max_request_size).")},
    ),
    "bad percent-encoding in the path": Departure(
        "the decoder's text is ours",
        {"0/body/message": "Invalid percent-encoding in the request target at index 13."},
    ),
    "bad percent-encoding in the query": Departure(
        "refused on every route, not only where the query is read",
        {"0": error(403, "Forbidden", "IllegalArgumentException",
                    "Invalid percent-encoding in the request target at index 8.")},
    ),
    "HTTP/1.0": Departure("HTTP/1.0 is honoured", {"0/headers/connection": "close"}),
    "clientTimeoutInMills passes in the queue": Departure(
        "a client that hangs is worse than an error",
        {"0": error(504, "Gateway Timeout", "RequestTimeoutException",
                    'Model "hasty" version 1.0 did not come to this request in time: it waited ')},
    ),
    "a full queue": Departure(
        "the true reason, and when to come again: the old text sent people to scale workers",
        {f"{at}/body/message": 'Model "tight" version 1.0 has its job queue full: 1 requests wait (job_queue_size=1).'
         " Send it again later, or give the model more workers or a longer queue." for at in (0, 1)}
        | {f"{at}/headers": _COME_AGAIN for at in (0, 1)},
    ),
    "no free ticket": Departure("a refusal that passes by itself says when", {"0/headers": _COME_AGAIN}),
    "register from a closed port": Departure(
        "a host that is not public has to be named in allowed_urls: registering must not probe the network inside",
        {"0": error(404, "Not Found", "ModelNotFoundException",
                    "The host 127.0.0.1 has the address 127.0.0.1, which is not public; name it in allowed_urls to"
                    " permit it")},
    ),
    "register junk": Departure(
        "the message says what is wrong with the file",
        {"0/body/message": "junk.mar: it is no zip archive, or is cut short: its directory is missing"},
    ),
    "register with JSON, delay left out": Departure("100 ms, as everywhere", {"1/body/0/maxBatchDelay": 100}),
    "register with JSON that is none": Departure(
        "a bad request is a 400",
        {"0": error(400, "Bad Request", "BadRequestException",
                    "Malformed JSON in body: invalid literal, expected 'null': line 1 column 1 (char 0).")},
    ),
    "yaml against REST": Departure(
        "a time-out that the request gives wins over one that the yaml does not give", {"1/body/0/responseTimeout": 7}
    ),
    "scale with a negative min": Departure(
        "the workers stay, and the message says why",
        {"0/body/type": "InternalServerException",
         "0/body/message": "min_worker must be 0 or more, not -1; the workers of model p stay as they are."},
    ),
    "scale what can't load": Departure(
        "the message names the version and the reason",
        {"1/body/message": "Failed to start workers for model broken version: 1.0"},
    ),
    "customized description": Departure("JSON answers have their standard phrase", {"1/reason": "OK"}),
    "list the last page": Departure("no token where no page follows", {"0/body/nextPageToken": None}),
    "list exactly all": Departure("no token where no page follows", {"0/body/nextPageToken": None}),
    "register with nothing said about it": Departure(
        "on loopback registering is free: the lock protected nobody there",
        {"0": json_answer(200, "OK", {"status": 'Model "echo" Version: 1.0 registered with 0 initial workers.'
                                     " Use scale workers API to add workers for the model."})},
    ),
    "metrics on one port with the others": Departure(
        "one port for all three APIs is KServe's layout: TorchServe fails to bind it",
        instead=[
            json_answer(200, "OK", "") | {"form": "text", "headers": dict(sorted({
                **_HEADERS, "content-type": "text/plain; version=0.0.4; charset=utf-8"}.items()))},
            json_answer(200, "OK", {"status": "Healthy"}),
            json_answer(200, "OK", {"models": []}),
        ],
    ),
    **{
        name: Departure(
            "health routes are open: liveness probes send no key",
            {"0": json_answer(200, "OK", {"status": "Healthy"})},
        )
        for name in ("tokens: ping without a key", "tokens: ping with the management key", "tokens: ping with a wrong key")
    },
    **{
        name: Departure(
            "the key was right: what is wrong is the parameter",
            {"0/body/type": "BadRequestException", "0/body/message": "Parameter type must be inference or management."},
        )
        for name in ("tokens: a key of no kind", "tokens: a key of another kind")
    },
    "tokens: scheme in lower case": Departure(
        "a scheme's letter case does not count (RFC 9110)",
        {"0": {"status": 200, "reason": "", "headers": {k: v for k, v in _HEADERS.items() if k != "content-type"},
               "form": "text", "body": "x"}},
    ),
    "TLS: plain HTTP to it": Departure("every answer has a request id", {"0/headers/x-request-id": "<uuid>"}),
    "one port: no metrics there": Departure(
        "metrics are where metrics_address says, and nowhere else",
        {"0": error(404, "Not Found", "ResourceNotFoundException",
                    "Requested resource is not found, please refer to API document.")},
    ),
    "metrics mode log: nothing to scrape": Departure(
        "log lines are no reason to have no graphs: /metrics shows everything in every mode", {"1/body": ANY}
    ),
    **{
        row: Departure("made from the route table, it tells of every route, parameter and status there is", instead=seen)
        for row, seen in json.loads(DOCUMENTS.read_text()).items()
    },
    "--stop while running": Departure("it says so, and has waited", {"0/output": ["TorchServe has stopped."]}),
    "a bad address": Departure(
        "a start that failed says where the fault is, and its exit code is not 0",
        {"0/code": 1, "0/output": ["Invalid configuration: inference_address=foo in config.properties, line 3:"
                                   " Invalid binding address: foo (http://host:port, https://host:port or unix:/path)"]},
    ),
    "a bad number": Departure(
        "a start that failed says where the fault is, and its exit code is not 0",
        {"0/code": 1, "0/output": ["Invalid configuration: number_of_gpu=abc in config.properties, line 6:"
                                   ' For input string: "abc"']},
    ),
    "a missing variable": Departure(
        "a start that failed says where the fault is, and its exit code is not 0",
        {"0/code": 1, "0/output": ["Invalid configuration: Invalid Environment Variable NO_SUCH_VARIABLE in"
                                   " default_response_timeout of config.properties, line 6"]},
    ),
}  # fmt: skip

DEPARTURES |= {row: Departure(reason, edits) for row, (reason, edits) in (*GRPC.items(), *WORKFLOWS.items())}

_SEQUENCES = (
    " If this is a sequence inference, please check if it is closed, or expired; or exceeds maxSequenceJobQueueSize"
)


def allowed(field: str, theirs: Any, ours: Any) -> bool:
    """What may differ in every row. The last part of a field's path, and both values."""
    if theirs == ANY:
        return True
    if not (isinstance(theirs, str) and isinstance(ours, str)):
        return False
    if field == "connection":  # an error closes the connection only when the request's body was not read
        return (theirs, ours) == ("close", "keep-alive")
    if field == "message":  # ours go on where TorchServe's stop; the hint about sequences is given to sequences alone
        return ours.startswith(theirs.removesuffix(_SEQUENCES))
    return False


def expected(row: str, oracle: list[Any]) -> list[Any]:
    """What this server is to answer: the oracle's answer, changed where a departure says so."""
    if row not in DEPARTURES:
        return oracle
    departure = DEPARTURES[row]
    return edited(oracle, departure.edits) if departure.instead is None else departure.instead


def edited(seen: list[Any], edits: Mapping[str, Any]) -> list[Any]:
    changed: Any = copy.deepcopy(seen)
    for path, value in edits.items():
        *way, last = [int(part) if part.isdigit() else part for part in path.split("/")]
        place = changed
        for part in way:
            place = place[part]
        if value is None:
            del place[last]
        else:
            place[last] = value
    return changed
