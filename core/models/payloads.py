"""payloads_of(): what of a model version's requests and answers is logged, by its yaml and the settings."""

from __future__ import annotations

import os

from ..payload_log.model_payloads import ModelPayloads, Sampling
from ..payload_log.redactor import Redaction, Redactor
from ..workers.worker_environment import visible
from .model_spec import ModelSpec, SharedParts


def payloads_of(spec: ModelSpec, parts: SharedParts) -> ModelPayloads | None:
    """Return the payload log of a version, None if nothing of it is logged."""
    options, settings = spec.options.payload_log, parts.settings
    sample = settings.payload_log_sample_rate if options.sample is None else options.sample
    if parts.payloads is None or options.off or sample <= 0:
        return None
    redactor = None
    if options.redact is not None:
        environment = spec.python.extend(visible(os.environ, settings.blacklist_env_vars))
        python = spec.python.interpreter or settings.python
        redactor = Redactor(Redaction(str(spec.archive.model_dir), options.redact, python, environment))
    most = settings.payload_log_max_body if options.max_body is None else options.max_body
    sampling = Sampling(sample, options.mode, most)
    return ModelPayloads(parts.payloads, (spec.name, spec.version), sampling, redactor)
