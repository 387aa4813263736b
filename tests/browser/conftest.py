"""A real server, and a real browser that looks at its pages. Without playwright or Chromium these tests are skipped.

With SCREENSHOTS=FOLDER the pictures of the documentation are made there.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ..e2e.live import LiveServer, make_model
from ..standins.nvml import GIB, FakeNvml, fake_nvml, nvml_library
from . import handlers

__all__ = ["fake_nvml", "nvml_library"]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
AXE = Path(__file__).parents[2] / "build/browser/node_modules/axe-core/axe.min.js"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, chromium: Any, nvml_library: Path) -> Iterator[LiveServer]:
    """A server with two fake GPUs, which serves a model that sends pictures back and one that a gate holds up.

    It asks for `chromium` so that no server is started where there is no browser.
    """
    del chromium
    home = tmp_path_factory.mktemp("home")
    store = home / "store"
    store.mkdir()
    nvml = FakeNvml(home, nvml_library)
    nvml.set({"0.uuid": "GPU-aaaa", "1.uuid": "GPU-bbbb", "0.used": 60 * GIB, "1.used": 8 * GIB})
    batches = "minWorkers: 1\nmaxWorkers: 1\nbatchSize: 8\nmaxBatchDelay: 5\ngpuMemory: 4GiB\n"
    make_model(store, "pictures", handlers.ECHO, batches)
    make_model(store, "pictures-2", handlers.ECHO, version="2.0")
    make_model(store, "gated", handlers.GATED.replace("GATE", str(home / "gate")), "minWorkers: 1\nmaxWorkers: 1\n")
    server = LiveServer(
        home, ["pictures", "gated"], env=nvml.env, properties="disable_token_authorization=true\nenable_model_api=true"
    ).wait()
    server.ready("pictures")
    server.ready("gated")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Look:
    """A tab. What its page writes to the console as an error, or raises, fails the test at its end."""

    def __init__(self, chromium: Any, **options: Any) -> None:
        self.context = chromium.new_context(**({"viewport": {"width": 1120, "height": 800}} | options))
        self.page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        self.faults: list[str] = []
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", lambda told: self.faults.append(told.text) if told.type == "error" else None)

    def serious(self) -> list[str]:
        """What axe finds that keeps people from using the page."""
        self.page.evaluate(AXE.read_text())
        found = self.page.evaluate("axe.run()")["violations"]
        return [
            f"{each['id']}: {node['html'][:200]}"
            for each in found
            if each["impact"] in {"serious", "critical"}
            for node in each["nodes"]
        ]

    def close(self) -> None:
        self.context.close()
        assert self.faults == []


@pytest.fixture
def look(chromium: Any) -> Iterator[Look]:
    made = Look(chromium)
    yield made
    made.close()


def screenshot(page: Any, name: str) -> None:
    """Make a picture of the documentation, if it was asked for."""
    folder = os.environ.get("SCREENSHOTS")
    if folder:
        picture = Image.open(io.BytesIO(page.screenshot()))
        picture.convert("RGB").quantize(128).save(Path(folder) / f"{name}.png", optimize=True)


def dashboard(server: LiveServer) -> str:
    return f"http://127.0.0.1:{server.ports['Management']}/dashboard"
