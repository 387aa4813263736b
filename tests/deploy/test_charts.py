"""The Helm chart, the plain manifests and the proxies: they agree with the server's settings. `make charts` renders them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from torchserve.core.config.configuration import read_configuration
from torchserve.core.config.settings import Settings
from torchserve.http.routes import ROUTES

DEPLOY = Path(__file__).parents[2] / "deploy"
CHART = DEPLOY / "helm" / "torchserve"
PLAIN = DEPLOY / "kubernetes" / "torchserve.yaml"
PATHS = {route.path for route in ROUTES}


def documents(path: Path) -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all(path.read_text()) if each]


def plain(kind: str) -> dict[str, Any]:
    return next(each for each in documents(PLAIN) if each["kind"] == kind)


@pytest.fixture(name="pod", scope="module")
def pod_fixture() -> dict[str, Any]:
    return plain("Deployment")["spec"]["template"]["spec"]


@pytest.fixture(name="settings", scope="module")
def settings_fixture(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """What the chart's own configuration says; it has no remark."""
    path = tmp_path_factory.mktemp("chart") / "config.properties"
    path.write_text(plain("ConfigMap")["data"]["config.properties"])
    found = read_configuration(path, (), {}).check()
    assert [each.message for each in found.findings] == []
    return found.settings


@pytest.mark.parametrize("path", sorted((DEPLOY / "kubernetes").glob("*.yaml")), ids=lambda path: path.name)
def test_a_manifest_has_what_each_object_needs(path: Path) -> None:
    for each in documents(path):
        assert each["apiVersion"]
        assert each["kind"]
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", each["metadata"]["name"])


def test_ports_are_those_that_the_server_listens_at(pod: dict[str, Any], settings: Settings) -> None:
    (container,) = pod["containers"]
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    addresses = {
        "http": settings.inference_address,
        "grpc": settings.grpc_inference,
        "metrics": settings.metrics_address,
    }
    assert ports == {name: address.port for name, address in addresses.items()}
    assert all(address.everywhere for address in addresses.values())
    assert settings.management_loopback, "nobody else manages models"
    for service in documents(PLAIN):
        if service["kind"] == "Service":
            assert {each["port"] for each in service["spec"]["ports"]} <= set(ports.values())


def test_probes_ask_what_the_server_answers(pod: dict[str, Any]) -> None:
    (container,) = pod["containers"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["path"] in PATHS
    for file in ("envoy.yaml", "haproxy.cfg"):
        (asked,) = re.findall(r"(?:GET |path: )(/health\S+?)[}\s]", (DEPLOY / "proxies" / file).read_text())
        assert asked in PATHS


def test_a_pod_has_the_time_to_answer_what_it_accepted(pod: dict[str, Any], settings: Settings) -> None:
    (container,) = pod["containers"]
    before = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] >= before + settings.drain_delay + settings.drain_timeout + 5


def test_a_pod_passes_the_restricted_standard(pod: dict[str, Any]) -> None:
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        context = container["securityContext"]
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert (context["allowPrivilegeEscalation"], context["readOnlyRootFilesystem"]) == (False, True)


def test_every_value_is_in_the_schema_and_used() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    templates = "\n".join(path.read_text() for path in (CHART / "templates").iterdir())

    def look(values: dict[str, Any], part: dict[str, Any], path: str) -> None:
        assert part.get("additionalProperties") is False, f"{path} lets anything pass"
        assert set(values) == set(part["properties"]) - {"global"}, path
        for name, value in values.items():
            inner = part["properties"][name]
            if "properties" in inner and name != "resources":
                look(value, inner, f"{path}.{name}")
            else:
                assert f".Values{path}.{name}" in templates, f"{path}.{name} is used nowhere"

    look(yaml.safe_load((CHART / "values.yaml").read_text()), schema, "")


def test_the_chart_is_of_this_version() -> None:
    from torchserve.core.version import __version__

    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == __version__
