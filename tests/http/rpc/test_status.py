"""Every error has a gRPC code, beside its HTTP status."""

from __future__ import annotations

from typing import get_args
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core import errors
from torchserve.core.errors import HandlerFailed, Kind, ServeError
from torchserve.http.message.errors import KINDS as HTTP_KINDS
from torchserve.http.rpc import status
from torchserve.http.rpc.status import Code, RpcFailure, Status, code_of, counted_as, status_of, trailers_of


def test_every_kind_of_error_has_a_code_and_an_http_status() -> None:
    assert set(status.KINDS) == set(HTTP_KINDS) == set(get_args(Kind))


# Error -> (code, the last line of its text).
ERRORS = [
    (errors.ModelNotFound("m"), Code.NOT_FOUND, "org.pytorch.serve.archive.model.ModelNotFoundException"),
    (errors.VersionNotFound("m", "2"), Code.NOT_FOUND, "org.pytorch.serve.archive.model.ModelVersionNotFoundException"),
    (errors.BadRequest("b"), Code.INVALID_ARGUMENT, "org.pytorch.serve.http.BadRequestException"),
    (errors.AlreadyRegistered("m", "1"), Code.ALREADY_EXISTS, "org.pytorch.serve.http.ConflictStatusException"),
    (errors.RegionExists("r"), Code.ALREADY_EXISTS, "org.pytorch.serve.http.ConflictStatusException"),
    (errors.SharedMemoryDenied("s"), Code.PERMISSION_DENIED, "s"),
    (errors.ArchiveExists("a"), Code.INTERNAL, "org.pytorch.serve.http.InternalServerException"),
    (errors.DefaultVersionInUse("m"), Code.FAILED_PRECONDITION,
        "org.pytorch.serve.archive.model.InvalidModelVersionException"),
    (errors.VersionInTraffic("m", "1", 5), Code.FAILED_PRECONDITION, "org.pytorch.serve.http.ConflictStatusException"),
    (errors.InvalidKey("k"), Code.PERMISSION_DENIED, "k"),
    (errors.ForeignSite("f"), Code.PERMISSION_DENIED, "f"),
    (errors.TooLarge("t"), Code.RESOURCE_EXHAUSTED, "t"),
    (errors.ClientLimited("q"), Code.RESOURCE_EXHAUSTED, "q"),
    (errors.QueueFull("q"), Code.RESOURCE_EXHAUSTED, "org.pytorch.serve.http.ServiceUnavailableException"),
    (errors.ServerFull("q"), Code.RESOURCE_EXHAUSTED, "org.pytorch.serve.http.ServiceUnavailableException"),
    (errors.NoWorker("n"), Code.UNAVAILABLE, "org.pytorch.serve.http.ServiceUnavailableException"),
    (errors.Draining("d"), Code.UNAVAILABLE, "org.pytorch.serve.http.ServiceUnavailableException"),
    (errors.NotInTime("n"), Code.DEADLINE_EXCEEDED, "org.pytorch.serve.http.ServiceUnavailableException"),
    (errors.RequestExpired("e"), Code.DEADLINE_EXCEEDED, "e"),
    (errors.WorkerDied("Worker died."), Code.INTERNAL, "org.pytorch.serve.http.InternalServerException"),
    (errors.WorkersFailed("w"), Code.INTERNAL, "org.pytorch.serve.http.InternalServerException"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "code", "last"), ERRORS, ids=lambda value: type(value).__name__)
def test_an_error_has_its_code_and_its_text(error: ServeError, code: Code, last: str) -> None:
    found = status_of(error)
    assert found.code == code
    assert found.message.split("\n")[0] == error.message
    assert found.message.split("\n")[-1] == last
    assert status_of(error, "torchserve").message == error.message


def test_an_unknown_model_is_told_as_triton_does_to_its_clients() -> None:
    told = [status_of(error, "oip").message for error in (errors.ModelNotFound("m"), errors.VersionNotFound("m", "9"))]
    assert told == [f"Request for unknown model: 'm' {which}is not found" for which in ("", "version 9 ")]
    assert status_of(errors.QueueFull("q"), "oip").message == "q"


# HTTP status of a handler's PredictionException -> code, as TorchServe has them.
HANDLERS = {
    400: Code.INVALID_ARGUMENT, 401: Code.UNAUTHENTICATED, 403: Code.PERMISSION_DENIED, 404: Code.NOT_FOUND,
    409: Code.ABORTED, 413: Code.RESOURCE_EXHAUSTED, 416: Code.OUT_OF_RANGE, 418: Code.FAILED_PRECONDITION,
    429: Code.RESOURCE_EXHAUSTED, 499: Code.CANCELLED, 500: Code.INTERNAL, 501: Code.UNIMPLEMENTED,
    503: Code.UNAVAILABLE, 504: Code.DEADLINE_EXCEEDED, 507: Code.INTERNAL, 513: Code.INTERNAL, 999: Code.INTERNAL,
}  # fmt: skip


@pytest.mark.parametrize("http", HANDLERS)
def test_a_handler_s_status_has_torchserve_s_code(http: int) -> None:
    assert code_of(HandlerFailed("x", http)) == HANDLERS[http]


def test_an_error_of_another_kind_is_not_told_to_the_client(caplog: pytest.LogCaptureFixture) -> None:
    found = status_of(ValueError("secret"))
    assert found.code == Code.INTERNAL
    assert "secret" not in found.message
    assert found.message.rstrip(".").split()[-1] in caplog.text


def test_a_failure_of_grpc_s_own_has_no_class() -> None:
    assert status_of(RpcFailure(Code.UNIMPLEMENTED, "x")) == Status(Code.UNIMPLEMENTED, "x")


def test_what_may_be_sent_again_says_when() -> None:
    assert trailers_of(status_of(errors.QueueFull("q", retry_after=0.25)))[-1] == ("grpc-retry-pushback-ms", "250")
    assert dict(trailers_of(status_of(errors.QueueFull("q")))).keys() == {"grpc-status", "grpc-message"}


def test_every_code_is_counted_under_an_http_status() -> None:
    assert {code: counted_as(code) // 100 for code in Code if counted_as(code) < 400} == {Code.OK: 2}
    assert all(counted_as(code) < 600 for code in Code)


@given(st.text(max_size=300))
def test_a_text_comes_back_from_its_trailer(text: str) -> None:
    spelt = dict(trailers_of(Status(Code.INTERNAL, text))).get("grpc-message", "")
    assert spelt.isascii()
    assert spelt.isprintable()
    assert unquote(spelt, errors="strict") == text.encode("utf-8", "replace").decode()


def test_a_long_text_is_cut_between_characters() -> None:
    spelt = dict(trailers_of(Status(Code.INTERNAL, "ä" * 5000)))["grpc-message"]
    assert len(spelt) <= 4100
    assert unquote(spelt, errors="strict") == "ä" * 682 + "..."
