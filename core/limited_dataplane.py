"""LimitedDataPlane: a DataPlane that admits the requests of each client within its limits (client_limits)."""

from __future__ import annotations

from time import monotonic
from typing import cast

from ..scheduler.job import Job, Sink
from ..scheduler.tokens import TokenDemand
from .config.client_limits import ClientLimits
from .dataplane import DataPlane
from .errors import ClientLimited
from .models.client_quotas import ClientQuotas, Quota
from .models.model import Model
from .models.registry import Registry
from .models.token_demand import client_of, demand_of
from .payload import Payload, Scheduled
from .ticket import Ticket

_BYTES_PER_TOKEN = 4
_UNSAID = 256  # tokens that an answer is taken to have where the request doesn't say


class LimitedTicket(Ticket):
    """The ticket of a request that counts against its client's limits until it ends."""

    __slots__ = ("_inner", "_quotas")

    def __init__(self, inner: Ticket, quotas: tuple[Quota, ...]) -> None:
        self._inner = inner  # the slots of a Ticket stay empty: all is the inner one's
        self._quotas = quotas

    def succeeded(self, seconds: float) -> None:
        """Record that the request succeeded, `seconds` after its head was read."""
        ClientQuotas.release(self._quotas)
        self._inner.succeeded(seconds)

    def failed(self, error: BaseException) -> None:
        """Record that the request failed with `error`."""
        ClientQuotas.release(self._quotas)
        self._inner.failed(error)

    def cancel(self) -> None:
        """Record that the client has gone."""
        ClientQuotas.release(self._quotas)
        self._inner.cancel()

    @property
    def model(self) -> Model:
        """The model version that answers the request."""
        return self._inner.model

    @property
    def job(self) -> Job:
        """The job, or the first of them if the request was cut."""
        return self._inner.job

    @property
    def size(self) -> int:
        """The bytes that the request holds."""
        return self._inner.size

    @property
    def named(self) -> bool:
        """Whether the request named the version."""
        return self._inner.named

    def exemplar(self, seconds: float, trace_id: str) -> None:
        """Name the trace of a request that succeeded after `seconds`, as an example of such requests."""
        self._inner.exemplar(seconds, trace_id)

    def scheduled(self) -> Scheduled | None:
        """Return when and where the request ran and in which batch, None if it has not run."""
        return self._inner.scheduled()

    def hold(self) -> float:
        """Have the worker wait because the client reads slowly. Return for how many more seconds it may wait."""
        return self._inner.hold()

    def release(self) -> None:
        """Let the worker go on after `hold`."""
        self._inner.release()


class LimitedDataPlane(DataPlane):
    """A DataPlane whose clients have limits. `header` names the client, in lower case."""

    def __init__(self, registry: Registry, max_pending: int, limits: ClientLimits, header: str) -> None:
        super().__init__(registry, max_pending)
        self._header = header
        self._quotas = ClientQuotas(limits, monotonic())

    def submit(self, model: str, version: str | None, payload: Payload, sink: Sink) -> Ticket:
        """Queue a prediction as DataPlane does. Raises ClientLimited as well."""
        quotas = self._admit(model, version, payload)
        try:
            ticket = super().submit(model, version, payload, sink)
        except BaseException:
            ClientQuotas.release(quotas)
            raise
        return LimitedTicket(ticket, quotas)

    def admit(self, model: str, payload: Payload) -> tuple[Quota, ...]:
        """Count a request to `model` against its client's limits; `ended` must be called with what is returned.

        Raises ClientLimited, ModelNotFound.
        """
        return self._admit(model, None, payload)

    def ended(self, admitted: object) -> None:
        """Note that an admitted request has ended."""
        ClientQuotas.release(cast("tuple[Quota, ...]", admitted))

    def _admit(self, model: str, version: str | None, payload: Payload) -> tuple[Quota, ...]:
        found = self._registry.serving(model, version)
        client = client_of(payload.headers, self._header)
        try:
            return self._quotas.admit(client, _tokens(found, payload), monotonic())
        except ClientLimited as error:
            found.metrics.requested(named=version is not None)
            found.metrics.failed(error)
            raise


def _tokens(model: Model, payload: Payload) -> int:
    """Return about how many tokens a request asks of a language model, 0 of any other."""
    if not model.options.generates:
        return 0
    demand = demand_of(payload, model.options.most_sequences) or TokenDemand(0)
    prompt = demand.prompt if demand.prompt is not None else demand.size // _BYTES_PER_TOKEN
    return max(1, prompt + (demand.completion or _UNSAID) * demand.sequences)
