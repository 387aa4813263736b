"""docs/configuration.md is what the table makes."""

from __future__ import annotations

from torchserve.core.config.keys import KEYS
from torchserve.core.config.reference import reference
from torchserve.core.config.unserved_keys import NOT_YET, OF_IPEX, WITHOUT_EFFECT

from ...house.tree import REPO


def test_the_committed_page_is_what_the_table_makes() -> None:
    committed = (REPO / "docs/configuration.md").read_text(encoding="utf-8")
    assert committed == reference(), (
        "the table of settings has changed: run "
        "`python -m torchserve.core.config.reference > docs/configuration.md` and commit it"
    )


def test_every_key_has_its_row() -> None:
    page = reference().splitlines()
    for key in [*KEYS, *WITHOUT_EFFECT, *OF_IPEX, *NOT_YET]:
        assert len([line for line in page if line.startswith(f"| `{key}` |")]) == 1, key
    assert "| `job_queue_size` | whole number, requests | `100` | `TS_JOB_QUEUE_SIZE` | " in "\n".join(page)
    assert "file://.*,http(s)?://.*" in "\n".join(page)
    assert len({line.replace("\\|", "").count("|") for line in page if line.startswith("| `") and "TS_" in line}) == 1
