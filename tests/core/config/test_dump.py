"""The dump of the configuration at a start."""

from __future__ import annotations

from pathlib import Path

import pytest

from torchserve.core.config.address import parse_address
from torchserve.core.config.configured_models import ConfiguredModels
from torchserve.core.config.dump import OWN_METRICS, Surroundings, dump
from torchserve.core.config.settings import Settings

from ...house.tree import REPO

# As TorchServe 0.12 logged them.
NAMES = """
Torchserve version;TS Home;Current directory;Temp directory;Metrics config path;Number of GPUs;Number of CPUs
Max heap size;Python executable;Config file;Inference address;Management address;Metrics address;Model Store
Initial Models;Log dir;Metrics dir;Netty threads;Netty client threads;Default workers per model;Blacklist Regex
Maximum Response Size;Maximum Request Size;Limit Maximum Image Pixels;Prefer direct buffer;Allowed Urls
Custom python dependency for model allowed;Enable metrics API;Metrics mode;Disable system metrics;Workflow Store
CPP log config;Model config;System metrics command;Model API enabled
""".strip().replace("\n", ";").split(";")  # fmt: skip
FOUND = Surroundings(
    version="1.2.3", home=Path("/home"), working_folder=Path("/here"), temp=Path("/tmp"), gpus=0, cpus=6,
    python="/bin/python", config_file=None, logs=Path("/logs"), metrics=Path("/metrics"),
)  # fmt: skip


def rows(settings: Settings, found: Surroundings = FOUND) -> dict[str, str]:
    text = dump(settings, found)
    assert text.startswith("\nTorchserve version: ")
    return dict(line.split(": ", 1) for line in text.strip().splitlines())


def test_torchserves_names_in_torchserves_order() -> None:
    assert list(rows(Settings())) == NAMES


def test_values() -> None:
    settings = Settings(
        model_store=Path("store"), load_models=("a", "b=c"), models=ConfiguredModels("{}", {}), python="/other",
        allowed_urls=("a.*", "b"), max_request_size=5,
    )  # fmt: skip
    shown = rows(settings)
    assert {name: shown[name] for name in shown if name in {
        "Model Store", "Initial Models", "Model config", "Python executable", "Allowed Urls", "Maximum Request Size",
        "Inference address", "Default workers per model", "Limit Maximum Image Pixels", "Log dir", "Metrics dir",
    }} == {
        "Model Store": "/here/store", "Initial Models": "a,b=c", "Model config": "{}", "Python executable": "/other",
        "Allowed Urls": "[a.*, b]", "Maximum Request Size": "5", "Inference address": "http://127.0.0.1:8080",
        "Default workers per model": "6", "Limit Maximum Image Pixels": "true", "Log dir": "/logs",
        "Metrics dir": "/metrics",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "shown"),
    [
        (Settings(), "true"),
        (Settings(enable_model_api=False), "false"),
        (Settings(management_address=parse_address("http://0.0.0.0:1")), "false"),
    ],
)
def test_whether_models_may_be_registered(settings: Settings, shown: str) -> None:
    assert rows(settings)["Model API enabled"] == shown


def test_what_is_not_given() -> None:
    shown = rows(Settings())
    assert (shown["Config file"], shown["Model Store"], shown["Initial Models"], shown["Python executable"]) == (
        "N/A", "N/A", "N/A", "/bin/python",
    )  # fmt: skip
    assert shown["System metrics command"] == "default"
    assert shown["Metrics config path"] == "/home/core/metrics/metrics.yaml"
    assert (REPO / OWN_METRICS).is_file()
    assert shown["Metrics mode"] == "LOG"
