"""What the OpenAPI documents say of the routes of workflows. Data only."""

from __future__ import annotations

from dataclasses import replace

from ..routing.operation import TEXT, Operation, Parameter, Schema
from .operations import LIST, PREDICT, UNREGISTER

_NUMBER: Schema = {"type": "integer"}
_LISTED: Schema = {
    "type": "object",
    "required": ["workflowName", "workflowUrl"],
    "properties": {"workflowName": TEXT, "workflowUrl": TEXT},
}
_PAGE: Schema = {
    "type": "object",
    "required": ["workflows"],
    "properties": {"nextPageToken": TEXT, "workflows": {"type": "array", "items": _LISTED}},
}
_SHOWN = {
    "workflowName": TEXT, "workflowUrl": TEXT, "minWorkers": _NUMBER, "maxWorkers": _NUMBER, "batchSize": _NUMBER,
    "maxBatchDelay": _NUMBER, "workflowDag": TEXT,
}  # fmt: skip
_DESCRIBED: Schema = {
    "type": "array",
    "items": {"type": "object", "required": list(_SHOWN), "properties": _SHOWN},
}

PREDICTION = replace(
    PREDICT.named("wfpredict", "Predict with a workflow: the result of its last node, or a JSON object of several."),
    errors=(*PREDICT.errors, 500),
)
PREDICTION_REST = PREDICTION.named("wfpredict_rest", "The same.")
WORKFLOWS = Operation(
    "listWorkflows", "The workflows, by name, in pages.", {200: _PAGE}, query=LIST.query, errors=(400,)
)
REGISTER = Operation(
    "registerWorkflow",
    "Register a workflow: all of its nodes, or none. The parameters may also be the keys of a JSON body.",
    UNREGISTER.answers,
    errors=(400, 404, 405, 409, 500),
    query=(
        Parameter("url", "the archive: a file of the workflow store, or a URL", required=True),
        Parameter("workflow_name", "instead of the manifest's name"),
    ),
    method="POST",
)
DESCRIBE = Operation(
    "describeWorkflow", "A workflow's graph, and what holds for its nodes.", {200: _DESCRIBED}, errors=(404,)
)
REMOVE = Operation(
    "unregisterWorkflow",
    "Remove a workflow with its nodes, once they have answered what they have accepted.",
    UNREGISTER.answers,
    errors=(404, 405),
    method="DELETE",
)
