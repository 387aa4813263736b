"""Platforms: the variables that show one, the defaults that hold there, and what they may not override."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.config import platforms
from torchserve.core.config.address import Address
from torchserve.core.config.configuration import Configuration, Override, read_configuration
from torchserve.core.config.platforms import find_platform, further_addresses

EVERYWHERE = "0.0.0.0"
VERTEX = {"AIP_HTTP_PORT": "7080", "AIP_PREDICT_ROUTE": "/v1/endpoints/1/deployedModels/2:predict"}


def read(tmp_path: Path, text: str, *flags: Override, **environment: str) -> Configuration:
    path = tmp_path / "c.properties"
    path.write_text(text)
    return read_configuration(path, flags, environment)


def places(found: Configuration) -> list[str]:
    return [str(each) for each in (found.settings.inference_address, *found.settings.further_inference_addresses)]


def said(found: Configuration) -> list[str]:
    return [finding.message for finding in found.findings if finding.level == logging.INFO]


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({"PROTOCOL_VERSION": "v1"}, "KServe"),
        ({"PROTOCOL_VERSION": "grpc-v2"}, "KServe"),
        ({"SAGEMAKER_MULTI_MODEL": "false"}, "SageMaker"),
        ({"SAGEMAKER_BIND_TO_PORT": "8080", "PROTOCOL_VERSION": "v1"}, "SageMaker"),
        ({"AIP_HTTP_PORT": "8080"}, "Vertex AI"),
        ({"AIP_HEALTH_ROUTE": "/ping"}, "Vertex AI"),
    ],
)
def test_a_variable_shows_the_platform(environment: dict[str, str], name: str) -> None:
    found = find_platform(environment)
    assert found is not None
    assert found.name == name
    assert find_platform(environment, "none") is None


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"PROTOCOL_VERSION": "1.0"},
        {"AIP_STORAGE_URI": "gs://bucket/x"},
        {"SAGEMAKER_REGION": "x"},
        {"AIP_HTTP_PORT": " "},
    ],
)
def test_what_others_set_as_well_shows_none(environment: dict[str, str]) -> None:
    assert find_platform(environment) is None


def test_keys_are_not_asked_for_unless_something_says_so(tmp_path: Path) -> None:
    assert not read(tmp_path, "", **VERTEX).check().settings.tokens
    assert read(tmp_path, "disable_token_authorization=false", **VERTEX).check().settings.tokens
    assert read(tmp_path, "platform=none\ninference_address=http://0.0.0.0:1", **VERTEX).check().settings.tokens
    assert read_configuration(None, (), {}).settings.platform == "auto"


def test_one_line_says_what_follows(tmp_path: Path) -> None:
    (line,) = said(read(tmp_path, "", **VERTEX))
    assert line.startswith(
        "This is Vertex AI, as AIP_HTTP_PORT is set: predictions are served at http://0.0.0.0:7080; "
    )
    assert "token authorization is off (Vertex AI (AIP_HTTP_PORT is set))" in line
    (line,) = said(read(tmp_path, "disable_token_authorization=false", **VERTEX))
    assert f"token authorization is on ({tmp_path}/c.properties, line 1)" in line


@pytest.mark.parametrize(
    ("text", "served"),
    [
        ("", [8080, 8081]),
        ("inference_address=http://0.0.0.0:8085\nmanagement_address=http://0.0.0.0:8085", [8085, 8080, 8081]),
        ("inference_address=http://0.0.0.0:8080\nmanagement_address=http://0.0.0.0:8081", [8080]),
        ("inference_address=http://127.0.0.1:8080", [8080, 8081]),
        ("enable_grpc=false\ninference_address=http://0.0.0.0:8085", [8085, 8080]),
        ("inference_address=http://0.0.0.0:1\nfurther_inference_addresses=http://127.0.0.1:8080", [1, 8080, 8081]),
    ],
)
def test_kserves_ports_are_added_where_nothing_has_them(tmp_path: Path, text: str, served: list[int]) -> None:
    found = read(tmp_path, text, PROTOCOL_VERSION="v2").check()
    assert [int(place.rpartition(":")[2]) for place in places(found)] == served
    assert found.settings.metrics_address == Address(EVERYWHERE, 8082)


def test_a_port_that_another_api_has_is_told(tmp_path: Path) -> None:
    found = read(tmp_path, "management_address=http://0.0.0.0:8081", PROTOCOL_VERSION="v1")
    told = (
        "KServe expects predictions at port 8081 on every address: it is that of management_address=http://0.0.0.0:8081"
    )
    assert told in [finding.message for finding in found.findings]


def test_vertex_names_port_and_paths(tmp_path: Path) -> None:
    found = read(tmp_path, "inference_address=http://0.0.0.0:8085", **VERTEX, AIP_HEALTH_ROUTE="/up").check()
    assert places(found) == ["http://0.0.0.0:8085", "http://0.0.0.0:7080"]
    assert (found.settings.health_route, found.settings.predict_route) == ("/up", VERTEX["AIP_PREDICT_ROUTE"])


def test_vertex_names_the_models_unless_something_else_does(tmp_path: Path) -> None:
    stored = {**VERTEX, "AIP_STORAGE_URI": "gs://bucket/deep/folder"}
    settings = read(tmp_path, "", **stored).check().settings
    assert (settings.load_models, settings.service_envelope) == (("gs://bucket/deep/folder/",), "json")
    settings = read(tmp_path, "", Override("load_models", ("a.mar",), "--models"), **stored).check().settings
    assert (settings.load_models, settings.service_envelope) == (("a.mar",), None)


@pytest.mark.parametrize(
    ("variable", "value"),
    [("AIP_HTTP_PORT", "http"), ("AIP_HTTP_PORT", "70000"), ("AIP_HTTP_PORT", "٣"), ("AIP_PREDICT_ROUTE", "/{model}"),
     ("AIP_HEALTH_ROUTE", "ping"), ("AIP_PREDICT_ROUTE", "/"), ("SAGEMAKER_BIND_TO_PORT", "0")],
)  # fmt: skip
def test_a_variable_that_is_wrong_is_named(tmp_path: Path, variable: str, value: str) -> None:
    (error,) = read(tmp_path, "", **{variable: value}).errors
    assert error.startswith(f"{variable}={value}")


def test_sagemakers_toolkit_may_switch_the_model_api_on(tmp_path: Path) -> None:
    """It writes these two lines for every endpoint, whose port the platform alone can reach."""
    text = "disable_token_authorization=true\nenable_model_api=true\ninference_address=http://0.0.0.0:8080"
    assert read(tmp_path, text, SAGEMAKER_PROGRAM="x.py").settings.allow_unauthenticated_model_api
    assert not read(tmp_path, text).settings.allow_unauthenticated_model_api


def test_sagemakers_multi_model_endpoints_have_one_port(tmp_path: Path) -> None:
    settings = read(tmp_path, "", SAGEMAKER_MULTI_MODEL="true", SAGEMAKER_BIND_TO_PORT="9000").check().settings
    assert settings.inference_address == settings.management_address == Address(EVERYWHERE, 9000)
    assert (settings.model_api, settings.model_store) == (True, Path("/"))


@pytest.mark.parametrize(("made", "loaded"), [("a.mar", ("all",)), ("MAR-INF/x", ("model=%s",)), ("code/x", ())])
def test_sagemakers_folder_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: str, loaded: tuple[str, ...]
) -> None:
    folder = tmp_path / "model"
    (folder / made).parent.mkdir(parents=True)
    (folder / made).touch()
    monkeypatch.setattr(platforms, "SAGEMAKER_MODEL", folder)
    settings = read(tmp_path, "", SAGEMAKER_MULTI_MODEL="false").check().settings
    assert settings.load_models == tuple(each.replace("%s", str(folder)) for each in loaded)


ADDRESSES = st.builds(Address, st.sampled_from((EVERYWHERE, "127.0.0.1")), st.integers(1, 5))


@given(st.lists(st.integers(1, 5), unique=True), st.lists(ADDRESSES, max_size=3), ADDRESSES, ADDRESSES)
def test_no_port_is_taken_twice(ports: list[int], further: list[Address], one: Address, other: Address) -> None:
    taken = {"inference_address": one, "management_address": other}
    chosen, lacking = further_addresses(tuple(ports), tuple(further), taken)
    added = [each.port for each in chosen[len(further) :]]
    assert chosen[: len(further)] == tuple(further)
    assert len({*added}) == len(added)
    assert not {*added} & {one.port, other.port, *(each.port for each in further)}
    had = {one.port} if one.everywhere else set[int]()
    assert len(added) + len(lacking) == len({*ports} - had - ({each.port for each in further} - {one.port, other.port}))
