"""PayloadOptions: the section `payloadLog` of a model-config.yaml, of a model whose requests and answers are sampled.

payloadLog:
  sample: 0.01                 # part of the requests, 0 to 1
  mode: all                    # or request, or response
  maxBodyBytes: 64KB           # of each body
  redact: redact.py:no_names   # a function of the archive

`payloadLog: false` leaves a model out. Where records go is the server's to say (payload_log), not an archive's.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from .byte_size import read_size

log = logging.getLogger(__name__)

MODES: Final = ("all", "request", "response")
MOST_BODY: Final = 1 << 24  # bytes
_KEYS: Final = ("sample", "mode", "maxBodyBytes", "redact")
_FUNCTION = re.compile(r"([A-Za-z0-9_./-]{1,200}?)(?:\.py)?:([A-Za-z_]\w{0,99}(?:\.[A-Za-z_]\w{0,99})?)", re.ASCII)


@dataclass(frozen=True, slots=True)
class PayloadOptions:
    """The options of what is logged of a model; None leaves a value to the server. If `off`, nothing is.

    `redact` is a module of the archive and a function of it, or a method of one of its classes.
    """

    sample: float | None = None
    mode: str = "all"
    max_body: int | None = None
    redact: tuple[str, str] | None = None
    off: bool = False


def read_payload_log(config: Mapping[str, Any]) -> PayloadOptions:
    """Return the options. A section that is wrong is logged, and then nothing of the model is: what its author wanted
    to be left out is not known.
    """
    said = config.get("payloadLog")
    if said is None or said is True:
        return PayloadOptions()
    if said is False:
        return PayloadOptions(off=True)
    try:
        return _read(said)
    except ValueError as error:
        log.warning("model-config.yaml: no payload of this model is logged, as payloadLog is wrong: %s", error)
        return PayloadOptions(off=True)


def _read(said: object) -> PayloadOptions:
    if not isinstance(said, dict):
        raise ValueError(f"it must be true, false, or have the keys {', '.join(_KEYS)}, not be {said!r:.80}")  # noqa: TRY004
    section = cast("dict[str, Any]", said)
    unknown = [str(key)[:40] for key in section if key not in _KEYS]
    if unknown:
        raise ValueError(f"there is no key {unknown[0]!r} in it; there are {', '.join(_KEYS)}")
    sample = section.get("sample")
    if sample is not None and (not isinstance(sample, int | float) or isinstance(sample, bool) or not 0 <= sample <= 1):
        raise ValueError(f"sample must be from 0 to 1, not {sample!r:.80}")
    mode = section.get("mode", "all")
    if mode not in MODES:
        raise ValueError(f"mode must be all, request or response, not {mode!r:.80}")
    size = None
    if "maxBodyBytes" in section:
        size = read_size(section["maxBodyBytes"], unit=1)
        if size is None or size > MOST_BODY:
            raise ValueError(
                f"maxBodyBytes must be up to {MOST_BODY} bytes, or like 64KB, not {section['maxBodyBytes']!r:.80}"
            )
    redact = section.get("redact")
    found = _FUNCTION.fullmatch(redact) if isinstance(redact, str) else None
    if redact is not None and found is None:
        raise ValueError(f"redact must be like redact.py:function or handler.py:Class.method, not {redact!r:.80}")
    chosen = (found[1].replace("/", "."), found[2]) if found is not None else None
    return PayloadOptions(None if sample is None else float(sample), mode, size, chosen)
