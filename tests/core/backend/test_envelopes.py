"""Envelopes: what the handler is given, and what its answers become, for one request and for a batch."""

from __future__ import annotations

import json
from typing import Any

import pytest

from torchserve.core.backend import envelope_classes
from torchserve.core.backend.envelopes import ENVELOPES, enveloped
from torchserve.core.config.envelope_names import ENVELOPE_NAMES
from torchserve.core.handlers.prediction_exception import PredictionException


class FakeContext:
    manifest = {"model": {"modelName": "m", "modelVersion": "2.0"}}

    def __init__(self, explain: str = "False") -> None:
        self.explain = explain

    def get_request_header(self, index: int, name: str) -> str | None:
        return self.explain if name == "explain" else None

    def get_request_id(self, index: int = 0) -> str:
        return f"id-{index}"


def run(envelope: str, data: list[Any], answer: Any = None, **context: str) -> tuple[Any, Any]:
    """What the handler saw, and what the envelope made of its answer (by default its own input)."""
    seen: list[Any] = []

    def handle(data: Any, context: Any) -> Any:
        seen.append(data)
        return data if answer is None else answer

    made = enveloped(envelope, handle)(data, FakeContext(**context))
    return seen[0], made


def tensor(data: list[Any], shape: list[int], datatype: str = "INT64", name: str = "n") -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": datatype, "data": data}


def test_body() -> None:
    assert run("body", [{"body": b"x"}, {"data": {"a": 1}}, {}]) == ([b"x", {"a": 1}, None],) * 2


@pytest.mark.parametrize("key", ["body", "data"])
@pytest.mark.parametrize("form", [lambda value: value, json.dumps, lambda value: json.dumps(value).encode()])
def test_json_joins_the_instances_of_a_batch(key: str, form: Any) -> None:
    seen, made = run("json", [{key: form({"instances": [1, 2]})}, {key: form({"instances": [3]})}])
    assert seen == [1, 2, 3]
    assert [json.loads(text) for text in made] == [{"predictions": [1, 2]}, {"predictions": [3]}]


def test_json_without_a_body_is_the_form_itself() -> None:
    assert run("json", [{"instances": [1]}])[0] == [1]


def test_json_decodes_base64() -> None:
    seen, _ = run("json", [{"body": {"instances": [{"b64": "aGk="}, {"x": {"b64": "aGk="}, "y": 1}, "z"]}}], ["a"])
    assert seen == [b"hi", {"x": b"hi", "y": 1}, "z"]


@pytest.mark.parametrize(("explain", "name"), [("False", "predictions"), ("True", "explanations")])
def test_kserve(explain: str, name: str) -> None:
    assert run("kserve", [{"body": {"instances": [1, 2]}}], explain=explain) == ([1, 2], [{name: [1, 2]}])


def test_kserve_answers_every_request_of_a_batch() -> None:
    _, made = run(
        "kserve", [{"body": {"instances": [1, 2]}}, {"body": {"instances": []}}, {"body": {"instances": [3]}}]
    )
    assert made == [{"predictions": [1, 2]}, {"predictions": []}, {"predictions": [3]}]


def test_one_request_gets_whatever_the_handler_returns() -> None:
    assert run("kserve", [{"body": {"instances": [1, 2, 3]}}], ["all"])[1] == [{"predictions": ["all"]}]


def test_a_wrong_count_in_a_batch_is_left_to_be_told() -> None:
    two = [{"body": {"instances": [1]}}, {"body": {"instances": [2]}}]
    assert len(run("kserve", two, ["one", "two", "three"])[1]) == 3


def test_kservev2() -> None:
    seen, made = run("kservev2", [{"body": {"id": "x", "inputs": [tensor([1, 2, 3, 4], [2, 2])]}}], [[5, 6]])
    assert seen[0]["data"] == [[1, 2], [3, 4]]
    assert made == [{
        "id": "x", "model_name": "m", "model_version": "2.0",
        "outputs": [{"name": "n", "datatype": "INT64", "data": [5, 6], "shape": [2]}],
    }]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "datatype"), [([1], "INT64"), ([1.5], "FP64"), ([True], "BOOL"), (["a"], "BYTES"), ("a", "BYTES")]
)
def test_the_datatype_of_an_output(value: Any, datatype: str) -> None:
    made = run("kservev2", [{"body": {"inputs": [tensor(["text"], [1], "BYTES")]}}], [value])[1]
    assert made[0]["outputs"][0]["datatype"] == datatype
    assert made[0]["id"] == "id-0"


def test_kservev2_answers_every_request_of_a_batch() -> None:
    rows = [{"body": {"inputs": [tensor([1], [1])]}}, {"body": {"inputs": [tensor([2], [1], name="o")]}}]
    made = run("kservev2", rows, [[1], [2]])[1]
    assert [[output["name"] for output in answer["outputs"]] for answer in made] == [["n"], ["o"]]


@pytest.mark.parametrize("envelope", ["json", "kserve", "kservev2"])
@pytest.mark.parametrize(
    "row", [{}, {"body": b"no json"}, {"body": []}, {"body": {"a": 1}}, {"body": {"instances": 1}}]
)
def test_what_is_not_in_an_envelope_is_the_clients_fault(envelope: str, row: dict[str, Any]) -> None:
    with pytest.raises(PredictionException) as refused:
        run(envelope, [row])
    assert refused.value.error_code == 400


@pytest.mark.parametrize("bad", [{}, tensor([1, 2], [3]), tensor([], [1], "BYTES"), 7])
def test_tensors_that_do_not_agree(bad: Any) -> None:
    with pytest.raises(PredictionException, match="An input needs"):
        run("kservev2", [{"body": {"inputs": [bad]}}])


def test_nothing_to_serve_goes_through() -> None:
    assert all(enveloped(name, lambda data, context: "loaded")(None, FakeContext()) == "loaded" for name in ENVELOPES)


def test_each_name_has_its_envelope() -> None:
    assert tuple(ENVELOPES) == ENVELOPE_NAMES


def test_an_unknown_envelope() -> None:
    with pytest.raises(ValueError, match="'mine' is unknown: it is one of body, json"):
        enveloped("mine", lambda data, context: data)


@pytest.mark.parametrize(
    ("name", "row", "answer"),
    [
        ("BodyEnvelope", {"body": [1]}, [[1]]),
        ("JSONEnvelope", {"body": {"instances": [1, 2]}}, ['{"predictions": [1, 2]}']),
        ("KServeEnvelope", {"body": {"instances": [1, 2]}}, [{"predictions": [1, 2]}]),
        ("KServev2Envelope", {"body": {"inputs": [tensor([1], [1])]}}, None),
    ],
)
def test_classes_of_torchserve(name: str, row: dict[str, Any], answer: Any) -> None:
    made = getattr(envelope_classes, name)(lambda data, context: [1] if answer is None else data)
    told = made.handle([row], FakeContext())
    assert told == answer if answer is not None else told[0]["outputs"][0]["data"] == [1]


def test_an_envelope_of_ones_own() -> None:
    class Upper(envelope_classes.BaseEnvelope):
        def parse_input(self, data: Any) -> Any:
            return [row["body"] for row in data]

        def format_output(self, data: Any) -> Any:
            return [text.upper() for text in data]

    made, context = Upper(lambda data, context: data), FakeContext()
    assert made.handle([{"body": "a"}], context) == ["A"]
    assert made.context is context
    assert made.handle(None, context) is None
    with pytest.raises(TypeError):
        envelope_classes.BaseEnvelope(lambda data, context: data)
