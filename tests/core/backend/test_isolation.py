"""One request of a batch fails: by an exception in its place, or, with isolateErrors, when a handler raises for all."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from torchserve.core.wire.messages import DEFAULT_RESULT, PartHead, Partial, Predict, Result, Row

from .test_service import HANDLER, LIMIT, Front

# Each row's text says what comes of it; the log has each call's rows.
ISOLATED = """
    import ts
    from ts.utils.util import PredictionException
    from ts.handler_utils.utils import send_intermediate_predict_response as send

    CALLS = []

    class Handler:
        def initialize(self, context):
            self.context = context

        def handle(self, data, context):
            texts = [row["body"] if isinstance(row["body"], str) else bytes(row["body"]).decode() for row in data]
            CALLS.append(texts)
            context.metrics.add_counter("Calls", 1)
            for index, text in enumerate(texts):
                context.metrics.add_counter(f"Of-{text}", 1, index)
                if isinstance(row := data[index]["body"], bytearray):
                    row[:] = b"changed"
            return [self.of(text, index, texts, context) for index, text in enumerate(texts)]

        def of(self, text, index, texts, context):
            if text == "bad":
                raise ValueError("this one")
            if text == "memory" and len(texts) > 1:
                raise MemoryError
            if text == "teapot":
                raise PredictionException("short and stout", 418)
            if text == "fine200":
                raise PredictionException("", 200)
            if text == "empty":
                raise PredictionException("", 404)
            if text == "object":
                return object()
            if text == "exit":
                raise SystemExit(3)
            if text == "calls":
                return [len(call) for call in CALLS]
            if text == "header":
                context.set_response_header(index, "x-mine", "1")
            if text == "stream":
                send(["piece"] * len(texts), context.request_ids, "", 200, context)
            return text.upper()
"""
OK = DEFAULT_RESULT
FAILED = Result(503, "", None, (), "Prediction failed")


@pytest.fixture
def folder(write_model: Any, clean_process: None) -> Any:
    return write_model({"svc.py": ISOLATED})


@pytest.fixture
def front(folder: Any) -> Front:
    made = Front(folder, max_response_size=LIMIT, isolate_within=60.0)
    assert made.loaded.code == 200
    return made


@pytest.mark.parametrize(
    ("texts", "results", "bodies"),
    [
        (("a", "bad", "c"), (OK, FAILED, OK), [b"A", b"", b"C"]),
        (("bad", "b"), (FAILED, OK), [b"", b"B"]),
        (("bad", "bad"), (FAILED, FAILED), [b"", b""]),
        (("a", "teapot"), (OK, Result(418, "", None, (), "short and stout")), [b"A", b""]),
        (("a", "fine200"), (), [b"A", b"error"]),
        (("a", "empty"), (OK, Result(404, "", None, (), "Prediction failed")), [b"A", b""]),
        (("a", "memory"), (), [b"A", b"MEMORY"]),
        (("a", "object"), (OK, Result(503, "", None, (), "Unsupported model output data type.")), [b"A", b""]),
        (("header", "bad"), (Result(200, "", None, (("x-mine", "1"),)), FAILED), [b"HEADER", b""]),
    ],
)
def test_a_batch_that_fails_is_run_again_one_by_one(
    front: Front, texts: tuple[str, ...], results: tuple[Result, ...], bodies: list[bytes]
) -> None:
    answer, sent = front.ask(*texts)
    assert (answer.code, answer.message, answer.results, answer.untypical) == (200, "", results, True)
    assert sent == bodies


def test_a_batch_in_which_the_handler_tries_something_is_not_typical(write_model: Any, clean_process: None) -> None:
    code = """
def handle(data, context):
    if data and data[0]["body"] == "try":
        context.untypical = True
    return ["ok"]
"""
    front = Front(write_model({"svc.py": code}))
    assert front.loaded.code == 200
    assert [front.ask(text)[0].untypical for text in ("a", "try", "b")] == [False, True, False]


def test_each_request_is_asked_twice_at_most(front: Front) -> None:
    front.ask("a", "bad", "c")
    _, (calls,) = front.ask("calls")
    assert calls.split() == b"[ 3, 1, 1, 1, 1 ]".split()


@pytest.mark.parametrize(("texts", "code"), [(("bad",), 503), (("exit", "b"), 503), (("stream", "bad"), 503)])
def test_what_is_not_run_again(front: Front, texts: tuple[str, ...], code: int) -> None:
    """A batch of one, one whose handler wanted to end the process, one that has sent pieces of its answers."""
    answer, _ = front.ask(*texts)
    assert (answer.code, answer.results, answer.untypical) == (code, (), False)
    _, (calls,) = front.ask("calls")
    assert calls.split() == f"[ {len(texts)}, 1 ]".encode().split()


def test_nothing_is_run_again_unless_the_option_says_so(folder: Any) -> None:
    answer, _ = Front(folder).ask("a", "bad")
    assert (answer.code, answer.message, answer.untypical) == (503, "Prediction failed", False)


def test_a_request_that_is_run_again_can_not_stream(front: Front) -> None:
    answer, bodies = front.ask("bad", "stream", "c")
    assert answer.results == (FAILED, FAILED, OK)
    assert bodies == [b"", b"", b"C"]
    assert not any(isinstance(frame.message, Partial) for frame in front.frames)


def test_those_for_whom_no_time_is_left_get_the_batch_error(folder: Any) -> None:
    answer, bodies = Front(folder, isolate_within=1e-9).ask("a", "teapot")
    assert answer.results == (Result(418, "", None, (), "short and stout"),) * 2
    assert bodies == [b"", b""]


def test_samples_are_those_of_the_second_run_and_name_their_request(front: Front) -> None:
    answer, _ = front.ask("a", "bad", "c")
    samples = [(sample.name, sample.value, sample.index) for sample in answer.samples]
    assert samples.count(("Calls", 1.0, None)) == 3
    assert [sample for sample in samples if sample[0].startswith("Of-")] == [
        ("Of-a", 1.0, 0), ("Of-bad", 1.0, 1), ("Of-c", 1.0, 2),
    ]  # fmt: skip
    assert answer.handler_ms >= max(sample.value for sample in answer.samples if sample.name == "PredictionTime")


def test_the_author_is_told_of_the_first_failure(front: Front) -> None:
    answer, _ = front.ask("a", "bad", "teapot")
    assert answer.failure is not None
    assert (answer.failure.kind, answer.failure.message, answer.failure.file) == ("ValueError", "this one", "svc.py")


def test_what_the_handler_changed_in_its_input_is_not_seen_again(front: Front) -> None:
    """Bodies of many bytes are handed over as they are, where they are not run again."""
    rows = tuple(Row(f"id{index}", (PartHead("body", "application/octet-stream"),), {}) for index in range(2))
    front.service.respond(Predict(7, rows), [bytearray(b"a"), bytearray(b"bad")])
    answer = front.frames[-1].message
    assert answer.results == (OK, FAILED)
    assert bytes(front.frames[-1].bodies[0]) == b"A"


def test_requests_of_several_parts_keep_their_own(front: Front) -> None:
    heads = (PartHead("body", "text/plain"), PartHead("more", ""))
    rows = tuple(Row(f"id{index}", heads, {}) for index in range(3))
    front.service.respond(Predict(7, rows), [b"a", b"1", b"bad", b"2", b"c", b"3"])
    assert [bytes(body) for body in front.frames[-1].bodies] == [b"A", b"", b"C"]


# ---- an exception in a request's place


@pytest.mark.parametrize(
    ("element", "result", "body"),
    [
        ("ValueError('x')", FAILED, b""),
        ("MemoryError()", Result(507, "", None, (), "Out of resources"), b""),
        ("PredictionException('no', 422)", Result(422, "", None, (), "no"), b""),
        ("PredictionException('', 422)", Result(422, "", None, (), "Prediction failed"), b""),
        ("PredictionException('x', 200)", OK, b"error"),
        ("PredictionException('x', 42)", Result(500, "", None, (), "x"), b""),
    ],
)
def test_an_exception_in_its_place_fails_a_request_alone(
    write_model: Any, clean_process: None, element: str, result: Result, body: bytes
) -> None:
    front = Front(write_model({"svc.py": HANDLER}))
    answer, bodies = front.ask(f"['a', {element}, 'c']", "b", "c")
    assert (answer.code, answer.message, answer.untypical) == (200, "", False)
    assert (answer.results or (OK,) * 3) == (OK, result, OK)
    assert bodies == [b"a", body, b"c"]
    assert (answer.failure is not None) == (not element.startswith("Prediction"))


def test_with_its_traceback_where_answers_have_them(write_model: Any, clean_process: None) -> None:
    front = Front(write_model({"svc.py": HANDLER}), errors_in_response=True)
    answer, _ = front.ask("['a', ValueError('in its place')]", "b")
    assert answer.results[1].error.startswith("Prediction failed: ValueError: in its place")


def test_a_criterion_is_not_asked_of_an_exception(write_model: Any, clean_process: None) -> None:
    front = Front(write_model({"svc.py": HANDLER}))
    set_criteria = "setattr(context, 'stopping_criteria', {0: lambda out: out.decode() == 'x', 1: lambda out: False})"
    answer, _ = front.ask(f"self.then({set_criteria}, [ValueError('x'), 'b'])", "b")
    assert (answer.code, answer.results[0]) == (200, FAILED)
    assert ("ts_stream_next", "true") in answer.results[1].headers


def test_an_exception_can_not_be_a_piece_of_an_answer(write_model: Any, clean_process: None) -> None:
    front = Front(write_model({"svc.py": HANDLER}), errors_in_response=True)
    answer, _ = front.ask("self.then(send([ValueError('x')], context.request_ids, '', 200, context), ['a'])")
    assert (answer.code, answer.message.startswith("Prediction failed: ValueError: Prediction failed")) == (503, True)


def test_an_asynchronous_handler_may_return_one_too(write_model: Any, clean_process: None) -> None:
    code = """
        class Handler:
            async def handle(self, data, context):
                return [ValueError("x") for _ in data]
    """
    front = Front(write_model({"svc.py": code}), asynchronous=True)
    row = Row("id0", (PartHead("body", "text/plain"),), {})
    asyncio.run(front.service.fork().respond_soon(Predict(7, (row,)), [b"a"]))
    assert front.frames[-1].message.results == (FAILED,)
