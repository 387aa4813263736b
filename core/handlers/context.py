"""The context, through which a handler learns about its model and its batch, and sets statuses and headers of
responses.

Names and argument orders are TorchServe's, because handlers use them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from ..generation.monitored_engine import EngineReport, MonitoredEngine, Report
from .metrics.emitter import MetricsEmitter
from .model_call import BeginCall, ModelAnswer, ModelOrder, refuse_call

if TYPE_CHECKING:
    from ..generation.engine import Engine
    from .speed.turns import Later

SendPartial = Callable[[Sequence[Any], int], None]
ResponseHead: TypeAlias = tuple[int, "str | None", dict[str, Any]]  # status, phrase and headers


def _nothing() -> None:
    """Do nothing: nothing is gathered."""


def _tell_nobody(_notes: Mapping[str, str]) -> None:
    """Do nothing: the notes go to the server once the model has loaded, or this process has no server."""


def _report_to_nobody(_report: EngineReport | str) -> None:
    """Do nothing: this process has no server."""


class RequestProcessor:
    """The headers of one request, and the status and headers of its response."""

    def __init__(self, request_header: dict[str, Any]) -> None:
        self._status_code = 200
        self._reason_phrase: str | None = None
        self._response_header: dict[str, Any] = {}
        self._request_header = request_header
        self.sent_head: ResponseHead | None = None
        """The head of the latest intermediate response, if further ones may go to the server without."""

    def get_request_property(self, key: str) -> Any:
        return self._request_header.get(key)

    def get_request_properties(self) -> dict[str, Any]:
        return self._request_header

    def report_status(self, code: int, reason_phrase: str | None = None) -> None:
        self._status_code = code
        self._reason_phrase = reason_phrase

    def get_response_status_code(self) -> int:
        return self._status_code

    def get_response_status_phrase(self) -> str | None:
        return self._reason_phrase

    def add_response_property(self, key: str, value: Any) -> None:
        self._response_header[key] = value

    def get_response_headers(self) -> dict[str, Any]:
        return self._response_header

    def get_response_header(self, key: str) -> Any:
        return self._response_header.get(key)

    def response_head(self) -> ResponseHead:
        """Return status, phrase and a copy of the headers, as they are now."""
        return self._status_code, self._reason_phrase, self._response_header.copy()


class Context:
    """A context that a model keeps for its lifetime; `request_ids` and `request_processor` are replaced for each batch.

    Handlers may set further attributes.
    """

    def __init__(
        self,
        model_name: str,
        model_dir: str,
        manifest: dict[str, Any],
        batch_size: int,
        gpu: int | None,
        mms_version: str,
        limit_max_image_pixels: bool = True,
        metrics: MetricsEmitter | None = None,
        model_yaml_config: dict[str, Any] | None = None,
    ) -> None:
        self.model_name = model_name
        self.manifest = manifest
        self.model_yaml_config: dict[str, Any] = model_yaml_config if model_yaml_config is not None else {}
        self.request_ids: dict[int, str] | None = None
        self.request_processor: list[RequestProcessor] = []
        self.metrics: MetricsEmitter = metrics if metrics is not None else MetricsEmitter(model_name)
        self.explain = False
        self.notes: dict[str, str] = {}
        """What was chosen for the model, by subject: shown by GET /models/{model}."""
        self.tell_notes: Callable[[Mapping[str, str]], None] = _tell_nobody
        self.files_stay = False
        """Whether the files of the model's folder stay as they are while this process lives."""
        self.defers = False
        """Whether what makes the model faster may be left to `later`."""
        self.untypical = False
        """Whether this batch takes longer than others of its size will, as a handler sets it that tries something: the
        scheduler learns nothing from it.
        """
        self.later: Later | None = None
        """What is to be done with the loaded model between its requests."""
        self.monitored_engine: MonitoredEngine | None = None
        self.report_engine: Report = _report_to_nobody
        self.stopping_criteria: list[Callable[..., bool]] | None = None
        self.cl_socket: object = None
        self.send_partial: SendPartial | None = None
        self.flush_partials: Callable[[], None] = _nothing
        """Sends what `send_partial` has gathered in this turn of the loop at once, and not at the turn's end."""
        self.begin_call: BeginCall = refuse_call
        self.traceparent = ""
        """W3C's traceparent for what the handler calls, "" unless a request of the batch is recorded."""
        self.max_response_size = 6_553_500  # bytes
        self.header_key_sequence_id = os.environ.get("TS_REQUEST_SEQUENCE_ID", "ts_request_sequence_id")
        self.header_key_sequence_start = os.environ.get("TS_REQUEST_SEQUENCE_START", "ts_request_sequence_start")
        self.header_key_sequence_end = os.environ.get("TS_REQUEST_SEQUENCE_END", "ts_request_sequence_end")
        self._system_properties: dict[str, Any] = {
            "model_dir": model_dir,
            "gpu_id": gpu,
            "batch_size": batch_size,
            "server_name": "MMS",
            "server_version": mms_version,
            "limit_max_image_pixels": limit_max_image_pixels,
        }

    def note(self, subject: str, text: str) -> None:
        """Tell what was chosen for the model while it serves."""
        self.notes[subject] = text
        self.tell_notes(self.notes)

    def monitored(self, engine: Engine) -> MonitoredEngine:
        """Return `engine` behind one that reports to the server, which admits requests by what it tells.

        For the `initialize` of a handler that generates text.
        """
        self.monitored_engine = MonitoredEngine(engine, self.report_engine)
        return self.monitored_engine

    async def predict(
        self, model: str, data: Any, *, version: str | None = None, timeout: float | None = None, idx: int | None = None
    ) -> ModelAnswer:
        """Have another model of this server answer `data`, within `timeout` seconds, while other work goes on.

        str is sent as text, bytes and tensors as they are, anything else as JSON. The call is made for the request
        `idx` of the batch, or for all of them. Raises ModelCallFailed, which has `status` and `message`.
        """
        return await self.begin_call(ModelOrder(model, data, version, timeout, idx)).answer()

    def predict_blocking(
        self, model: str, data: Any, *, version: str | None = None, timeout: float | None = None, idx: int | None = None
    ) -> ModelAnswer:
        """Have another model of this server answer `data` as `predict` does, and wait. Any thread may call this but
        that of an asynchronous handler's event loop.
        """
        return self.begin_call(ModelOrder(model, data, version, timeout, idx)).answer_blocking()

    @property
    def system_properties(self) -> dict[str, Any]:
        return self._system_properties

    def get_request_id(self, idx: int = 0) -> str | None:
        return self.request_ids.get(idx) if self.request_ids else None

    def get_request_header(self, idx: int, key: str) -> Any:
        return self.request_processor[idx].get_request_property(key)

    def get_all_request_header(self, idx: int) -> dict[str, Any]:
        return self.request_processor[idx].get_request_properties()

    def get_sequence_id(self, idx: int) -> Any:
        """Return the id of the stateful sequence that request `idx` belongs to, or None."""
        return self.get_request_header(idx, self.header_key_sequence_id)

    def set_response_content_type(self, idx: int, value: str) -> None:
        self.request_processor[idx].add_response_property("content-type", value)

    def get_response_content_type(self, idx: int) -> Any:
        return self.request_processor[idx].get_response_header("content-type")

    def set_response_status(self, code: int = 200, phrase: str = "", idx: int = 0) -> None:
        """Set the status of the response to request `idx`. While the model loads there is no request, and nothing
        happens.
        """
        if self.request_processor:
            self.request_processor[idx].report_status(code, phrase)

    def set_all_response_status(self, code: int = 200, phrase: str = "") -> None:
        for processor in self.request_processor:
            processor.report_status(code, phrase)

    def get_response_status(self, idx: int) -> tuple[int, str | None]:
        processor = self.request_processor[idx]
        return processor.get_response_status_code(), processor.get_response_status_phrase()

    def set_response_header(self, idx: int, key: str, value: Any) -> None:
        self.request_processor[idx].add_response_property(key, value)

    def get_response_headers(self, idx: int) -> dict[str, Any]:
        return self.request_processor[idx].get_response_headers()
