"""Service: whatever a handler does becomes an answer, with the status, text and samples that TorchServe gives."""

from __future__ import annotations

import json
import sys
import threading

import pytest

from torchserve.core.backend.service import Service
from torchserve.core.wire.frames import FrameReader
from torchserve.core.wire.messages import (
    Answer,
    Initialized,
    Load,
    Metric,
    Notes,
    PartHead,
    Partial,
    Predict,
    Result,
    Row,
    ToFront,
)

HANDLER = """
    import sys
    from ts.utils.util import PredictionException
    from ts.handler_utils.utils import send_intermediate_predict_response as send

    class OutOfMemoryError(RuntimeError):
        pass

    class Surprise(BaseException):
        pass

    class Mute(Exception):
        def __str__(self):
            raise Surprise

        __int__ = __repr__ = __str__

    class Handler:
        def initialize(self, context):
            self.context = context

        def handle(self, data, context):
            self.data = data
            return eval(data[0]["body"], globals(), {"data": data, "context": context, "self": self})

        def throw(self, error):
            raise error

        def then(self, *results):
            return results[-1]
"""


LIMIT = 1000


class Front:
    """The front's side of a Service without a socket: what it sent, as frames."""

    def __init__(self, folder, **load) -> None:
        self.reader = FrameReader(ToFront, 1 << 30)
        self.service = Service(self._receive)
        self.frames: list = []
        self.loaded = self.service.load(Load("m", "1.0", str(folder), "svc", 8, **load))

    def _receive(self, buffers) -> None:
        data = b"".join(buffers)
        while data:
            buffer = self.reader.get_buffer()
            size = min(len(buffer), len(data))
            buffer[:size] = data[:size]
            self.reader.buffer_updated(size)
            data = data[size:]
            while (frame := self.reader.next_frame()) is not None:
                self.frames.append(frame)

    def ask(self, *codes: str, headers: dict[str, str] | None = None) -> tuple[Answer, list[bytes]]:
        self.frames.clear()
        rows = tuple(
            Row(f"id{index}", (PartHead("body", "text/plain"),), headers or {"X-One": "1"})
            for index in range(len(codes))
        )
        self.service.respond(Predict(7, rows), [code.encode() for code in codes])
        answer = self.frames[-1].message
        assert isinstance(answer, Answer)
        assert answer.batch == 7
        return answer, [bytes(body) for body in self.frames[-1].bodies]


@pytest.fixture
def front(write_model, clean_process) -> Front:
    made = Front(write_model({"svc.py": HANDLER}), max_response_size=LIMIT)
    assert made.loaded.code == 200
    return made


OK = Result(200, "", None, ())


def test_a_batch_is_answered_in_order(front: Front) -> None:
    answer, bodies = front.ask("[row['body'][:1] + str(i) for i, row in enumerate(data)]", "b", "c")
    assert (answer.code, answer.message, answer.results) == (200, "", ())  # each of them is DEFAULT_RESULT
    assert bodies == [b"[0", b"b1", b"c2"]


def test_what_is_chosen_at_work_is_told(front: Front) -> None:
    code = "self.then(context.note('padding', 'left out \\ud800'), ['x'])"
    front.ask(code)
    assert [frame.message for frame in front.frames[:-1]] == [Notes({"padding": "left out ?"})]


def test_handler_ms_and_prediction_time(front: Front) -> None:
    answer, _ = front.ask("self.then(__import__('time').sleep(0.02), ['x'])")
    assert answer.handler_ms >= 20
    (sample,) = answer.samples
    assert (sample.name, sample.unit, sample.kind) == ("PredictionTime", "Milliseconds", "GAUGE")
    assert sample.value == pytest.approx(answer.handler_ms, abs=0.01)
    assert sample.dimensions == (("ModelName", "m"), ("Level", "Model"))


@pytest.mark.parametrize(
    ("code", "status", "message"),
    [
        ("self.throw(ValueError('secret'))", 503, "Prediction failed"),
        ("self.throw(RuntimeError('cuda oom'))", 503, "Prediction failed"),
        ("self.throw(SystemExit(3))", 503, "Prediction failed"),
        ("sys.exit('bye')", 503, "Prediction failed"),
        ("self.throw(KeyboardInterrupt())", 503, "Prediction failed"),
        ("self.throw(Surprise('CUDA'))", 503, "Prediction failed"),
        ("self.throw(MemoryError())", 507, "Out of resources"),
        ("self.throw(RuntimeError('CUDA error: x'))", 507, "Out of resources"),
        ("self.throw(ValueError('CUDA error: x'))", 507, "Out of resources"),
        ("self.throw(OutOfMemoryError('x'))", 507, "Out of resources"),
        ("self.throw(PredictionException('pe', 404))", 404, "pe"),
        ("self.throw(PredictionException('pe'))", 500, "pe"),
        ("self.throw(PredictionException('pe', 413))", 413, "pe"),
        ("self.throw(PredictionException('pe', 42))", 500, "pe"),
        ("self.throw(PredictionException('pe', 'x'))", 500, "pe"),
        ("self.throw(PredictionException('\\ud800', 404))", 404, "?"),
        ("self.throw(PredictionException(None, 404))", 404, "None"),
        ("self.throw(Mute())", 503, "Prediction failed"),
        ("self.throw(PredictionException(Mute(), 404))", 404, ""),
        ("self.throw(PredictionException('pe', Mute()))", 500, "pe"),
        ("None", 503, "Invalid model predict output"),
        ("{'a': 1}", 503, "Invalid model predict output"),
        ("('a', 'b')", 503, "Invalid model predict output"),
        ("[]", 503, "number of batch response mismatched: expected 2, got 0"),
        ("['a', 'b', 'c']", 503, "number of batch response mismatched: expected 2, got 3"),
        ("['a', object()]", 503, "Unsupported model output data type."),
        ("context.set_response_status(404, 'x', 9)", 503, "Prediction failed"),
    ],
)
def test_failures(front: Front, code: str, status: int, message: str, capsys) -> None:
    answer, bodies = front.ask(code, "second")
    assert (answer.code, answer.message, answer.results, bodies) == (status, message, (), [])
    printed = capsys.readouterr().err
    if "throw" in code or "exit" in code:
        assert "Traceback (most recent call last)" in printed
        assert "svc.py" in printed
    assert front.ask("['fine']")[0].code == 200


def test_a_handler_without_a_stderr_is_answered_too(front: Front, monkeypatch) -> None:
    monkeypatch.setattr("sys.stderr", None)
    assert front.ask("self.throw(ValueError())")[0].code == 503


def test_a_prediction_exception_of_200_answers_error(front: Front) -> None:
    answer, bodies = front.ask("self.throw(PredictionException('pe', 200))", "x")
    assert (answer.code, answer.results, bodies) == (200, (), [b"error", b"error"])


def test_one_response_over_the_limit_fails_alone(front: Front) -> None:
    answer, bodies = front.ask("['x' * 1001, 'x' * 1000]", "second")
    assert answer.code == 200
    assert [result.status for result in answer.results] == [500, 200]
    assert "1001 bytes" in answer.results[0].error
    assert bodies == [b"", b"x" * 1000]


def test_statuses_and_headers_belong_to_their_request(front: Front) -> None:
    code = (
        "self.then(context.set_response_status(404, 'nf', 1), context.set_response_header(0, 'a', 1),"
        " context.set_response_content_type(1, 'x/y'), ['a', 'b'])"
    )
    answer, _ = front.ask(code, "second")
    assert answer.results == (Result(200, "", None, (("a", "1"),)), Result(404, "nf", "x/y", ()))
    assert front.ask("['a', 'b']", "second")[0].results == ()


def test_what_the_context_knows(front: Front) -> None:
    code = (
        "[[context.get_request_id(1), context.get_request_header(0, 'X-One'), context.get_all_request_header(1),"
        " context.model_name, context.system_properties['batch_size'], context.model_yaml_config], 'second']"
    )
    _, bodies = front.ask(code, "x")
    assert json.loads(bodies[0]) == [
        "id1",
        "1",
        {"body": {"content-type": "text/plain"}, "X-One": "1"},
        "m",
        8,
        {},
    ]


def test_metrics_travel_with_the_answer_even_of_a_failure(front: Front) -> None:
    answer, _ = front.ask("self.then(context.metrics.add_counter('C', 2, 0), self.throw(ValueError()))")
    assert [(sample.name, sample.value, sample.index) for sample in answer.samples] == [("C", 2.0, 0)]
    assert [sample.name for sample in front.ask("['x']")[0].samples] == ["PredictionTime"]


def test_metrics_that_can_not_be_sent_do_not_hurt_the_answer(front: Front, caplog) -> None:
    answer, bodies = front.ask("self.then(context.metrics.add_counter('\\ud800', 2), ['x'])")
    assert (answer.code, answer.samples, bodies) == (200, (), [b"x"])
    assert "metrics of batch 7 are dropped" in caplog.text


def test_configured_metrics_are_found(write_model, clean_process) -> None:
    front = Front(write_model({"svc.py": HANDLER}), metrics=(Metric("H", "ms", "HISTOGRAM", ("ModelName",)),))
    kinds = "__import__('ts.metrics.metric_type_enum', fromlist=['x']).MetricTypes.HISTOGRAM"
    answer, _ = front.ask(f"self.then(context.metrics.get_metric('H', {kinds}).add_or_update(3, ['m']), ['x'])")
    assert answer.samples[0].name == "H"
    assert answer.samples[0].dimensions == (("ModelName", "m"),)


def test_streaming_sends_a_partial_for_each_call(front: Front) -> None:
    code = (
        "self.then(context.set_response_content_type(1, 'x/y'), send(['a', {}], context.request_ids, 'x', 200, context),"
        " send(['b', 'c'], None, '', 206, context), ['end', 'end'])"
    )
    front.ask(code, "second")
    first, second, last = front.frames
    assert first.message == Partial(7, (OK, Result(200, "", "x/y", ())))
    assert first.bodies == (b"a", b"{}")
    assert [result.status for result in second.message.results] == [206, 206]
    assert last.bodies == (b"end", b"end")


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        ("send(['a'], context.request_ids, '', 200, context)", "has 1 elements for 2 requests"),
        ("send(['a', object()], context.request_ids, '', 200, context)", "can't be sent: object"),
        ("send(['a', 'x' * 1001], context.request_ids, '', 200, context)", "over max_response_size"),
        ("send(['a', 'b'], context.request_ids, '', 200)", "needs the context"),
    ],
)
def test_a_wrong_partial_is_the_handlers_error_and_nothing_is_sent(front: Front, call, complaint, capsys) -> None:
    answer, _ = front.ask(call, "second")
    assert answer.code == 503
    assert len(front.frames) == 1
    last_line = capsys.readouterr().err.splitlines()[-1]
    assert last_line.startswith("ValueError: ")
    assert complaint in last_line


def test_a_partial_after_the_answer_is_refused(front: Front) -> None:
    front.ask("['x']")
    context = front.service._context
    errors: list[BaseException] = []

    def late() -> None:
        try:
            context.send_partial(["late"], 200)
        except ValueError as error:
            errors.append(error)

    thread = threading.Thread(target=late)
    thread.start()
    thread.join()
    assert "after the handler had returned" in str(errors[0])
    assert len(front.frames) == 1


@pytest.mark.parametrize(
    ("source", "code", "message"),
    [
        (
            "class A:\n    def initialize(self, c):\n        raise KeyError('a\\nb')\n",
            500,
            "KeyError: 'a\\nb' (svc.py:3)",
        ),
        ("raise ValueError('two\\nlines')\n", 500, "ValueError: two lines (svc.py:1)"),
        ("raise MemoryError\n", 507, "MemoryError (svc.py:1)"),
        ("raise RuntimeError('CUDA out of memory')\n", 507, "RuntimeError: CUDA out of memory (svc.py:1)"),
        ("raise RuntimeError('plain')\n", 500, "RuntimeError: plain (svc.py:1)"),
        ("raise SystemExit(3)\n", 500, "SystemExit: 3 (svc.py:1)"),
        ("import sub.inner\n", 500, "ZeroDivisionError: division by zero (sub/inner.py:2)"),
        ("def (:\n", 500, "SyntaxError: invalid syntax (svc.py, line 1)"),
        (
            "def handle(data, context):\n    return data[0]\n",
            500,
            "TypeError: 'NoneType' object is not subscriptable (svc.py:2)",
        ),
        ("x = 1\n", 500, "ValueError: Expected only one class"),
    ],
)
def test_a_failing_load_says_what_and_where(write_model, clean_process, source, code, message, capsys) -> None:
    if "def initialize" in source:
        source += "    def handle(self, d, c): return d\n"
    loaded = Front(write_model({"svc.py": source, "sub/inner.py": "x = 0\n1 / x\n"})).loaded
    assert loaded.code == code
    assert loaded.message.startswith(message)
    assert "\n" not in loaded.message
    assert loaded.failure.traceback.startswith("Traceback (most recent call last)")
    assert loaded.failure.traceback in capsys.readouterr().err


@pytest.mark.parametrize(
    ("files", "load", "message"),
    [
        ({"MAR-INF/MANIFEST.json": "{"}, {}, "JSONDecodeError"),
        ({"MAR-INF/MANIFEST.json": '{"model": {"configFile": "c.yaml"}}', "c.yaml": "- 1"}, {}, "ValueError: "),
        ({"MAR-INF/MANIFEST.json": '{"model": {"configFile": "c.yaml"}}'}, {}, "FileNotFoundError"),
        ({}, {"envelope": "mine"}, "ValueError: service_envelope 'mine' is unknown"),
    ],
)
def test_a_spoilt_model_folder_is_a_failing_load(write_model, clean_process, files, load, message: str) -> None:
    loaded = Front(write_model({"svc.py": HANDLER, **files}), **load).loaded
    assert loaded.code == 500
    assert loaded.message.startswith(message)


def test_manifest_and_yaml_reach_the_context(write_model, clean_process) -> None:
    folder = write_model({"svc.py": HANDLER, "c.yaml": "handler: {a: 1}\n"}, model={"configFile": "c.yaml"})
    front = Front(folder, gpu_id=None, limit_max_image_pixels=False)
    context = front.service._context
    assert context.manifest == {"model": {"configFile": "c.yaml"}}
    assert context.model_yaml_config == {"handler": {"a": 1}}
    assert context.system_properties["model_dir"] == str(folder)
    assert context.system_properties["limit_max_image_pixels"] is False


def test_what_was_chosen_at_load_goes_to_the_front(write_model, clean_process) -> None:
    source = """
        class Service:
            def initialize(self, context): context.notes |= {"device": "two \\ud800", 1: 2.5}
            def handle(self, data, context): return data
    """
    assert Front(write_model({"svc.py": source})).loaded.notes == {"device": "two ?", "1": "2.5"}


def test_what_is_left_for_later_is_kept_and_what_it_chooses_is_told(write_model, clean_process) -> None:
    source = """
        from ts.torch_handler.base_handler import BaseHandler
        class Service(BaseHandler):
            def initialize(self, context): self.order = []
            def settle(self, context): context.later = ("later", context.defers)
            def handle(self, data, context): return data
    """
    front = Front(write_model({"svc.py": source}))
    assert front.service.later == ("later", False)
    front.service.tell({"speed": "trying \ud800"})
    assert front.frames[-1].message == Notes({"speed": "trying ?"})
    deferring = Service(lambda _: None)
    assert deferring.load(front.service._load, defers=True).code == 200
    assert deferring.later == ("later", True)


def test_undecoded_input_is_given_as_bytearrays(write_model, clean_process) -> None:
    front = Front(write_model({"svc.py": HANDLER}), decode_input_request=False)
    _, bodies = front.ask("[type(data[0]['body']).__name__]")
    assert bodies == [b"bytearray"]


@pytest.mark.parametrize(
    ("base", "variables", "told"),
    [
        ("BaseHandler", {}, [Initialized()]),
        ("BaseHandler", {"LOCAL_RANK": "0"}, []),  # the other ranks' own loading is still waited for
        ("object", {}, []),
    ],
)
def test_the_front_is_told_before_the_warm_up_begins(
    write_model, clean_process, monkeypatch, base: str, variables: dict[str, str], told: list[Initialized]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    text = f"""
        from ts.torch_handler.base_handler import BaseHandler
        order = []
        class Service({base}):
            def initialize(self, context): order.append("initialize")
            def settle(self, context): order.append("settle")
            def handle(self, data, context): return order
    """
    front = Front(write_model({"svc.py": text}))
    assert [frame.message for frame in front.frames] == told
    assert front.loaded.code == 200
    assert sys.modules["svc"].order == ["initialize", "settle"][: 2 if base == "BaseHandler" else 1]
