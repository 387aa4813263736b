"""probe: the NVIDIA GPUs that this process may use, as NVML sees them at this moment. Nothing is cached."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

import pynvml

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU, or one MIG instance. Memory in bytes, 0 where the driver doesn't say (memory shared with the CPU);
    utilization in percent, None where it doesn't say.

    `index` is its place among the `visible` ones, counting those that don't answer. A worker is tied to it by
    CUDA_VISIBLE_DEVICES=`uuid`: NVML's order and CUDA's may differ, and both may change at a boot.
    """

    index: int
    uuid: str
    name: str
    total: int
    free: int
    visible: int = 0
    utilization: float | None = None


@dataclass(frozen=True, slots=True)
class _Device:
    """A GPU or MIG instance that NVML lists. `handle` is None, and `uuid` maybe empty, for one that doesn't answer.

    `ordinal` and `gpu` (uuid) are those of the GPU it is on.
    """

    ordinal: int
    gpu: str
    uuid: str
    handle: object | None
    error: str = ""


def probe() -> tuple[Gpu, ...]:
    """The visible GPUs that answer, by CUDA_VISIBLE_DEVICES; none without driver or library. Never raises.

    One that doesn't answer is left out with a warning. Of a GPU in MIG mode each instance counts as one. NVML is
    started and ended per call, which may take seconds on a sick driver: call it in a thread.
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
    """Read CUDA_VISIBLE_DEVICES as CUDA does.

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
    """By a whole uuid or the beginning of one."""
    if entry.startswith("GPU-"):
        named = [device for device in devices if device.gpu.startswith(entry)]
        unique = len({device.ordinal for device in named}) == 1
    elif entry.startswith("MIG-"):
        named = [device for device in devices if device.uuid.startswith(entry)]
        unique = len(named) == 1
    else:
        return []
    if not named and any(not device.uuid for device in devices):
        # It may be one that doesn't even say its uuid: that is no reason to hide the entries behind it.
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
    if device.handle is None:
        return None
    name = str(pynvml.nvmlDeviceGetName(device.handle))
    total = free = 0
    try:
        memory = pynvml.nvmlDeviceGetMemoryInfo(device.handle)
        total, free = int(memory.total), int(memory.free)
    except pynvml.NVMLError as error:
        if not _is(error, pynvml.NVML_ERROR_NOT_SUPPORTED):
            raise
    try:
        utilization = float(pynvml.nvmlDeviceGetUtilizationRates(device.handle).gpu)
    except pynvml.NVMLError:
        utilization = None  # of MIG instances nothing is known; and what is only shown must not cost a GPU
    return Gpu(index, device.uuid, name, total, free, visible, utilization)


def _leave_out(index: int, uuid: str, error: str) -> None:
    _log.warning("GPU %d (%s) is left out: %s", index, uuid or "uuid unknown", error)
