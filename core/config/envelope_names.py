"""The names that `service_envelope` may have, and what each other name is told."""

from __future__ import annotations

ENVELOPE_NAMES = ("body", "json", "kserve", "kservev2")
# The names in older images of TorchServe and KServe, and in KServe's protocol versions.
_TODAY = {
    "kfserving": "kserve",
    "kfservingv2": "kservev2",
    "kserve-v1": "kserve",
    "kservev1": "kserve",
    "kserve-v2": "kservev2",
    "kserve_v2": "kservev2",
    "v1": "kserve",
    "v2": "kservev2",
}


def envelope_name(text: str) -> str:
    """Return the envelope's name in `text`, "" if it is blank. Raises ValueError for an unknown one."""
    name = text.strip()
    if name and name not in ENVELOPE_NAMES:
        today = _TODAY.get(name.lower()) or (name.lower() if name.lower() in ENVELOPE_NAMES else "")
        instead = f"; write {today} instead" if today else ""
        raise ValueError(f"service_envelope {name!r} is unknown: it is one of {', '.join(ENVELOPE_NAMES)}{instead}")
    return name
