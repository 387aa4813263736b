"""Where workflows depart from TorchServe's: row -> (reason, edits), as departures.py has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_ANY = "<anything>"
_ARCHIVE = "the archive is at fault, not the server"
_SAID = "what the last node's handler sets is the answer's"


def _refused(status: int, reason: str, kind: str, message: str) -> Mapping[str, Any]:
    return {
        "0/status": status, "0/reason": reason, "0/form": "json, pretty, newline",
        "0/headers/content-type": "application/json",
        "0/body": {"code": status, "type": kind, "message": message},
    }  # fmt: skip


def _invalid(message: str) -> Mapping[str, Any]:
    return _refused(400, "Bad Request", "InvalidWorkflowException", message)


WORKFLOWS: dict[str, tuple[str, Mapping[str, Any]]] = {
    "register a workflow without a graph": (
        _ARCHIVE, _invalid("`dag` is missing: it says which nodes follow each node, as in `first: [second, third]`")
    ),
    "register a workflow that is no YAML": (
        _ARCHIVE,
        _invalid("torn.war: spec.yaml: not usable YAML: while parsing a block mapping did not find expected key in"
                 ' "<byte string>", line 1, column 1'),
    ),
    "nodes: a status of the leaf": (_SAID, {
        "0/status": 404, "0/reason": "Gone", "1/status": 503, "1/reason": "Later",
    }),
    "nodes: a status of a node before": ("an error must not be the next node's input", _refused(
        500, "Internal Server Error", "InternalServerException",
        "Error executing m of workflow pair: its handler set the status 404",
    )),
    "nodes: a header of the leaf": (_SAID, {"0/headers": _ANY}),
    "nodes: a content type of the leaf": (_SAID, {"0/headers/content-type": "text/html"}),
    "nodes: broken JSON": (
        "a malformed JSON body is refused, naming the position, as it is of models",
        _refused(400, "Bad Request", "BadRequestException",
                 "Malformed JSON in body: Expecting value at line 1 column 7 (char 6)."),
    ),
    "nodes: by OPTIONS": ("it describes, as of models", {"0/form": "json, pretty, newline", "0/body": _ANY}),
    "nodes: describe: a version behind it": (
        "workflows have no versions",
        _refused(404, "Not Found", "ResourceNotFoundException",
                 "Requested resource is not found, please refer to API document."),
    ),
    "nodes: a malformed address": (
        "no pattern of allowed_urls allows an address whose port is no number",
        _refused(404, "Not Found", "WorkflowNotFoundException",
                 "Given URL http://localhost:aaaa does not match any allowed URL(s)"),
    ),
    "nodes: an archive that is none": (
        _ARCHIVE, _invalid("junk.war: it is no zip archive, or is cut short: its directory is missing")
    ),
    "nodes: an archive of a model": (
        _ARCHIVE, _invalid("said.mar: it has no WAR-INF/MANIFEST.json: pack workflows by torch-workflow-archiver")
    ),
    **{row: ("the error says why the workers could not start", {"0/body/message": _ANY})
       for row in ("nodes: a function that is not there", "nodes: a node whose model can't load")},
    "nodes: a key that is unknown": (
        "a key that is misspelt would be ignored in silence",
        _invalid("models.m1 has the unknown key 'colour'; known are url, min-workers, max-workers, batch-size,"
                 " max-batch-delay, retry-attempts, timeout-ms"),
    ),
    "nodes: numbers that are none": (
        _ARCHIVE, _invalid("models.min-workers must be a whole number from 0 to 2147483647, not 'many'")
    ),
}  # fmt: skip
