"""The registry: which model a request means, and what becomes of the default version as versions come and go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from torchserve.core.errors import AlreadyRegistered, DefaultVersionInUse, ModelNotFound, VersionNotFound
from torchserve.core.models.model import Model
from torchserve.core.models.registry import Registry


@dataclass(eq=False)
class Named:
    """All that the registry asks of a model."""

    name: str
    version: str
    aliases: tuple[str, ...] = ()

    @property
    def model(self) -> Model:
        return cast(Model, cast(object, self))


def filled(*names: str) -> tuple[Registry, dict[str, Model]]:
    """A registry with `name/version`s registered in this order, and the models."""
    registry = Registry()
    models = {text: Named(*text.split("/")).model for text in names}
    for each in models.values():
        registry.claim(each.name, each.version)
        registry.add(each)
    return registry, models


def test_the_first_version_is_the_default() -> None:
    registry, models = filled("m/1.0", "m/2.0", "a/1.0")
    assert registry.get("m") is registry.get("m", "1.0") is models["m/1.0"]
    assert registry.get("m", "2.0") is models["m/2.0"]
    assert registry.versions("m") == [models["m/1.0"], models["m/2.0"]]
    assert registry.defaults() == [models["a/1.0"], models["m/1.0"]]
    assert list(registry) == list(models.values())


def test_the_default_can_be_chosen() -> None:
    registry, models = filled("m/1.0", "m/2.0")
    registry.set_default("m", "2.0")
    assert registry.get("m") is models["m/2.0"]
    assert registry.defaults() == [models["m/2.0"]]


@pytest.mark.parametrize(
    ("name", "version", "error", "text"),
    [
        ("nobody", None, ModelNotFound, "Model not found: nobody"),
        ("nobody", "1.0", ModelNotFound, "Model not found: nobody"),
        ("m", "9", VersionNotFound, "Model version: 9 does not exist for model: m"),
        ("m", "", VersionNotFound, "Model version:  does not exist for model: m"),
    ],
)
def test_what_is_not_there(name: str, version: str | None, error: type[Exception], text: str) -> None:
    registry, _ = filled("m/1.0")
    with pytest.raises(error, match=f"^{text}$"):
        registry.get(name, version)
    with pytest.raises(error, match=f"^{text}$"):
        registry.remove(name, version)
    if version is not None:
        with pytest.raises(error, match=f"^{text.replace(':', '') if error is VersionNotFound else text}$"):
            registry.set_default(name, version)
    assert registry.get("m").version == "1.0"


def test_the_versions_of_nobody() -> None:
    with pytest.raises(ModelNotFound):
        Registry().versions("nobody")


def test_a_name_and_version_is_given_once() -> None:
    registry, models = filled("m/1.0")
    with pytest.raises(AlreadyRegistered, match=r"^Model version 1.0 is already registered for model m$"):
        registry.claim("m", "1.0")
    registry.claim("m", "2.0")
    with pytest.raises(AlreadyRegistered):
        registry.claim("m", "2.0")
    registry.release("m", "2.0")
    registry.release("m", "2.0")
    registry.claim("m", "2.0")
    assert registry.versions("m") == [models["m/1.0"]]  # a claim is no model yet


def test_the_default_stays_while_there_are_others() -> None:
    registry, models = filled("m/1.0", "m/2.0")
    for version in (None, "1.0"):
        with pytest.raises(DefaultVersionInUse, match=r"^Cannot remove default version for model m$"):
            registry.remove("m", version)
    assert registry.remove("m", "2.0") is models["m/2.0"]
    assert registry.remove("m", None) is models["m/1.0"]
    assert list(registry) == []
    with pytest.raises(ModelNotFound):
        registry.get("m")


def test_a_discarded_default_passes_to_the_oldest() -> None:
    registry, models = filled("m/1.0", "m/2.0", "m/3.0")
    registry.set_default("m", "3.0")
    registry.discard(models["m/3.0"])
    assert registry.get("m") is models["m/1.0"]
    registry.discard(models["m/2.0"])
    assert registry.get("m") is models["m/1.0"]


def test_only_this_very_model_is_discarded() -> None:
    registry, models = filled("m/1.0")
    registry.discard(Named("m", "1.0").model)
    registry.discard(Named("m", "2.0").model)
    registry.discard(Named("nobody", "1.0").model)
    assert registry.get("m") is models["m/1.0"]


def test_an_alias_stands_for_a_default_version_unless_a_model_has_the_name() -> None:
    registry, models = filled("a/1", "a/2", "b/1")
    models["a/1"].aliases = ("x", "b")
    models["a/2"].aliases = ("y",)
    models["b/1"].aliases = ("x",)
    assert registry.aliases() == {"x": "a"}
    assert registry.serving("x") is models["a/1"]
    assert registry.serving("b") is models["b/1"]
    with pytest.raises(ModelNotFound):
        registry.serving("y")
    with pytest.raises(ModelNotFound):
        registry.serving("x", "1")


def test_models_may_go_while_they_are_walked() -> None:
    registry, models = filled("a/1.0", "a/2.0", "b/1.0")
    for each in registry:
        registry.discard(each)
    assert list(registry) == []
    assert len(models) == 3


NAMES, VERSIONS = st.sampled_from("ab"), st.sampled_from("123")


class Story(RuleBasedStateMachine):
    """Against a plain dict of names to (default, versions in order)."""

    def __init__(self) -> None:
        super().__init__()
        self.registry = Registry()
        self.defaults: dict[str, str] = {}
        self.known: dict[str, dict[str, Model]] = {}

    @rule(name=NAMES, version=VERSIONS)
    def register(self, name: str, version: str) -> None:
        if version in self.known.get(name, {}):
            with pytest.raises(AlreadyRegistered):
                self.registry.claim(name, version)
            return
        made = Named(name, version).model
        self.registry.claim(name, version)
        self.registry.add(made)
        self.known.setdefault(name, {})[version] = made
        self.defaults.setdefault(name, version)

    @rule(name=NAMES, version=VERSIONS)
    def choose(self, name: str, version: str) -> None:
        if version in self.known.get(name, {}):
            self.registry.set_default(name, version)
            self.defaults[name] = version

    @rule(name=NAMES, version=VERSIONS)
    def remove(self, name: str, version: str) -> None:
        versions = self.known.get(name, {})
        if version not in versions:
            return
        if self.defaults[name] == version and len(versions) > 1:
            with pytest.raises(DefaultVersionInUse):
                self.registry.remove(name, version)
            return
        assert self.registry.remove(name, version) is versions.pop(version)
        if not versions:
            del self.known[name], self.defaults[name]

    @invariant()
    def the_same_models(self) -> None:
        assert self.registry.defaults() == [self.known[name][self.defaults[name]] for name in sorted(self.known)]
        assert list(self.registry) == [each for versions in self.known.values() for each in versions.values()]
        for name, versions in self.known.items():
            assert self.registry.versions(name) == list(versions.values())


TestStory = Story.TestCase


def test_aliases_follow_the_default_versions() -> None:
    """They are remembered from one request to the next."""
    registry, models = filled("a/1", "b/1")
    models["a/1"].aliases, models["b/1"].aliases = ("x",), ("x", "y")
    assert [registry.serving(alias) for alias in "xy"] == [models["a/1"], models["b/1"]]
    models["a/2"] = Named("a", "2", ("y",)).model
    registry.add(models["a/2"])
    assert registry.serving("x") is models["a/1"]
    registry.set_default("a", "2")
    assert [registry.serving(alias) for alias in "xy"] == [models["b/1"], models["a/2"]]
    registry.discard(models["b/1"])
    assert registry.aliases() == {"y": "a"}
    with pytest.raises(ModelNotFound):
        registry.serving("x")
