"""The API's pages: Swagger UI runs under the page's policy, shows a model's own API, and calls it."""

from __future__ import annotations

import pytest

from ..e2e.live import LiveServer
from .conftest import AXE, Look, screenshot

pytestmark = pytest.mark.timeout(300)


def test_the_document_of_an_address_is_shown_with_its_grpc_services(look: Look, live: LiveServer) -> None:
    page = look.page
    page.goto(f"http://127.0.0.1:{live.ports['Inference']}/docs")
    page.locator(".opblock", has_text="/v1/chat/completions").first.wait_for()
    page.locator("#grpc code", has_text="/inference.GRPCInferenceService/ModelInfer").wait_for()
    assert page.locator(".opblock").count() > 30
    screenshot(page, "docs")


def test_a_models_own_api_is_shown_and_called(look: Look, live: LiveServer) -> None:
    page = look.page
    page.goto(f"http://127.0.0.1:{live.ports['Inference']}/docs?model=gated")
    page.locator(".opblock-summary-path", has_text="/predictions/gated").first.click()
    page.get_by_role("button", name="Try it out").click()
    page.locator("input[type=file]").set_input_files({"name": "a", "mimeType": "text/plain", "buffer": b"x"})
    page.get_by_role("button", name="Execute").click()
    page.locator(".live-responses-table .response-col_status", has_text="200").wait_for()


def test_what_is_no_model_is_told(look: Look, live: LiveServer) -> None:
    page = look.page
    page.goto(f"http://127.0.0.1:{live.ports['Inference']}/docs?model=%3Cimg%20src=x%20onerror=window.hit=1%3E")
    page.locator("#told", has_text="Model not found").wait_for()
    assert page.evaluate("window.hit") is None
    look.faults[:] = [fault for fault in look.faults if "404" not in fault]


@pytest.mark.skipif(not AXE.exists(), reason="`make browser` fetches axe-core")
def test_axe_finds_nothing_serious(look: Look, live: LiveServer) -> None:
    page = look.page
    page.goto(f"http://127.0.0.1:{live.ports['Management']}/docs")
    page.locator(".opblock").first.wait_for()
    assert look.serious() == []
