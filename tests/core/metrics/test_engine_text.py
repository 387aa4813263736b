"""The metrics of engines beside the server's: whatever an engine says, what is shown can be scraped."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from torchserve.core.metrics.engine_text import MOST_LINES, MOST_TEXT, EngineText
from torchserve.core.metrics.store import MetricStore

TEXT = """# HELP vllm:running Running.
# TYPE vllm:running gauge
vllm:running{engine="0",model_name="a\\"b"} 3.0
# HELP vllm:ttft Time.
# TYPE vllm:ttft histogram
vllm:ttft_bucket{le="0.1"} 1.0
vllm:ttft_bucket{le="+Inf"} 2.0
vllm:ttft_count 2.0
vllm:ttft_sum 1e-05 1700000000
nonsense
vllm:bad{a=b} 1
"""


def test_lines_keep_their_names_and_get_their_worker() -> None:
    engines = EngineText()
    engines.update("W-2", TEXT)
    engines.update("W-1", TEXT)
    shown = engines.render((), ())
    assert shown.startswith(
        '# HELP vllm:running Running.\n# TYPE vllm:running gauge\n'
        'vllm:running{engine="0",model_name="a\\"b",torchserve_worker="W-1"} 3.0\n'
        'vllm:running{engine="0",model_name="a\\"b",torchserve_worker="W-2"} 3.0\n'
        '# HELP vllm:ttft Time.\n# TYPE vllm:ttft histogram\n'
    )  # fmt: skip
    assert 'vllm:ttft_sum{torchserve_worker="W-1"} 1e-05\n' in shown
    assert "nonsense" not in shown
    assert "bad" not in shown
    assert [family.name for family in text_string_to_metric_families(shown)] == ["vllm:running", "vllm:ttft"]
    assert engines.render(("vllm:r*",), ()).count("vllm:ttft") == 0
    assert "vllm:running{" not in engines.render((), ("vllm:running",))
    engines.update("W-1", "")
    engines.update("W-2", "x" * (MOST_TEXT + 1))
    assert engines.render((), ()) == ""


def test_an_engine_can_t_take_the_servers_metrics_over_or_fill_them() -> None:
    store = MetricStore()
    store.engine_metrics(
        "W-1", "# TYPE torchserve_queue_depth gauge\ntorchserve_queue_depth 5\nmine 1\n" + "x 1\n" * 9999
    )
    text = store.render().decode()
    assert "torchserve_queue_depth{torchserve_worker" not in text
    assert 'mine{torchserve_worker="W-1"} 1\n' in text
    assert text.count("\nx{") < MOST_LINES


@given(st.lists(st.sampled_from(TEXT.split("\n")) | st.text(max_size=30)))
def test_whatever_comes_can_be_read(lines: list[str]) -> None:
    engines = EngineText()
    engines.update("W-1", "\n".join(lines))
    list(text_string_to_metric_families(engines.render((), ())))
