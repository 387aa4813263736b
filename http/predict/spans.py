"""What the span of a prediction tells, by OpenTelemetry's conventions for HTTP servers."""

from __future__ import annotations

from ...core.tracing.request_trace import Told
from ..accesslog import peer_text
from .predict_request import PredictRequest

WEBSOCKET = "WebSocket"  # stands for the method of a request that came as a message
CLIENT_GONE = 499  # in metrics, spans and the access log only: nothing is sent


def told_of(request: PredictRequest, status: int, request_id: str) -> Told:
    """Return the name and the attributes of the span of a prediction that was answered with `status`.

    The query is left out: it may hold a key.
    """
    head = request.head
    by_message = head.method == WEBSOCKET
    attributes: dict[str, str | int] = {
        "http.request.method": "GET" if by_message else head.method,
        "http.response.status_code": status,
        "http.route": request.path,
        "url.path": head.path(),
        "network.protocol.version": "2" if head.version == "2.0" else head.version,
        "torchserve.request_id": request_id,
        **client_of(head.peer),
    }
    if by_message:
        attributes["network.protocol.name"] = "websocket"
    if agent := request.fields.get("user-agent"):
        attributes["user_agent.original"] = agent
    if request.read.version is not None:
        attributes["torchserve.model.version"] = request.read.version
    return Told(f"{head.method} {request.path}", attributes, broken=status >= 500, cancelled=status == CLIENT_GONE)


def client_of(peer: object) -> dict[str, str | int]:
    """Return the attributes that say who the client is."""
    address, _, port = peer_text(peer).rpartition(":")
    if not address or not port.isdigit():
        return {"client.address": peer_text(peer)}
    return {"client.address": address.strip("[]"), "client.port": int(port)}
