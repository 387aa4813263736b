"""torchvision comes without torch's compiler, and whoever needs that gets it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from torchserve.core.handlers.images.quick_torchvision import standing_in

NAME = "a_heavy_package.inner"
LIGHT = "from a_heavy_package.inner import asked\n"


@pytest.fixture
def heavy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to import from with a package that is not to be imported, and what was imported of it afterwards."""
    package = tmp_path / "a_heavy_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "inner.py").write_text("def asked(x): return x + 1\ndef more(x): return x + 2\n")
    (package / "beside.py").write_text("from .inner import more\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("a_")]:
        del sys.modules[name]


def light(folder: Path, text: str) -> None:
    """Import a module of this text while the stand-in is there."""
    (folder / "a_light_module.py").write_text(text)
    with standing_in(NAME, ("asked",)):
        __import__("a_light_module")


def test_what_is_named_and_not_called_imports_nothing(heavy: Path) -> None:
    light(heavy, LIGHT)
    assert not [name for name in sys.modules if name.startswith("a_heavy")]


def test_a_call_imports_it(heavy: Path) -> None:
    light(heavy, LIGHT)
    assert sys.modules["a_light_module"].asked(1) == 2
    assert sys.modules[NAME].asked is not sys.modules["a_light_module"].asked


@pytest.mark.parametrize(
    "text",
    [
        "from a_heavy_package.inner import asked, more\n",
        "from a_heavy_package.beside import more\n",
        "import a_heavy_package.beside\nmore = a_heavy_package.beside.more\n",
        "import a_heavy_package\nfrom a_heavy_package import inner\nmore = inner.more\n",
    ],
)
def test_anything_else_is_the_package_s_own(heavy: Path, text: str) -> None:
    light(heavy, text)
    assert sys.modules["a_light_module"].more(1) == 3
    assert Path(str(sys.modules[NAME].__file__)) == heavy / "a_heavy_package" / "inner.py"


def test_what_it_has_not_is_said(heavy: Path) -> None:
    with pytest.raises(ImportError, match="cannot import name 'nothing'"):
        light(heavy, "from a_heavy_package.inner import nothing\n")
    assert __import__(NAME)


def test_what_is_imported_already_stays(heavy: Path) -> None:
    before = __import__(NAME)
    light(heavy, LIGHT)
    assert __import__(NAME) is before


def test_a_handler_of_pictures_starts_without_the_compiler() -> None:
    text = "import sys, ts.torch_handler.image_classifier; sys.exit('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", text], check=False).returncode == 0
