"""probe: the NVIDIA GPUs that this process may use, as NVML sees them at this moment. Nothing is cached."""

# NVML's bindings have no types: what they return is unknown until a field of Gpu takes it.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import pynvml

from .gpu import Gpu

T = TypeVar("T")
_log = logging.getLogger(__name__)

_UNCORRECTED = (pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_VOLATILE_ECC)


@dataclass(frozen=True, slots=True)
class _Device:
    """A GPU or MIG instance that NVML lists; `ordinal` and `gpu` (uuid) are those of the GPU that it is on.

    If it doesn't answer, `handle` is None, `error` says why, and `uuid` may be empty.
    """

    ordinal: int
    gpu: str
    uuid: str
    handle: object | None
    error: str = ""


def probe() -> tuple[Gpu, ...]:
    """Return the GPUs that CUDA_VISIBLE_DEVICES leaves visible and that answer; none without driver or library.

    A GPU that doesn't answer is left out with a warning; this never raises. Of a GPU in MIG mode each instance counts
    as one. NVML is started and ended by each call, which may take seconds on a sick driver, or hang.
    """
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        absent = _is(error, pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_DRIVER_NOT_LOADED)
        _log.log(logging.DEBUG if absent else logging.WARNING, "No GPU can be used: NVML does not start: %s", error)
        return ()
    try:
        return _measure(_select(os.environ.get("CUDA_VISIBLE_DEVICES"), list(_devices())))
    except pynvml.NVMLError as error:
        _log.warning("No GPU can be used: NVML does not list them: %s", error)
        return ()
    finally:
        _shut_down()


class Xids:
    """A collector of the driver's reports of faults (XID events). It keeps NVML started, or they would be lost."""

    def __init__(self) -> None:
        self._events: object | None = None
        self._registered: set[str] = set()

    def take(self) -> list[tuple[str, int]]:
        """Return (uuid of the GPU, XID) of each event since the last call, without waiting; [] without events."""
        found: list[tuple[str, int]] = []
        with contextlib.suppress(pynvml.NVMLError):  # a time-out, which means: no more of them
            self._register()
            while self._registered:
                event = pynvml.nvmlEventSetWait(self._events, 0)  # no other kind is registered
                found.append((str(pynvml.nvmlDeviceGetUUID(event.device)), int(event.eventData)))
        return found

    def _register(self) -> None:
        """Have NVML report the faults of GPUs that are new since the last call."""
        if self._events is None:
            pynvml.nvmlInit()
            self._events = pynvml.nvmlEventSetCreate()
        for device in _devices():
            if device.gpu not in self._registered and device.handle is not None:
                with contextlib.suppress(pynvml.NVMLError):  # a GPU without events
                    handle = pynvml.nvmlDeviceGetHandleByIndex(device.ordinal)
                    pynvml.nvmlDeviceRegisterEvents(handle, pynvml.nvmlEventTypeXidCriticalError, self._events)
                    self._registered.add(device.gpu)


def _is(error: pynvml.NVMLError, *codes: int) -> bool:
    return getattr(error, "value", None) in codes


def _shut_down() -> None:
    try:
        pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        _log.warning("NVML does not shut down: %s", error)


def _devices() -> Iterator[_Device]:
    for ordinal in range(pynvml.nvmlDeviceGetCount()):
        uuid = ""
        try:
            handle = pynvml.nvmlDeviceGetHandleByIndex(ordinal)
            uuid = str(pynvml.nvmlDeviceGetUUID(handle))
            if _in_mig_mode(handle):
                found = list(_instances(ordinal, uuid, handle))
            else:
                found = [_Device(ordinal, uuid, uuid, handle)]
        except pynvml.NVMLError as error:
            found = [_Device(ordinal, uuid, uuid, None, str(error))]
        yield from found


def _in_mig_mode(handle: object) -> bool:
    try:
        return pynvml.nvmlDeviceGetMigMode(handle)[0] == pynvml.NVML_DEVICE_MIG_ENABLE
    except pynvml.NVMLError as error:
        if _is(error, pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND):
            return False
        raise


def _instances(ordinal: int, gpu: str, parent: object) -> Iterator[_Device]:
    for place in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(parent)):
        try:
            handle = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(parent, place)
        except pynvml.NVMLError as error:
            if _is(error, pynvml.NVML_ERROR_NOT_FOUND):
                continue
            raise
        yield _Device(ordinal, gpu, str(pynvml.nvmlDeviceGetUUID(handle)), handle)


def _select(spec: str | None, devices: list[_Device]) -> list[_Device]:
    """Return the devices that CUDA_VISIBLE_DEVICES names, read as CUDA reads it.

    The first entry decides between indices and uuids; the list ends at the first entry that is not of that kind, or
    names nothing, or more than one; a repeated entry hides all. An index is a GPU with all its MIG instances.
    """
    if spec is None:
        return devices
    entries = [entry.strip() for entry in spec.split(",")]
    by_uuid = entries[0].startswith(("GPU-", "MIG-"))
    selected: list[_Device] = []
    for entry in entries:
        named = _named(entry, devices) if by_uuid else _numbered(entry, devices)
        if not named:
            break
        if named[0] in selected:
            return []
        selected += named
    return selected


def _numbered(entry: str, devices: list[_Device]) -> list[_Device]:
    number = re.match(r"[+-]?[0-9]+", entry)  # as strtol reads: "1x" is 1
    return [device for device in devices if number and device.ordinal == int(number[0])]


def _named(entry: str, devices: list[_Device]) -> list[_Device]:
    """Return the devices with a uuid that is, or begins with, `entry`."""
    if entry.startswith("GPU-"):
        named = [device for device in devices if device.gpu.startswith(entry)]
        unique = len({device.ordinal for device in named}) == 1
    elif entry.startswith("MIG-"):
        named = [device for device in devices if device.uuid.startswith(entry)]
        unique = len(named) == 1
    else:
        return []
    if not named and any(not device.uuid for device in devices):
        # It may name a GPU that doesn't even say its uuid, which is no reason to hide the entries behind it.
        return [_Device(-1, entry, entry, None, "no GPU that answers has this uuid")]
    return named if unique else []


def _measure(devices: list[_Device]) -> tuple[Gpu, ...]:
    found: list[Gpu] = []
    for index, device in enumerate(devices):
        try:
            gpu = _gpu(index, device, len(devices))
        except pynvml.NVMLError as error:
            _leave_out(index, device.uuid, str(error))
        else:
            if gpu is None:
                _leave_out(index, device.uuid, device.error)
            else:
                found.append(gpu)
    return tuple(found)


def _gpu(index: int, device: _Device, visible: int) -> Gpu | None:
    """Return the state of a device; None if NVML has no handle of it. Raises NVMLError."""
    handle = device.handle
    if handle is None:
        return None
    total = free = 0
    try:
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        total, free = int(memory.total), int(memory.free)
    except pynvml.NVMLError as error:
        if not _is(error, pynvml.NVML_ERROR_NOT_SUPPORTED):
            raise
    return Gpu(
        index,
        device.uuid,
        str(pynvml.nvmlDeviceGetName(handle)),
        total,
        free,
        visible,
        _ask(lambda: float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu), None),
        device.gpu,
        _ask(lambda: int(pynvml.nvmlDeviceGetTotalEccErrors(handle, *_UNCORRECTED)), None),
        _ask(lambda: _processes(handle), {}),
    )


def _ask(ask: Callable[[], T], otherwise: T) -> T:
    """Return what NVML says, or `otherwise`: some GPUs don't say everything, and can be used all the same."""
    try:
        return ask()
    except pynvml.NVMLError:
        return otherwise


def _processes(handle: object) -> dict[int, int]:
    running = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
    return {int(each.pid): int(each.usedGpuMemory) for each in running if each.usedGpuMemory is not None}


def _leave_out(index: int, uuid: str, error: str) -> None:
    _log.warning("GPU %d (%s) is left out: %s", index, uuid or "uuid unknown", error)
