"""benchmarks.h2load: its report and log are read, and calls of gRPC that fail are seen, though h2load sees none."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.calls import Call
from benchmarks.h2load import Report, UnreadableReportError, command, latencies, parse
from torchserve.cli.bench_protocol import speak
from torchserve.cli.loadgen.checks import echo
from torchserve.cli.loadgen.payload import Payload
from torchserve.core.config.address import Address

TOLD = """\
finished in 2.00s, 13326.50 req/s, 13.60MB/s
requests: 26653 total, 26717 started, 26653 done, {succeeded} succeeded, {failed} failed, {errored} errored, 0 timeout
status codes: 26653 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 27.20MB (28519158) total, 520.57KB (533068) headers (space savings 47.37%), 25.62MB ({data}) data
                     min         max         mean         sd        +/- sd
"""


def told(data: int = 26653 * 1008, failed: int = 0, errored: int = 0) -> Report:
    return parse(TOLD.format(succeeded=26653 - failed - errored, failed=failed, errored=errored, data=data))


@pytest.mark.parametrize("more", [0, 500, 64 * 1008])
def test_a_run_whose_answers_are_all_whole_has_no_fault(more: int) -> None:
    assert told(26653 * 1008 + more).faults(1008, 64) == ()


@pytest.mark.parametrize(
    ("report", "fault"),
    [
        (told(26652 * 1008), "1008 each"),  # one call failed: a status of gRPC comes without a message
        (told(26653 * 1008 - 1), "1008 each"),
        (told(26653 * 1008 + 64 * 1008 + 1), "1008 each"),
        (told(failed=3, errored=2), "5 of 26653"),
        (Report(0, 0, 0), "no call"),
    ],
)
def test_a_run_with_other_answers_is_no_measurement(report: Report, fault: str) -> None:
    (found,) = report.faults(1008, 64)
    assert fault in found


def test_what_is_no_report_is_said() -> None:
    with pytest.raises(UnreadableReportError, match="could not connect"):
        parse("could not connect")


def test_latencies_are_read_off_the_log() -> None:
    assert latencies("1796100158226385\t200\t8263\n1796100158226386\t200\t8000\n") == [0.008, 0.008263]


def test_it_is_asked_for_the_calls_in_flight_of_all_channels() -> None:
    payloads = (Payload("1 kB", b"body"),)
    call = Call("ours", "P", Address("127.0.0.1", 7070), speak("grpc", "calls", None, payloads, None), echo)
    words = command(call, (64, 8), 1.5, Path("body"), Path("log"))
    assert {"--clients=8", "--max-concurrent-streams=8", "--duration=1500ms", "--data=body"} <= set(words)
    assert words[-1].startswith("http://127.0.0.1:7070/org.pytorch.serve.grpc.inference")
