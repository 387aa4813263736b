"""Context has TorchServe's attributes and methods, with its argument orders and answers."""

from __future__ import annotations

import pytest

from torchserve.core.handlers.context import Context, RequestProcessor
from torchserve.core.handlers.prediction_exception import PredictionException
from torchserve.core.handlers.streaming import send_intermediate_predict_response


@pytest.fixture
def context() -> Context:
    made = Context("m", "/md", {"model": {}}, 2, None, "0.13")
    made.request_ids = {0: "a", 1: "b"}
    made.request_processor = [RequestProcessor({"X": "1", "ts_request_sequence_id": "s1"}), RequestProcessor({})]
    return made


def test_properties(context: Context) -> None:
    assert context.system_properties == {
        "model_dir": "/md",
        "gpu_id": None,
        "batch_size": 2,
        "server_name": "MMS",
        "server_version": "0.13",
        "limit_max_image_pixels": True,
    }
    assert (context.model_name, context.manifest, context.model_yaml_config) == ("m", {"model": {}}, {})
    assert context.stopping_criteria is None
    assert context.metrics.model_name == "m"


def test_request_side(context: Context) -> None:
    assert [context.get_request_id(), context.get_request_id(1), context.get_request_id(2)] == ["a", "b", None]
    assert context.get_request_header(0, "X") == "1"
    assert context.get_request_header(1, "X") is None
    assert context.get_all_request_header(0) == {"X": "1", "ts_request_sequence_id": "s1"}
    assert [context.get_sequence_id(0), context.get_sequence_id(1)] == ["s1", None]
    assert Context("m", "/", {}, 1, None, "0").get_request_id() is None


def test_response_side_defaults(context: Context) -> None:
    assert context.get_response_status(0) == (200, None)
    assert context.get_response_headers(0) == {}
    assert context.get_response_content_type(0) is None


def test_response_side(context: Context) -> None:
    context.set_response_status(404, "nf", 1)
    context.set_response_content_type(1, "a/b")
    context.set_response_header(1, "k", 5)
    assert context.get_response_status(1) == (404, "nf")
    assert context.get_response_headers(1) == {"content-type": "a/b", "k": 5}
    assert context.get_response_content_type(1) == "a/b"
    assert context.get_response_status(0) == (200, None)
    context.set_all_response_status(202, "ok")
    assert [context.get_response_status(0), context.get_response_status(1)] == [(202, "ok")] * 2


@pytest.mark.parametrize(
    "call",
    [
        lambda context: context.get_all_request_header(2),
        lambda context: context.set_response_status(404, "", 2),
        lambda context: context.set_response_header(2, "a", "b"),
    ],
)
def test_an_index_beyond_the_batch_is_an_index_error(context: Context, call) -> None:
    with pytest.raises(IndexError):
        call(context)


def test_sequence_header_names_come_from_the_environment(monkeypatch) -> None:
    for key in ("ID", "START", "END"):
        monkeypatch.setenv(f"TS_REQUEST_SEQUENCE_{key}", f"my-{key}")
    made = Context("m", "/", {}, 1, None, "0")
    names = (made.header_key_sequence_id, made.header_key_sequence_start, made.header_key_sequence_end)
    assert names == ("my-ID", "my-START", "my-END")


def test_handlers_may_add_attributes(context: Context) -> None:
    context.cache = {}
    assert context.cache == {}


def test_request_processor() -> None:
    processor = RequestProcessor({"a": "b"})
    processor.report_status(500)
    processor.add_response_property("k", 1)
    assert processor.get_request_property("a") == "b"
    assert processor.get_request_properties() == {"a": "b"}
    assert (processor.get_response_status_code(), processor.get_response_status_phrase()) == (500, None)
    assert processor.get_response_headers() == {"k": 1}
    assert [processor.get_response_header("k"), processor.get_response_header("q")] == [1, None]


def test_prediction_exception() -> None:
    error = PredictionException("pe", 404)
    assert (error.message, error.error_code, str(error), error.args) == ("pe", 404, "pe : 404", ("pe",))
    assert PredictionException("pe").error_code == 500


def test_streaming_goes_through_the_context(context: Context) -> None:
    sent: list[object] = []
    context.send_partial = lambda elements, code: sent.append((elements, code))
    send_intermediate_predict_response(["a", "b"], context.request_ids, "x", 206, context)
    assert sent == [(["a", "b"], 206)]


@pytest.mark.parametrize("outside", [None, Context("m", "/", {}, 1, None, "0")])
def test_streaming_outside_a_batch_is_told(outside: Context | None) -> None:
    with pytest.raises(ValueError, match="running batch"):
        send_intermediate_predict_response(["a"], {}, "x", 200, outside)
