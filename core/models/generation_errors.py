"""Turns the scheduler's refusals of requests for text into the errors that clients get."""

from __future__ import annotations

from ...scheduler.errors import AnswerLate, FirstTokenLate, GenerationLate, TooManyTokens
from ..config.model_options import ModelOptions
from ..errors import ContextExceeded, GenerationExpired, ServeError


def generation_error(error: TooManyTokens | GenerationLate, label: str, options: ModelOptions) -> ServeError:
    """Return the error for the client. `label` names model and version."""
    if isinstance(error, TooManyTokens):
        return ContextExceeded(
            f"This model's maximum context length is {error.context} tokens. However, you requested at least"
            f" {error.needed} tokens, prompt and completion together. Please reduce them. ({label})"
        )
    waited, allowed = round(error.waited * 1000), round(error.allowed * 1000)
    if isinstance(error, FirstTokenLate):
        text = f"had no first token for this request in {waited} ms (timeToFirstTokenMs={options.first_token})"
    elif isinstance(error, AnswerLate):
        limit = "latencySlo" if allowed == options.latency_slo else "x-request-timeout-ms"
        text = f"had not finished this request after {waited} ms, with {error.generated} tokens ({limit}={allowed})"
    else:
        text = (
            f"has stalled: after {error.generated} tokens none came for {waited} ms"
            f" (timePerTokenMs={options.per_token})"
        )
    return GenerationExpired(f"{label} {text}, and was told to end it. Send it again later.")
