"""What the page makes of states that no small server has: workflows, traffic, nodes and language models, in hostile words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from torchserve.core.rates import recent, recent_of_workflow

from ..e2e.live import LiveServer
from .conftest import AXE, Look, dashboard

pytestmark = pytest.mark.timeout(300)

EVIL = "<img src=x onerror=window.hit=1>"
BOUNDS = list(range(1, 17))


def row(name: str, at: int, **more: Any) -> dict[str, Any]:
    counts = [at, *[0] * 16]
    return {
        "name": name, "version": "1.0", "default": True, "min": 2, "max": 2, "onDemand": False, "queued": 3, "queueSize": 100,
        "workers": [[9000, "ready", 1, [], "", EVIL], [9001, "waiting", 0, [], EVIL, "node b"]], "running": 0, "batchSize": 1,
        "requests": at, "succeeded": at, "sizes": {"1": at}, "refused": {}, "failed": {}, "latency": counts, "waited": counts, **more,
    }  # fmt: skip


def state(at: int) -> dict[str, Any]:
    """The state after `at` requests."""
    nodes = [
        {"name": EVIL, "model": f"wf__{EVIL}", "after": ["last"], "failed": at // 2, "repeated": at},
        {"name": "last", "model": "wf__last", "after": [], "failed": 0, "repeated": 0},
    ]
    server = {
        "version": "0", "pid": 1, "started": 0, "healthy": True, "missing": [EVIL], "answered": [0, 0, 0], "processorSeconds": 0,
    }  # fmt: skip
    text = {"running": 7, "waiting": 2, "memory": 0.5, "promptTokens": 10 * at, "tokens": 100 * at}
    tokens = {"text": text, "firstToken": [at, *[0] * 16], "nextToken": [at, *[0] * 16]}
    outcomes = {"same": 5, "close": 0, "different": 1, "failed": 0, "unmatched": 0, "dropped": 0}
    return {
        "at": 10.0 + at, "server": server, "gone": [],
        "models": [row(f"wf__{EVIL}", at), row("wf__last", at), row("chat", at, **tokens)],
        "workflows": [
            {"name": f"wf {EVIL}", "running": 1, "requests": at, "succeeded": at // 2, "left": 0, "latency": [at, *[0] * 16], "nodes": nodes},
        ],
        "traffic": [{
            "model": f"m {EVIL}", "weights": {"1.0": 100, EVIL: 0}, "sticky": EVIL,
            "shadow": {"version": EVIL, "percent": 5, "limit": 8, "running": 1, **outcomes},
            "rollout": {"version": EVIL, "state": "stepped_back", "reason": f"3 of 9 requests failed {EVIL}"},
        }],
        "gpus": [], "failures": [], "downloads": [],
    }  # fmt: skip


def events() -> str:
    bounds = dict.fromkeys(("latency", "waited", "firstToken", "nextToken"), BOUNDS)
    hello = {"register": True, "keys": False, "log": False, "settings": False}
    first, now = state(0), state(4)
    for later, seconds in ((first, 1.0), (now, 4.0)):
        for rows, make in (("models", recent), ("workflows", recent_of_workflow)):
            for row, before in zip(later[rows], first[rows], strict=True):
                row["recent"] = make(row, before, seconds, bounds)
    told = [("hello", hello), ("state", {"whole": True, **first}), ("state", now)]
    return "".join(f"event: {kind}\ndata: {json.dumps(data)}\n\n" for kind, data in told)


@pytest.fixture
def page(look: Look, live: LiveServer) -> Any:
    look.page.route("**/dashboard/events", lambda route: route.fulfill(body=events(), content_type="text/event-stream"))
    look.page.goto(dashboard(live))
    look.page.locator("#count", has_text="3 versions").wait_for()
    return look.page


def forgive(look: Look) -> None:
    """Drop what the browser says of the answer about a model that the server does not have."""
    look.faults[:] = [fault for fault in look.faults if "Failed to load resource" not in fault]


def test_a_workflow_is_shown_with_where_it_fails(look: Look, page: Any) -> None:
    card = page.locator("#workflows .card")
    first, last = card.locator("tbody tr").nth(0), card.locator("tbody tr").nth(1)
    first.locator("td", has_text="2 (2 in 4 s)").wait_for()
    assert card.locator("h3").inner_text() == f"wf {EVIL}"
    assert first.locator("th, td").all_inner_texts() == [EVIL, "last", "1/2 ready", "3", "990 ms", "2 (2 in 4 s)", "4"]
    assert last.locator("th, td").all_inner_texts() == ["last", "the answer", "1/2 ready", "3", "990 ms", "0", "0"]
    assert first.get_attribute("class") == "bad"
    assert card.locator("dl").inner_text().split("\n")[:4] == ["Requests", "1/s", "Goodput", "0.5/s"]
    look.page.route("**/dashboard/models/**", lambda route: route.abort())  # the server has no such model
    first.get_by_role("button").click()
    page.locator("#detail-title", has_text=f"wf__{EVIL} 1.0").wait_for()
    forgive(look)


def test_traffic_is_shown_with_the_reason_of_a_step_back(page: Any) -> None:
    card = page.locator("#traffic .card")
    reason = f"3 of 9 requests failed {EVIL}"
    card.locator("p", has_text=f"Rollout of {EVIL}: stepped back: {reason}").wait_for()
    assert f"Shadow {EVIL}: 5 % are copied, 1 of at most 8 run" in card.inner_text()
    labels = [each.get_attribute("aria-label") for each in card.locator("svg").all()]
    assert labels == [
        f"Percent of the requests by version: 1.0 100 %, {EVIL} 0 %",
        "Copies by outcome: same 5, close 0, different 1, failed 0, unmatched 0, dropped 0",
    ]
    page.locator("#trouble li", has_text=f"the rollout of {EVIL} has stepped back: {reason}").wait_for()


def test_nodes_and_a_language_models_tokens_are_shown(look: Look, page: Any) -> None:
    cards = page.locator("#nodes .card")
    assert sorted(cards.all_inner_texts()) == [
        f"{EVIL}\n\n3 of 3 workers serve: chat 1.0, wf__<img src=x onerror=window.hit=1> 1.0, wf__last 1.0",
        "node b\n\n0 of 3 workers serve: chat 1.0, wf__<img src=x onerror=window.hit=1> 1.0, wf__last 1.0",
    ]
    look.page.route("**/dashboard/models/**", lambda route: route.abort())  # the server has no such model
    page.locator("#body button", has_text="chat").click()
    facts = page.locator("#detail dl").first
    facts.locator("div", has_text="Tokens").locator("dd", has_text="100/s").wait_for()
    told = facts.inner_text().split("\n")
    found = dict(zip(told[::2], told[1::2], strict=True))
    assert {name: found[name] for name in ("Sequences", "Prompt tokens", "First token p50", "Next token p99", "KV memory")} == {
        "Sequences": "7 run, 2 wait", "Prompt tokens": "10/s", "First token p50": "500 ms", "Next token p99": "990 ms",
        "KV memory": "50 %",
    }  # fmt: skip
    forgive(look)


def test_no_word_of_them_is_markup(page: Any) -> None:
    page.locator("#trouble li", has_text=EVIL).first.wait_for()
    assert page.evaluate("window.hit") is None
    assert page.locator("main img").count() == 0


@pytest.mark.skipif(not AXE.exists(), reason="`make browser` fetches axe-core")
def test_axe_finds_nothing_serious(look: Look, page: Any) -> None:
    page.locator("#workflows tbody tr").first.wait_for()
    assert look.serious() == []
