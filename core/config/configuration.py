"""Configuration: the Settings that the file, the command line and the environment make, and the origin of each value.

Later layers win: defaults, the file with its `$$VARIABLE$$`s, the command line, the environment (if the file allows
it).
"""

from __future__ import annotations

import difflib
import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import InvalidConfig
from .keys import HIDDEN, KEYS, Key, as_text
from .platforms import find_platform, further_addresses
from .properties import fill_in, read_properties
from .settings import Settings
from .unserved_keys import NOT_YET, OF_IPEX, WITHOUT_EFFECT

log = logging.getLogger(__name__)

_PASSWORD = re.compile(r"(\w://)[^/@\s,]+@")
_QUERY = re.compile(r"(\w://[^\s,?]+)\?[^\s,\"]+")

# Flags that unlock something unlock it for one run: a snapshot does not keep them.
FOR_ONE_RUN = ("disable_token_authorization", "enable_model_api", "allow_unauthenticated_model_api")


@dataclass(frozen=True, slots=True)
class Origin:
    """The origin of a value: `kind` is default, file, command line, environment or platform."""

    kind: str = "default"
    name: str = ""
    line: int | None = None

    def __str__(self) -> str:
        return f"{self.name}, line {self.line}" if self.line else self.name or self.kind


@dataclass(frozen=True, slots=True)
class Override:
    """A value that a flag of the command line gives a key; it is of the key's type."""

    key: str
    value: Any
    flag: str


@dataclass(frozen=True, slots=True)
class Finding:
    """A remark on a configuration; `level` is logging's: INFO, WARNING or ERROR."""

    level: int
    message: str

    @property
    def name(self) -> str:
        """The level as a word: error, warning or note."""
        return {logging.ERROR: "error", logging.WARNING: "warning"}.get(self.level, "note")


@dataclass(slots=True)
class Configuration:
    """The result of reading a configuration. `settings` may be used once `check` has not raised."""

    path: Path | None = None
    settings: Settings = field(default_factory=Settings)
    origins: dict[str, Origin] = field(default_factory=dict[str, Origin])
    findings: list[Finding] = field(default_factory=list[Finding])
    texts: dict[str, str] = field(default_factory=dict[str, str])  # the file's values by key, unparsed

    def origin(self, key: str) -> Origin:
        return self.origins.get(key, Origin())

    @property
    def errors(self) -> list[str]:
        return [finding.message for finding in self.findings if finding.level >= logging.ERROR]

    def shown(self) -> list[dict[str, str]]:
        """Return each setting with its value, as anybody may see it, and where that came from."""
        return [
            {
                "key": key.name,
                "value": _safe(key.shown(getattr(self.settings, key.name))),
                "origin": str(self.origin(key.name)),
            }
            for key in KEYS.values()
        ]

    def check(self) -> Configuration:
        """Raise InvalidConfig for the first error, if there is one."""
        if self.errors:
            raise InvalidConfig(f"Invalid configuration: {self.errors[0]}")
        return self

    def kept(self) -> dict[str, str]:
        """Return the properties that a snapshot keeps: the file's as written, overridden by the command line's."""
        flags = {
            key: as_text(getattr(self.settings, key))
            for key, origin in self.origins.items()
            if origin.kind == "command line" and key not in FOR_ONE_RUN
        }
        source = {} if self.path is None else {"tsConfigFile": str(self.path)}
        return self.texts | flags | source

    def tell(self) -> None:
        """Log the findings. Reading a configuration can't log them, since the log is opened by it."""
        if self.settings.allowed_urls == KEYS["allowed_urls"].default:
            log.warning(
                "allowed_urls is not limited: archives are loaded from any public URL. Limit it for production."
            )
        for finding in self.findings:
            log.log(finding.level, "%s", finding.message)


def _safe(text: str) -> str:
    """Return a value without what an address in it may keep secret: a user's password, and a signature in its query."""
    return _QUERY.sub(rf"\1?{HIDDEN}", _PASSWORD.sub(rf"\1{HIDDEN}@", text))


def find_config(
    given: Path | None,
    environment: Mapping[str, str] = os.environ,
    *,
    snapshot: Callable[[], Path | None] = lambda: None,
) -> Path | None:
    """Return the path of the properties file, None if there is none.

    The first of these is taken: TS_CONFIG_FILE, `given`, the snapshot, ./config.properties. Raises InvalidConfig if a
    file that was named does not exist.
    """
    from_environment = environment.get("TS_CONFIG_FILE")
    path = Path(from_environment) if from_environment else given
    if path is None:
        found = snapshot()
        if found is not None:
            return found
        return Path("config.properties") if Path("config.properties").is_file() else None
    if not path.is_file():
        raise InvalidConfig(f"--ts-config file not found: {path}")
    return path


def is_unasked(given: Path | None, environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether no file was named, so that `find_config` takes one from the working folder, which may be
    anybody's.
    """
    return given is None and not environment.get("TS_CONFIG_FILE")


def read_configuration(
    path: Path | None,
    overrides: Iterable[Override] = (),
    environment: Mapping[str, str] = os.environ,
    *,
    unasked: bool = False,
) -> Configuration:
    """Read all layers of the configuration; faults are among its findings.

    `unasked` is the result of `is_unasked`. Raises InvalidConfig if the file can't be read, or was found unasked and
    can't be trusted.
    """
    reading = _Reading(Configuration(path))
    if path is not None:
        reading.file(path, environment, unasked=unasked)
    for override in overrides:
        reading.put(override.key, override.value, Origin("command line", override.flag))
    reading.variables(environment)
    reading.platform(environment)
    return reading.finish()


class _Reading:
    def __init__(self, found: Configuration) -> None:
        self._found = found
        self._values: dict[str, Any] = {}
        self._wrong: dict[str, str] = {}  # by key: the fault of its last value
        self._idle: dict[str, None] = {}
        self._of_ipex: dict[str, Origin] = {}

    def finish(self) -> Configuration:
        for message in self._wrong.values():
            self._say(logging.ERROR, message)
        if self._idle:
            self._say(logging.INFO, f"{self._found.path}: without effect here: {', '.join(self._idle)}")
        if self._of_ipex:
            given = ", ".join(f"{key} ({origin})" for key, origin in self._of_ipex.items())
            instead = "; ".join(f"{key}: {OF_IPEX[key]}" for key in self._of_ipex)
            self._say(
                logging.WARNING,
                f"not used, as Intel's extension for PyTorch is not maintained any more: {given}. Instead, {instead}",
            )
        if self._values.get("model_snapshot") is not None and self._found.origin("load_models").kind == "file":
            del self._values["load_models"]
            self._say(logging.INFO, f"{self._found.path}: load_models is not used, as there is a model_snapshot")
        self._found.settings = replace(Settings(), **self._values)
        return self._found

    def put(self, key: str, value: Any, origin: Origin) -> None:
        if key in self._wrong:
            self._say(logging.WARNING, f"{self._wrong.pop(key)}; {origin} overrides it")
        self._values[key] = value
        self._found.origins[key] = origin

    def file(self, path: Path, environment: Mapping[str, str], *, unasked: bool) -> None:
        for entry in read_properties(path, unasked=unasked):
            self._found.texts[entry.key] = entry.text
            origin = Origin("file", str(path), entry.line)
            before = self._found.origins.get(entry.key)
            if before is not None:
                self._say(logging.WARNING, f"{origin}: {entry.key} is given again, after line {before.line}")
            try:
                text = fill_in(entry.text, environment)
            except ValueError as error:
                self._wrong[entry.key] = f"{error} in {entry.key} of {origin}"
                continue
            if entry.key in KEYS:
                self._parse(KEYS[entry.key], text, origin)
            else:
                self._unknown(entry.key, origin, text)

    def variables(self, environment: Mapping[str, str]) -> None:
        allowed = self._values.get("enable_envvars_config", False)
        urls = allowed and self._values.get("use_env_allowed_urls", False)
        idle: list[str] = []
        for key in KEYS.values():
            if key.variable is None or key.variable not in environment:
                continue
            if urls if key.name == "allowed_urls" else allowed:
                self._parse(key, environment[key.variable], Origin("environment", key.variable))
            else:
                idle.append(key.variable)
        if allowed:
            for name in [*NOT_YET, *OF_IPEX]:
                variable = f"TS_{name.upper()}"
                if variable in environment:
                    self._unknown(name, Origin("environment", variable), environment[variable])
        if idle:
            missing = "use_env_allowed_urls=true" if allowed else "enable_envvars_config=true"
            self._say(
                logging.WARNING,
                f"{', '.join(idle)} in the environment: not used, as no configuration file says {missing}",
            )

    def platform(self, environment: Mapping[str, str]) -> None:
        """Take what the platform that started the server asks of it, where nothing else has given a value."""
        default = Settings()
        try:
            found = find_platform(
                environment,
                self._values.get("platform", default.platform),
                grpc=self._values.get("enable_grpc", default.enable_grpc),
            )
        except ValueError as error:
            self._say(logging.ERROR, str(error))
            return
        if found is None:
            return
        origin = Origin("platform", f"{found.name} ({found.sign})")
        models = "model_snapshot" in self._values or "load_models" in self._values
        for key, value in found.defaults.items():
            if key not in self._found.origins and not (models and key in {"load_models", "service_envelope"}):
                self.put(key, value, origin)
        seen = replace(default, **self._values)
        taken = {key: getattr(seen, key) for key in ("inference_address", "management_address", "metrics_address")}
        if seen.enable_grpc:
            taken |= {"grpc_inference_port": seen.grpc_inference, "grpc_management_port": seen.grpc_management}
        further, lacking = further_addresses(found.ports, seen.further_inference_addresses, taken)
        if further != seen.further_inference_addresses:
            self.put("further_inference_addresses", further, origin)
        for text in lacking:
            self._say(logging.WARNING, f"{found.name} expects predictions at {text}")
        keys = "off" if seen.disable_token_authorization else "on"
        self._say(
            logging.INFO,
            f"This is {found.name}, as {found.sign}: predictions are served at"
            f" {', '.join(map(str, (seen.inference_address, *further)))}; token authorization is {keys}"
            f" ({self._found.origin('disable_token_authorization')}). platform=none in the configuration ends this.",
        )

    def _parse(self, key: Key, text: str, origin: Origin) -> None:
        if not text.strip():
            self.put(key.name, key.default, origin)
            return
        try:
            value = key.parse(text)
        except ValueError as error:
            shown = HIDDEN if key.secret else text
            self._found.origins[key.name] = origin
            self._wrong[key.name] = f"{key.name}={shown} in {origin}: {error}"
            return
        self.put(key.name, value, origin)
        if isinstance(value, bool) and text.strip().lower() not in {"true", "false"}:
            self._say(logging.WARNING, f"{key.name}={text} in {origin} counts as false, as all but `true` does")
        for remark in getattr(value, "remarks", ()):
            self._say(logging.WARNING, f"{origin}: {key.name}: {remark}")

    def _unknown(self, key: str, origin: Origin, text: str) -> None:
        if key in WITHOUT_EFFECT:
            self._idle[key] = None
        elif key in OF_IPEX:
            if text.strip().lower() not in {"", "false"}:
                self._of_ipex[key] = origin
        elif key in NOT_YET:
            self._say(logging.WARNING, f"{origin}: {key} is ignored, this version has no {NOT_YET[key]} yet")
        else:
            near = difflib.get_close_matches(key, [*KEYS, *NOT_YET, *OF_IPEX, *WITHOUT_EFFECT], n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            self._say(logging.WARNING, f"{origin}: unknown key {key} is ignored{hint}")

    def _say(self, level: int, message: str) -> None:
        self._found.findings.append(Finding(level, message))
