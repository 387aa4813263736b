"""Every error of core has its status, TorchServe's type, and the JSON that TorchServe's clients parse."""

from __future__ import annotations

import json
import logging

import pytest

from torchserve.core import errors
from torchserve.core.errors import ServeError
from torchserve.http.message.errors import KINDS, Challenged, InvalidMessage, error_reply, row
from torchserve.http.message.request import BrokenEncoding

INTERNAL = "InternalServerException"
TABLE = [
    (errors.ModelNotFound("m"), 404, "ModelNotFoundException", "Model not found: m"),
    (errors.DefaultNotFound("m", "9"), 404, "ModelVersionNotFoundException", "Model version 9 does not exist for model m"),
    (errors.VersionNotFound("m", "9"), 404, "ModelVersionNotFoundException", "Model version: 9 does not exist for model: m"),
    (errors.ArchiveNotFound("x"), 404, "ModelNotFoundException", "x"),
    (
        errors.RouteNotFound(), 404, "ResourceNotFoundException",
        "Requested resource is not found, please refer to API document.",
    ),
    (errors.BadRequest("x"), 400, "BadRequestException", "x"),
    (errors.ContextExceeded("x"), 400, "BadRequestException", "x"),
    (BrokenEncoding(3), 403, "IllegalArgumentException", "Invalid percent-encoding in the request target at index 3."),
    (InvalidMessage(), 400, "BadRequestException", "Invalid HTTP message."),
    (errors.InvalidArchive("x"), 400, "InvalidModelException", "x"),
    (errors.InvalidConfig("x"), 400, "BadRequestException", "x"),
    (errors.PackagesFailed("x"), 400, "ModelException", "x"),
    (errors.DownloadFailed("x"), 400, "DownloadArchiveException", "x"),
    (
        errors.AlreadyRegistered("m", "1.0"), 409, "ConflictStatusException",
        "Model version 1.0 is already registered for model m",
    ),
    (errors.ArchiveExists("x"), 500, INTERNAL, "x"),
    (errors.RegionExists("x"), 409, "ConflictStatusException", "x"),
    (errors.SharedMemoryDenied("x"), 403, "ForbiddenException", "x"),
    (errors.DefaultVersionInUse("m"), 403, "InvalidModelVersionException", "Cannot remove default version for model m"),
    (errors.ClientLimited("x", retry_after=2.0), 429, "TooManyRequestsException", "x"),
    (
        errors.VersionInTraffic("m", "2.0", 5), 409, "ConflictStatusException",
        "Version 2.0 of model m answers 5 % of the requests that name no version. Give its share to another one first (PUT"
        " /models/m/traffic), or end the sharing (DELETE).",
    ),
    (
        errors.MethodNotAllowed(), 405, "MethodNotAllowedException",
        "Requested method is not allowed, please refer to API document.",
    ),
    (errors.ForeignSite("x"), 403, "ForbiddenException", "x"),
    (errors.InvalidKey("x"), 400, "InvalidKeyException", "x"),
    (Challenged("x"), 401, "InvalidKeyException", "x"),
    (errors.TooLarge("x"), 413, "RequestEntityTooLargeException", "x"),
    (errors.QueueFull("x"), 503, "ServiceUnavailableException", "x"),
    (errors.NotInTime("x", retry_after=0.2), 503, "ServiceUnavailableException", "x"),
    (errors.NoWorker("x"), 503, "ServiceUnavailableException", "x"),
    (errors.ServerFull("x"), 503, "ServiceUnavailableException", "x"),
    (errors.NoTicket("x"), 503, "ServiceUnavailableException", "x"),
    (errors.Draining("x"), 503, "ServiceUnavailableException", "x"),
    (errors.SlowRequest("x"), 408, "RequestTimeoutException", "x"),
    (errors.RequestExpired("x"), 504, "RequestTimeoutException", "x"),
    (errors.GenerationExpired("x"), 504, "RequestTimeoutException", "x"),
    (errors.HandlerFailed("Prediction failed", 503), 503, INTERNAL, "Prediction failed"),
    (errors.HandlerFailed("Out of resources", 507), 507, INTERNAL, "Out of resources"),
    (errors.HandlerFailed("x", 599), 599, INTERNAL, "x"),
    (errors.HandlerFailed("x", 42), 500, INTERNAL, "x"),
    (errors.HandlerFailed("x", 1000), 500, INTERNAL, "x"),
    (errors.WorkerDied("Worker died."), 500, INTERNAL, "Worker died."),
    (errors.WorkerDied("Worker died.", out_of_memory=True), 507, INTERNAL, "Worker died."),
    (errors.WorkersFailed("x"), 500, INTERNAL, "x"),
    (errors.WorkflowNotFound("x"), 404, "WorkflowNotFoundException", "x"),
    (errors.InvalidWorkflow("x"), 400, "InvalidWorkflowException", "x"),
    (errors.InvalidGraph("x"), 400, "InvalidDAGException", "x"),
    (errors.WorkflowExists("w"), 409, "ConflictStatusException", "Workflow w is already registered."),
    (errors.WorkflowFailed("x"), 500, "WorkflowException", "x"),
    (errors.NodeFailed("x"), 500, INTERNAL, "x"),
    (errors.CallDeadlock("x"), 503, "ServiceUnavailableException", "x"),
    (errors.CallTooDeep("x"), 500, INTERNAL, "x"),
    (errors.NotProfiled("x"), 500, INTERNAL, "x"),
    (errors.ProfileRunning("x"), 409, "ConflictStatusException", "x"),
    (errors.WorkersFailed("x", out_of_memory=True), 507, INTERNAL, "x"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "status", "kind", "message"), TABLE)
def test_status_type_and_body(error: ServeError, status: int, kind: str, message: str) -> None:
    reply = error_reply(error)
    expected = f'{{\n  "code": {status},\n  "type": "{kind}",\n  "message": "{message}"\n}}\n'
    assert (reply.status, bytes(reply.body).decode(), reply.content_type) == (status, expected, "application/json")


@pytest.mark.parametrize(
    "kind", [errors.QueueFull, errors.ServerFull, errors.NoTicket, errors.NoWorker, errors.Draining, errors.NotInTime]
)
@pytest.mark.parametrize(
    ("seconds", "said"), [(None, None), (0.0, "1"), (0.2, "1"), (1.0, "1"), (1.01, "2"), (30.0, "30")]
)
def test_what_passes_by_itself_says_when_in_whole_seconds(
    kind: type[errors.Overloaded], seconds: float | None, said: str | None
) -> None:
    headers = error_reply(kind("x", retry_after=seconds)).headers
    assert dict(headers).get("Retry-After") == said


def test_every_error_of_core_is_in_the_table_by_row_or_by_kind() -> None:
    leaves = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, ServeError)]
    tested = {type(error) for error, *_ in TABLE}
    assert {each for each in leaves if not each.__subclasses__()} <= tested
    assert {each.kind for each in leaves} == set(KINDS)


def test_a_class_without_a_row_goes_by_its_base_and_then_by_its_kind() -> None:
    class Odd(errors.DownloadFailed):
        pass

    class Stranger(errors.Overloaded):
        pass

    assert row(Odd("x")) == (400, "DownloadArchiveException")
    assert row(Stranger("x")) == (503, "ServiceUnavailableException")


def test_a_handlers_error_with_status_200_is_answered_as_torchserve_does() -> None:
    reply = error_reply(errors.HandlerFailed("x", 200))
    assert (reply.status, reply.body, reply.content_type) == (200, b"error", None)


@pytest.mark.parametrize("status", [201, 204, 300])
def test_and_with_others_below_400_as_any_error(status: int) -> None:
    reply = error_reply(errors.HandlerFailed("x", status))
    assert (reply.status, reply.content_type) == (status, "application/json")
    assert json.loads(bytes(reply.body)) == {"code": status, "type": INTERNAL, "message": "x"}


def test_an_unexpected_error_tells_an_incident_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        reply = error_reply(KeyError("/secret/path"))
    body = json.loads(bytes(reply.body))
    assert (reply.status, body["code"], body["type"]) == (500, 500, INTERNAL)
    incident = body["message"].split()[-1].rstrip(".")
    assert incident in caplog.text
    assert "/secret/path" in caplog.text
    assert "secret" not in body["message"]
    assert "KeyError" not in body["message"]


def test_text_that_utf8_can_not_carry_is_escaped() -> None:
    assert json.loads(bytes(error_reply(errors.BadRequest("a\ud800")).body))["message"] == "a\ud800"
