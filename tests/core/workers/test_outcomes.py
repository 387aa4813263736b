"""What a worker's results become for the scheduler."""

from __future__ import annotations

from torchserve.core.errors import HandlerFailed
from torchserve.core.payload import Reply
from torchserve.core.wire.messages import DEFAULT_RESULT, Load, Result
from torchserve.core.workers.outcomes import outcomes_of, replies
from torchserve.scheduler.job import Continue, Job

from ..doubles import Sink


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


def test_a_request_that_fails_alone_ends_while_the_others_of_its_continuous_batch_go_on() -> None:
    load = Load("m", "1.0", "/m", "svc", 2, continuous=True)
    jobs = [Job(f"id{number}", None, Sink()) for number in range(2)]
    results = [Result(503, "", None, (), "no"), Result(200, "", None, (("ts_stream_next", "true"),))]
    failed, goes_on = outcomes_of(load, jobs, replies(results, [b"", b"piece"]))
    assert isinstance(failed, HandlerFailed)
    assert isinstance(goes_on, Continue)
