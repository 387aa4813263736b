"""What a person does at the dashboard: look, try, register, scale, remove, watch a worker die and come back."""

from __future__ import annotations

import io
import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from torchserve.core.rates import recent

from ..e2e.live import LiveServer
from .conftest import AXE, Look, dashboard, screenshot

pytestmark = pytest.mark.timeout(600)


def opened(look: Look, live: LiveServer) -> Any:
    look.page.goto(dashboard(live))
    look.page.locator("#connection", has_text="Live").wait_for()
    return look.page


def row(page: Any, name: str) -> Any:
    return page.locator("#body tr", has=page.get_by_role("button", name=name, exact=True))


def picture() -> bytes:
    made = io.BytesIO()
    Image.radial_gradient("L").resize((96, 64)).save(made, "PNG")
    return made.getvalue()


def test_a_model_is_registered_tried_with_a_picture_scaled_made_default_and_removed(
    look: Look, live: LiveServer
) -> None:
    page = opened(look, live)
    assert page.get_by_role("button", name="Register a model").is_disabled()
    page.get_by_label("Allow changes").check()
    page.get_by_role("button", name="Register a model").click()
    page.get_by_label("Archive: a file").fill("pictures-2")
    page.get_by_role("button", name="Register", exact=True).click()
    row(page, "pictures-2").locator("td", has_text="1/1 ready").wait_for()

    row(page, "pictures-2").get_by_role("button").click()
    detail = page.locator("#detail")
    page.locator("#detail input[type=file]").set_input_files(
        {"name": "a.png", "mimeType": "image/png", "buffer": picture()}
    )
    detail.get_by_role("button", name="Send").click()
    image = detail.get_by_alt_text("The answer as a picture")
    image.wait_for()
    page.wait_for_function("document.querySelector('#detail .answer img').naturalWidth === 96")

    detail.get_by_role("button", name="Scale").click()
    page.get_by_label("Workers at least").fill("2")
    page.get_by_label("Workers at most").fill("2")
    page.locator("dialog").get_by_role("button", name="Scale").click()
    row(page, "pictures-2").locator("td", has_text="2/2 ready").wait_for()
    assert detail.get_by_role("button", name="Make default").is_disabled()  # it is the only version

    detail.get_by_role("button", name="Stacks").click()
    page.locator("dialog pre", has_text="most recent call first").first.wait_for()
    page.locator("dialog").get_by_role("button", name="Close").click()
    detail.get_by_role("button", name="Profile").click()
    page.get_by_label("Seconds, up to 60").fill("1")
    with page.expect_download() as saved:
        page.locator("dialog").get_by_role("button", name="Profile").click()
    assert saved.value.suggested_filename.endswith(".pt.trace.json.gz")
    detail.get_by_role("button", name="Remove").click()
    page.get_by_role("button", name="Cancel").click()
    assert live.manage("GET", "/models/pictures-2").status == 200
    detail.get_by_role("button", name="Remove").click()
    page.get_by_role("button", name="Remove it").click()
    row(page, "pictures-2").wait_for(state="detached")
    assert live.manage("GET", "/models/pictures-2").status == 404
    look.faults[:] = [fault for fault in look.faults if "404" not in fault]  # it may have been asked for as it went


def test_a_worker_that_dies_is_told_with_its_reason_and_that_it_is_back(look: Look, live: LiveServer) -> None:
    page = opened(look, live)
    page.get_by_text("No trouble: all workers serve").wait_for()
    gate = live.home / "gate"
    gate.touch()
    os.kill(live.workers("gated")[0]["pid"], signal.SIGKILL)
    page.locator("#trouble li", has_text="gated 1.0: 0 of 1 workers serve").wait_for()
    assert "bad" in row(page, "gated").get_attribute("class")
    gate.unlink()
    page.get_by_text("No trouble: all workers serve").wait_for()
    row(page, "gated").locator("td", has_text="1/1 ready").wait_for()


def test_a_streamed_answer_is_shown_as_it_comes(look: Look, live: LiveServer) -> None:
    page = opened(look, live)
    row(page, "gated").get_by_role("button").click()
    gate = live.home / "gate"
    gate.touch()
    page.get_by_label("Send a").select_option("Text")
    page.get_by_role("textbox", name="Body").fill("hello")
    page.get_by_role("button", name="Send").click()
    answer = page.get_by_role("region", name="Answer")
    answer.get_by_text("first piece,", exact=False).wait_for()
    assert "last piece" not in answer.inner_text()
    gate.unlink()
    answer.get_by_text("first piece, last piece").wait_for()


def test_markup_in_failures_logs_and_names_stays_text(look: Look, live: LiveServer) -> None:
    page = opened(look, live)
    assert live.predict("pictures", b"evil").status >= 500
    page.locator("#failures summary", has_text="<img src=x onerror=window.hit=1>").wait_for()
    page.locator("#failures summary").first.click()
    page.locator("#log div", has_text="<script>window.hit=1</script>").first.wait_for()
    row(page, "pictures").get_by_role("button").click()
    page.locator("#detail summary", has_text="<img src=x").wait_for()
    assert page.evaluate("window.hit") is None
    assert page.locator("main img").count() == 0


def test_keys_alone_open_a_model_and_close_it_again(look: Look, live: LiveServer) -> None:
    page = opened(look, live)
    page.locator("#filter").focus()
    page.keyboard.type("gat")
    assert page.locator("#count").inner_text() == "1 of 2"
    for _ in range(3):  # the order, the region of the rows, the row
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_function("document.activeElement.id === 'detail-title'")
    page.keyboard.press("Escape")
    page.wait_for_function("document.activeElement.textContent === 'gated'")
    assert page.locator("#detail").is_hidden()


NOTHING: dict[str, Any] = {"requests": 0, "succeeded": 0, "sizes": {}, "refused": {}, "failed": {}}


def synthetic(count: int) -> str:
    """Events of a server with so many models, of whose names one is markup."""

    def one(number: int) -> dict[str, Any]:
        name = "<img src=x onerror=window.hit=1>" if number == 7 else f"model-{number:04d}"
        return {
            "name": name, "version": "1.0", "default": True, "min": 1, "max": 1, "workers": [[number, "ready", 1, [], ""]],
            "onDemand": False, "queued": 0, "queueSize": 100, "running": 0, "batchSize": 1, "requests": 0, "succeeded": 0,
            "sizes": {}, "refused": {}, "failed": {}, "recent": recent(NOTHING, NOTHING, 10.0, {}),
        }  # fmt: skip

    server = {
        "version": "0", "pid": 1, "started": 0, "healthy": True, "missing": [], "answered": [0, 0, 0], "processorSeconds": 0,
    }  # fmt: skip
    state = {
        "whole": True, "at": 10.0, "gone": [],
        "models": [one(number) for number in range(count)], "server": server, "gpus": [], "failures": [], "downloads": [],
        "workflows": [], "traffic": [],
    }  # fmt: skip
    hello = {"register": True, "keys": False, "log": False, "settings": False}
    return f"event: hello\ndata: {json.dumps(hello)}\n\nevent: state\ndata: {json.dumps(state)}\n\n"


def test_a_thousand_models_are_a_few_rows_in_sight_and_each_is_found(look: Look, live: LiveServer) -> None:
    page = look.page
    page.route(
        "**/dashboard/events", lambda route: route.fulfill(body=synthetic(1000), content_type="text/event-stream")
    )
    page.goto(dashboard(live))
    page.locator("#count", has_text="1000 versions").wait_for()
    assert page.locator("#body tr").count() < 60
    page.locator("#rows").evaluate("box => { box.scrollTop = box.scrollHeight; }")
    page.get_by_role("button", name="model-0999").wait_for()
    assert page.locator("#body tr").count() < 60
    page.get_by_label("Filter").fill("<img")
    assert page.locator("#count").inner_text() == "1 of 1000"
    page.locator("#body button", has_text="<img src=x onerror=window.hit=1>").wait_for()
    assert page.evaluate("window.hit") is None


def test_the_page_asks_for_the_key_and_asks_again_once_it_is_no_more_valid(look: Look, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    server = LiveServer(tmp_path, [], properties="disable_token_authorization=false").wait()
    try:

        def key(kind: str) -> str:
            return json.loads((tmp_path / "key_file.json").read_bytes())[kind]["key"]

        page = look.page
        page.goto(dashboard(server))
        field = page.get_by_label("Management key")
        field.fill("wrong")
        page.get_by_role("button", name="Use them").click()
        page.locator("dialog", has_text="Token Authorization failed").wait_for()
        field.fill(key("management"))
        page.get_by_role("button", name="Use them").click()
        page.locator("#connection", has_text="Live").wait_for()
        assert "key" not in page.url
        server.manage("GET", "/token?type=management", Authorization=f"Bearer {key('API')}")
        page.locator("dialog", has_text="Token Authorization failed").wait_for()
        look.faults[:] = [fault for fault in look.faults if "400" not in fault]  # what the browser tells of a refusal
    finally:
        server.stop()


@pytest.mark.skipif(not AXE.exists(), reason="`make browser` fetches axe-core")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_and_the_pictures_of_the_documentation_are_made(
    chromium: Any, live: LiveServer, scheme: Any
) -> None:
    look = Look(chromium, color_scheme=scheme)
    page = opened(look, live)
    for number in range(1, 300):
        live.later("pictures", b"x" * number)
    page.locator("#body td", has_text=re.compile(r"^\d+(\.\d+)? ms$")).first.wait_for()
    assert look.serious() == []
    if scheme == "light":
        screenshot(page, "dashboard-light")
    row(page, "pictures").get_by_role("button").click()
    page.locator("#detail h3", has_text="What a batch takes").wait_for()
    page.locator("#detail table").wait_for()
    page.locator("#gpus .card").first.wait_for()
    assert look.serious() == []
    page.locator("#detail").scroll_into_view_if_needed()
    page.evaluate("document.getElementById('detail').scrollIntoView()")
    if scheme == "dark":
        screenshot(page, "dashboard-model-dark")
    page.get_by_label("Allow changes").check()
    page.get_by_role("button", name="Scale").click()
    assert look.serious() == []
    look.close()


def test_on_a_phone_nothing_is_wider_than_the_screen(chromium: Any, live: LiveServer) -> None:
    look = Look(chromium, viewport={"width": 375, "height": 740}, device_scale_factor=2, is_mobile=True, has_touch=True)
    page = opened(look, live)
    row(page, "pictures").get_by_role("button").tap()
    page.locator("#detail table").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    screenshot(page, "dashboard-phone")
    look.close()
