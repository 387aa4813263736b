"""What a worker's results become for the scheduler."""

from __future__ import annotations

from torchserve.core.errors import HandlerFailed
from torchserve.core.payload import Reply
from torchserve.core.wire.messages import DEFAULT_RESULT, Result
from torchserve.core.workers.outcomes import replies


def test_each_request_has_its_own() -> None:
    results = [DEFAULT_RESULT, Result(404, "nf", "x/y", (("a", "1"),)), Result(500, "", None, (), "too large")]
    plain, found, failed = replies(results, [b"a", b"b", b""])
    assert plain == Reply(b"a")
    assert found == Reply(b"b", 404, "nf", "x/y", (("a", "1"),))
    assert isinstance(failed, HandlerFailed)
    assert str(failed) == "too large"


def test_without_results_all_are_plain() -> None:
    assert (
        replies((), [b"a", b"b"])
        == replies([DEFAULT_RESULT, DEFAULT_RESULT], [b"a", b"b"])
        == [Reply(b"a"), Reply(b"b")]
    )
