"""Finding the entry point, for each form of the handler's name and each kind of module."""

from __future__ import annotations

import sys

import pytest

from torchserve.core.backend.loader import add_model_path, load_entry_point
from torchserve.core.handlers.context import Context

FUNCTIONS = """
    calls = []
    def handle(data, context):
        calls.append(data)
        return ["handle"]
    def other(data, context):
        calls.append(data)
        return ["other"]
    class Unused:
        def handle(self, data, context): return ["class"]
"""
CLASS = """
    class Service:
        def initialize(self, context): self.name = context.model_name
        def handle(self, data, context): return [self.name]
"""


@pytest.fixture
def load(write_model, clean_process):
    def load(handler: str, **files: str):
        folder = str(write_model({name.replace("__", "/") + ".py": text for name, text in files.items()}))
        add_model_path(folder, handler)
        return load_entry_point(handler, Context("m", folder, {"model": {}}, 1, None, "0"))

    return load


@pytest.mark.parametrize(
    ("handler", "answer"),
    [
        ("lf", "handle"),
        ("lf.py", "handle"),
        ("lf:handle", "handle"),
        ("lf:other", "other"),
        ("lf.py:other", "other"),
        ("lf:absent", "class"),
    ],
)
def test_functions(load, handler: str, answer: str) -> None:
    entry = load(handler, lf=FUNCTIONS)
    assert entry([{}], None) == [answer]


def test_a_function_is_called_once_with_none_at_load(load) -> None:
    load("lf:other", lf=FUNCTIONS)
    assert sys.modules["lf"].calls == [None]


@pytest.mark.parametrize(
    ("handler", "files"),
    [
        ("lc", {"lc": CLASS}),
        ("lc.py", {"lc": CLASS}),
        ("lpkg.lc", {"lpkg__lc": CLASS, "lpkg____init__": ""}),
        ("lsub/lc.py", {"lsub__lc": CLASS}),
        ("lsub/lc:handle", {"lsub__lc": CLASS}),
        ("lc", {"lc": CLASS + "\n    class Helper:\n        pass\n"}),
        ("lc", {"lc": "from lbase import Service\nclass Own(Service):\n    pass\n", "lbase": CLASS}),
    ],
)
def test_classes(load, handler: str, files: dict[str, str]) -> None:
    assert load(handler, **files)([{}], None) == ["m"]


def test_initialize_is_optional(load) -> None:
    entry = load("lc", lc="class A:\n    def handle(self, data, context): return [1]\n")
    assert entry([{}], None) == [1]


SETTLING = """
    from torchserve.core.handlers.base import BaseHandler
    class Service({base}):
        def initialize(self, context): context.notes["order"] = "initialize"
        def settle(self, context): context.notes["order"] += ", settle"
        def handle(self, data, context): return [context.notes["order"]]
"""


@pytest.mark.parametrize(("base", "order"), [("BaseHandler", "initialize, settle"), ("object", "initialize")])
def test_base_handlers_settle_once_they_are_initialised(write_model, clean_process, base: str, order: str) -> None:
    folder = str(write_model({"ls.py": SETTLING.format(base=base)}))
    add_model_path(folder, "ls")
    context = Context("m", folder, {"model": {}}, 1, None, "0")
    assert load_entry_point("ls", context)([], context) == [order]


def test_abstract_bases_do_not_count(load) -> None:
    source = """
        import abc
        class Base(abc.ABC):
            @abc.abstractmethod
            def handle(self, data, context): ...
        class Service(Base):
            def handle(self, data, context): return ["service"]
    """
    assert load("lc", lc=source)([{}], None) == ["service"]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("class A:\n    pass\n", r"\[\]"),
        ("class A:\n    def handle(self, d, c): ...\nclass B(A):\n    pass\n", r"\['A', 'B'\]"),
        ("from lother import Service\n", r"\[\]"),
    ],
)
def test_not_exactly_one_class_is_refused_and_told(load, source: str, found: str) -> None:
    with pytest.raises(ValueError, match=f"Expected only one class .*lc.py .*{found}"):
        load("lc.py", lc=source, lother=CLASS)


@pytest.mark.parametrize(
    ("handler", "error", "text"),
    [
        ("lnope.py", ValueError, "handler 'lnope' is neither a module in .* nor a built-in"),
        ("lnope:handle", ValueError, "'lnope'"),
        ("lneeds", ModuleNotFoundError, "No module named 'lmissing'"),
        ("lraises", KeyError, "at import"),
    ],
)
def test_import_errors_name_what_is_really_missing(load, handler: str, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        load(handler, lneeds="import lmissing\n", lraises="raise KeyError('at import')\n")


@pytest.mark.parametrize(
    "handler",
    [
        "image_classifier",
        "image_segmenter",
        "object_detector",
        "text_classifier",
        "base_handler",
        "ts.torch_handler.base_handler",
    ],
)
def test_built_in_names(load, handler: str) -> None:
    with pytest.raises(RuntimeError, match="No model weights could be loaded"):
        load(handler)


@pytest.mark.parametrize("handler", ["densenet_handler", "dali_image_classifier.py"])
def test_what_is_left_out_is_told(load, handler: str) -> None:
    with pytest.raises(ValueError, match=r"is not part of this server: .*image_classifier"):
        load(handler)


def test_a_module_of_the_model_wins_over_a_built_in(load) -> None:
    assert load("image_classifier", image_classifier=CLASS)([{}], None) == ["m"]


def test_the_models_folder_comes_first_and_is_the_working_folder(write_model, clean_process) -> None:
    folder = write_model({"sub/h.py": ""})
    sys.path.append(str(folder))
    add_model_path(str(folder), "sub/h.py:f")
    assert sys.path[:2] == [str(folder), str(folder / "sub")]
    assert sys.path.count(str(folder)) == 1
    assert folder.cwd() == folder
