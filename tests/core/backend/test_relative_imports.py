"""Relative imports between a handler and its neighbours: each module is there once, under its usual name."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from torchserve.core.backend.loader import add_model_path, load_entry_point
from torchserve.core.handlers.context import Context

HANDLE = """
def handle(data, context):
    return [{answer}]
"""


@pytest.fixture
def load(write_model, clean_process):
    def load(handler: str, **files: str):
        folder = str(write_model({name + ".py": text for name, text in files.items()}))
        add_model_path(folder, handler)
        return load_entry_point(handler, Context("m", folder, {"model": {}}, 1, None, "0"))([{}], None)

    return load


def handle(*imports: str, answer: str) -> str:
    return "\n".join(imports) + HANDLE.format(answer=answer)


A = "class A: pass\n"
CASES = {
    "a name": ("rh.py", {"rh": handle("from .ra import A", "import ra", answer="A is ra.A"), "ra": A}),
    "a module": ("rh", {"rh": handle("from . import ra", "import ra", answer="ra is not None"), "ra": A}),
    "without a space": ("rh", {"rh": handle("from.ra import A", "from .import ra", answer="A is ra.A"), "ra": A}),
    "over two lines": ("rh", {"rh": handle("from . \\\n  import ra", answer="ra.A is not None"), "ra": A}),
    "in a function": ("rh", {"rh": "def handle(d, c):\n    from .ra import A\n    return [A.__module__ == 'ra']\n", "ra": A}),
    "with a function's name": ("rh:handle", {"rh": handle("from .ra import A", answer="True"), "ra": A}),
    "neighbours of a neighbour": (
        "rh",
        {"rh": handle("import ra", "from .rb import B", answer="ra.B is B"), "ra": "from .rb import B\n", "rb": "class B: pass\n"},
    ),
    "a circle": (
        "rh",
        {"rh": handle("X = 1", "from . import ra", answer="ra.f()"), "ra": "from . import rh\ndef f(): return rh.X == 1\n"},
    ),
    "into a package": (
        "rh",
        {"rh": handle("from .rp.ra import A", "from rp import ra", answer="A is ra.A"), "rp/__init__": "", "rp/ra": A},
    ),
    "into a folder": ("rh", {"rh": handle("from .rn.ra import A", "import rn.ra", answer="A is rn.ra.A"), "rn/ra": A}),
    "out of a package": (
        "rh",
        {
            "rh": handle("from rp.rc import A", "from .ra import A as same", answer="A is same"),
            "rp/__init__": "", "rp/rc": "from ..ra import A\nfrom . import rd\n", "rp/rd": "", "ra": A,
        },
    ),
    "a dotted handler": (
        "rp.rh",
        {"rp/rh": handle("from .rb import A", "from ..ra import A as same", answer="A is same"),
         "rp/rb": "from ..ra import A\n", "rp/__init__": "", "ra": A},
    ),
    "a handler in a folder": (
        "rs/rh.py",
        {"rs/rh": handle("from .rb import B", "from ..ra import A", "import ra, rb", answer="(A, B) == (ra.A, rb.B)"),
         "rs/rb": "class B: pass\n", "ra": A},
    ),
    "names of the standard library": (
        "rh",
        {
            "rh": handle(
                "import types", "from .types import A", "from .select import B", "from . import json",
                answer="A.__module__ == '__archive__.types' and B and json.C and not hasattr(types, 'A')",
            ),
            "types": A, "select": "class B: pass\n", "json": "from .types import A\nclass C(A): pass\n",
        },
    ),
    "of a package beside the handler": (
        "rh",
        {"rh": handle("from .rp import A", "import rp", answer="A is rp.A and rp.__package__ == 'rp'"),
         "rp/__init__": "from .ra import A\n", "rp/ra": A},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("handler", "files"), CASES.values(), ids=CASES.keys())
def test_neighbours_are_imported_once(load, handler: str, files: dict[str, str]) -> None:
    assert load(handler, **files) == [True]
    spec = sys.modules[handler.partition(":")[0].removesuffix(".py").rpartition("/")[2]].__spec__
    assert spec is not None
    assert spec.name in {"rh", "rp.rh"}


def test_who_needs_no_package_has_none(load) -> None:
    assert load("rh", rh=handle("import ra", answer="(__package__, ra.__package__)"), ra="# from .x import y\n") == [
        ("", "")
    ]
    package = "''' from . import x '''\nfrom .ra import A\n"
    load("rg", **{"rg": handle("import rp.ra", answer="1"), "rp/__init__": package, "rp/ra": A})
    assert (sys.modules["rp"].__package__, sys.modules["rp.ra"].__package__) == ("rp", "rp")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("from .rgone import A\n", "No module named 'rgone': the archive has no rgone.py"),
        ("from .rp.gone import A\n", "No module named 'rp.gone': the archive has no rp/gone.py"),
        ("from . import rgone\n", "cannot import name 'rgone'"),
        ("from ..ra import A\n", "beyond top-level package"),
        ("from .rbad import A\n", "No module named 'rmissing'"),
    ],
)
def test_what_is_not_there_is_told(load, source: str, message: str) -> None:
    with pytest.raises(ImportError, match=message):
        load("rh", **{"rh": source, "ra": A, "rbad": "import rmissing\n", "rp/__init__": ""})


def test_a_module_can_be_loaded_anew(load, tmp_path: Path) -> None:
    load("rh", rh=handle("from . import ra", answer="1"), ra="x = 1\n")
    (tmp_path / "ra.py").write_text("x = 'another'\n")
    handler = sys.modules["rh"]
    importlib.invalidate_caches()
    assert importlib.reload(handler.ra).x == "another"
    assert importlib.reload(handler).ra.x == "another"


def test_the_next_model_of_a_process_finds_its_own(tmp_path: Path, clean_process) -> None:
    """As a script does that loads several, one after the other."""
    found = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / f"rh_{name}.py").write_text("from .types import A\ndef handle(data, context): return [A]\n")
        (folder / "types.py").write_text(f"A = '{name}'\n")
        add_model_path(str(folder), f"rh_{name}.py")
        context = Context("m", str(folder), {"model": {}}, 1, None, "0")
        found += load_entry_point(f"rh_{name}.py", context)([{}], context)
    assert found == ["one", "two"]


def test_a_relative_folder_is_found_from_anywhere(write_model, clean_process, tmp_path: Path) -> None:
    write_model({"rh.py": handle("from .ra import A", answer="A.__module__"), "ra.py": A})
    os.chdir(tmp_path.parent)
    add_model_path(tmp_path.name, "rh.py")
    os.chdir("/")
    context = Context("m", str(tmp_path), {"model": {}}, 1, None, "0")
    assert load_entry_point("rh.py", context)([{}], context) == ["ra"]


def test_two_models_with_files_of_the_same_names(tmp_path: Path) -> None:
    """Each worker is a process of its own."""
    script = "import sys; from torchserve.core.backend.loader import *; add_model_path(sys.argv[1], 'handler.py');"
    script += "print(load_entry_point('handler.py', None)([{}], None))"
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "handler.py").write_text("from .model import A\ndef handle(data, context): return [A]\n")
        (folder / "model.py").write_text(f"A = '{name}'\n")
        ran = subprocess.run(
            [sys.executable, "-P", "-c", script, str(folder)], capture_output=True, text=True, cwd="/", check=True
        )
        assert ran.stdout == f"['{name}']\n"
