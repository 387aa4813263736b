"""dump(): the text of the configuration that a start logs, with TorchServe's names in TorchServe's order."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .keys import KEYS, as_text
from .settings import Settings

OWN_METRICS = Path("core", "metrics", "metrics.yaml")  # below the package's home
_NONE = "N/A"


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """The facts that a start finds out for itself; `gpus` are those that workers may be placed on."""

    version: str
    home: Path
    working_folder: Path
    temp: Path
    gpus: int
    cpus: int
    python: str
    config_file: Path | None
    logs: Path
    metrics: Path


def dump(settings: Settings, found: Surroundings) -> str:
    """Return `Name: value` lines after an empty first line. A name for which there is no setting has the value N/A."""

    def of(key: str, absent: str = _NONE) -> str:
        return KEYS[key].shown(getattr(settings, key)) or absent if key in KEYS else absent

    rows = {
        "Torchserve version": found.version,
        "TS Home": found.home,
        "Current directory": found.working_folder,
        "Temp directory": found.temp,
        "Metrics config path": of("metrics_config", str(found.home / OWN_METRICS)),
        "Number of GPUs": found.gpus,
        "Number of CPUs": found.cpus,
        "Max heap size": _NONE,
        "Python executable": of("python", found.python),
        "Config file": found.config_file or _NONE,
        "Inference address": of("inference_address"),
        "Management address": of("management_address"),
        "Metrics address": of("metrics_address"),
        "Model Store": _absolute(settings.model_store, found.working_folder),
        "Initial Models": of("load_models"),
        "Log dir": found.logs,
        "Metrics dir": found.metrics,
        "Netty threads": _NONE,
        "Netty client threads": _NONE,
        "Default workers per model": settings.default_workers_per_model or found.gpus or found.cpus,
        "Blacklist Regex": of("blacklist_env_vars"),
        "Maximum Response Size": of("max_response_size"),
        "Maximum Request Size": of("max_request_size"),
        "Limit Maximum Image Pixels": of("limit_max_image_pixels"),
        "Prefer direct buffer": _NONE,
        "Allowed Urls": f"[{', '.join(settings.allowed_urls)}]",
        "Custom python dependency for model allowed": of("install_py_dep_per_model"),
        "Enable metrics API": of("enable_metrics_api"),
        "Metrics mode": of("metrics_mode").upper(),
        "Disable system metrics": of("disable_system_metrics"),
        "Workflow Store": _absolute(settings.workflow_store or settings.model_store, found.working_folder),
        "CPP log config": _NONE,
        "Model config": of("models"),
        "System metrics command": of("system_metrics_cmd", "default"),
        "Model API enabled": as_text(settings.model_api),
    }
    return "".join(f"\n{name}: {value}" for name, value in rows.items())


def _absolute(path: Path | None, folder: Path) -> str:
    return _NONE if path is None else str(folder / path)
