"""Makes the reference page of all keys from their table: `python -m torchserve.core.config.reference` prints it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from .keys import KEYS, as_text
from .unserved_keys import NOT_YET, OF_IPEX, WITHOUT_EFFECT

_HEAD = """\
# Configuration

<!-- Made from the table in core/config/settings.py by `python -m torchserve.core.config.reference`; a test looks. -->

`config.properties` is a Java properties file: `key=value`, `key: value` or `key value`; `#` and `!` begin comments, a
backslash at the end continues a line. UTF-8, or Latin-1 where the file is no UTF-8.

Which file is read: `$TS_CONFIG_FILE`, else `--ts-config`, else the newest whole snapshot in `config` of the log folder
(not with `--ncs`), else `config.properties` in the working folder, else none.

Which value counts, the first of:

1. the environment's variable of the table below, if the file says `enable_envvars_config=true` (`TS_ALLOWED_URLS` needs
   `use_env_allowed_urls=true` as well);
2. the command line: `--model-store`, `--models`, `--disable-token-auth`, `--enable-model-api`,
   `--allow-unauthenticated-model-api`;
3. the file, with each `$$NAME$$` replaced by the environment's variable `NAME`, which must be set;
4. the default. An empty value is the default too.

`torchserve config show` prints every value and where it is from; `torchserve config check FILE` lists what is wrong
with a file and ends with 1 if there is an error in it. Both print JSON with `--json`.

## `models`

How models are run, however they come to be loaded, by name and version. A value of 0 or less says nothing.

```
models={"cats": {"1.0": {"minWorkers": 1, "maxWorkers": 2, "batchSize": 4, "maxBatchDelay": 50,\
                         "responseTimeout": 120, "startupTimeout": 120, "defaultVersion": true}}}
```

| setting | the first of these counts |
| --- | --- |
| batch size, batch delay | registration, model-config.yaml, `models`, 1 and 100 ms |
| response and startup timeout | model-config.yaml, registration, `models`, `default_..._timeout` |
| workers | model-config.yaml with both minWorkers and maxWorkers, `models` (at start), registration, \
`default_workers_per_model` |
| job queue size | model-config.yaml, `job_queue_size` |

`defaultVersion` chooses among the versions that are loaded at start.

## Keys
"""
_IDLE = """
## Accepted, without effect

TorchServe's keys that have no counterpart here; a start names those it finds, once, in the log.
"""
_OF_IPEX = """
## Intel's extension for PyTorch

It is not maintained any more, and these keys are not used; one warning of a start names those it finds.
"""
_MISSING = """
## Not there yet

TorchServe's keys for what this version does not do; a start warns of those it finds.
"""


def reference() -> str:
    """Return the whole page."""
    keys = [
        (
            f"`{key.name}`",
            f"{key.kind}, {key.unit}" if key.unit else key.kind,
            f"`{as_text(key.default)}`" if as_text(key.default) else "",
            f"`{key.variable}`" if key.variable else "none",
            key.doc,
        )
        for key in KEYS.values()
    ]
    lines = [
        *_table(("key", "type", "default", "variable", "meaning"), keys),
        _IDLE,
        *_table(("key", "why"), ((f"`{key}`", why) for key, why in sorted(WITHOUT_EFFECT.items()))),
    ]
    lines += [_OF_IPEX, *_table(("key", "what does the same"), ((f"`{key}`", what) for key, what in OF_IPEX.items()))]
    if NOT_YET:
        lines += [_MISSING, *_table(("key", "what is missing"), ((f"`{key}`", why) for key, why in NOT_YET.items()))]
    return "\n".join([_HEAD, *lines, ""])


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield _row(head)
    yield _row("---" for _ in head)
    yield from map(_row, rows)


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    sys.stdout.write(reference())
