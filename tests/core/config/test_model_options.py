"""A model's options: which source wins, what is out of range, and what a model-config.yaml may hold."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.config.configured_models import ConfiguredModel
from torchserve.core.config.model_options import ModelOptions, Requested, Stateful, resolve_options
from torchserve.core.config.settings import Settings
from torchserve.core.errors import BadRequest

SETTINGS = Settings(default_response_timeout=11, default_startup_timeout=12, job_queue_size=13)
PLAIN = ModelOptions(response_timeout=11, startup_timeout=12, job_queue_size=13)


def resolve(config: dict[str, Any], **asked: int | None) -> ModelOptions:
    return resolve_options(config, Requested(**asked), SETTINGS)


def test_nothing_given() -> None:
    assert resolve({}) == PLAIN
    assert (PLAIN.batch_size, PLAIN.max_batch_delay, PLAIN.max_retry_timeout, PLAIN.client_timeout) == (1, 100, 300, 0)
    assert (PLAIN.min_workers, PLAIN.max_workers, PLAIN.device_type, PLAIN.device_ids) == (0, 0, "", None)


@pytest.mark.parametrize(
    ("key", "name", "low"),
    [
        ("batchSize", "batch_size", 1), ("maxBatchDelay", "max_batch_delay", 0),
        ("responseTimeout", "response_timeout", 1), ("startupTimeout", "startup_timeout", 1),
        ("maxRetryTimeoutInSec", "max_retry_timeout", 1), ("clientTimeoutInMills", "client_timeout", 0),
        ("jobQueueSize", "job_queue_size", 1),
        ("scaleDownAfter", "scale_down_after", 1), ("minResidency", "residency", 0),
    ],
)  # fmt: skip
def test_whole_numbers_of_the_yaml(key: str, name: str, low: int, caplog: pytest.LogCaptureFixture) -> None:
    for value, expected in [(40, 40), (low, low), (low - 1, low), (-9, low), (2**31 - 1, 2**31 - 1)]:
        assert getattr(resolve({key: value}), name) == expected
    assert caplog.records == []
    for wrong in ("4", 4.0, True, None, [4], {}, 2**31):
        assert resolve({key: wrong}) == PLAIN
    assert len(caplog.records) == 7
    assert all(f"model-config.yaml: {key} must be a whole number" in text for text in caplog.messages)


@pytest.mark.parametrize(
    ("config", "asked", "expected"),
    [
        ({}, {}, (1, 100)),
        ({"batchSize": 4, "maxBatchDelay": 50}, {}, (4, 50)),
        ({"batchSize": 4, "maxBatchDelay": 50}, {"batch_size": 2, "max_batch_delay": 0}, (2, 0)),
        ({"batchSize": 4, "maxBatchDelay": 50}, {"batch_size": 0, "max_batch_delay": -1}, (4, 50)),
        ({"batchSize": 4}, {"batch_size": -3}, (4, 100)),
    ],
)
def test_a_registration_decides_on_batches(
    config: dict[str, Any], asked: dict[str, int], expected: tuple[int, int]
) -> None:
    options = resolve(config, **asked)
    assert (options.batch_size, options.max_batch_delay) == expected


@pytest.mark.parametrize(
    ("config", "asked", "expected"),
    [
        ({}, {}, (11, 12)),
        ({}, {"response_timeout": 5, "startup_timeout": 6}, (5, 6)),
        ({"responseTimeout": 7}, {"response_timeout": 5, "startup_timeout": 6}, (7, 6)),
        ({"startupTimeout": 8}, {"response_timeout": 5, "startup_timeout": 6}, (5, 8)),
        ({}, {"response_timeout": 0, "startup_timeout": 0}, (11, 0)),  # no time to load at all fails, as in TorchServe
        ({}, {"response_timeout": -1, "startup_timeout": -1}, (11, 12)),
    ],
)
def test_the_yaml_decides_on_timeouts(config: dict[str, Any], asked: dict[str, int], expected: tuple[int, int]) -> None:
    options = resolve(config, **asked)
    assert (options.response_timeout, options.startup_timeout) == expected


@pytest.mark.parametrize(
    ("config", "initial", "expected"),
    [
        ({}, None, (0, 0)),
        ({}, 3, (3, 3)),
        ({}, -1, (0, 0)),
        ({"minWorkers": 2, "maxWorkers": 4}, 3, (2, 4)),
        ({"minWorkers": 2, "maxWorkers": 2}, None, (2, 2)),
        ({"minWorkers": 0, "maxWorkers": 0}, None, (1, 1)),
        ({"minWorkers": 4, "maxWorkers": 2}, 3, (3, 3)),
        ({"minWorkers": 2}, 3, (3, 3)),
        ({"maxWorkers": 2}, 3, (3, 3)),
        ({"minWorkers": "2", "maxWorkers": 2}, 3, (3, 3)),
    ],
)
def test_a_whole_pair_of_the_yaml_decides_on_workers(
    config: dict[str, Any], initial: int | None, expected: tuple[int, int]
) -> None:
    options = resolve(config, initial_workers=initial)
    assert (options.min_workers, options.max_workers) == expected


@pytest.mark.parametrize(
    ("config", "kind", "ids", "warned"),
    [
        ({"deviceType": "cpu"}, "cpu", None, ""),
        ({"deviceType": "gpu", "deviceIds": [1, 0]}, "gpu", (1, 0), ""),
        ({"deviceIds": None}, "", None, ""),
        ({"deviceType": "neuron"}, "", None, "deviceType must be cpu or gpu, not 'neuron'"),
        ({"deviceIds": []}, "", None, "deviceIds must be a list of whole numbers, not []"),
        ({"deviceIds": [True]}, "", None, "deviceIds must be a list of whole numbers, not [True]"),
        ({"deviceIds": ["0"]}, "", None, "deviceIds must be a list"),
        ({"deviceIds": 0}, "", None, "deviceIds must be a list"),
    ],
)
def test_devices(
    config: dict[str, Any], kind: str, ids: tuple[int, ...] | None, warned: str, caplog: pytest.LogCaptureFixture
) -> None:
    options = resolve(config)
    assert (options.device_type, options.device_ids) == (kind, ids)
    assert len(caplog.messages) == bool(warned)
    assert warned in caplog.text


def test_batches_whose_members_stay(caplog: pytest.LogCaptureFixture) -> None:
    options = resolve({"continuousBatching": True, "sequenceBatching": True, "maxNumSequence": 3})
    assert (options.continuous, options.stateful) == (True, Stateful(3, 1, 0, 0))
    options = resolve(
        {"sequenceBatching": True, "maxSequenceJobQueueSize": 2, "sequenceMaxIdleMSec": 5, "sequenceTimeoutMSec": 7}
    )
    assert (options.continuous, options.stateful) == (False, Stateful(1, 2, 5, 7))
    assert resolve({"maxNumSequence": 3}) == PLAIN
    assert caplog.messages == []
    assert resolve({"sequenceBatching": True, "maxNumSequence": 0}).stateful == Stateful()
    assert resolve({"continuousBatching": True, "asyncCommunication": True}).asynchronous is False
    assert [message.partition(", not")[0] for message in caplog.messages] == [
        "model-config.yaml: maxNumSequence must be a whole number from 1 to 2147483647",
        "model-config.yaml: asyncCommunication is ignored, as each step of a batch follows the one before",
    ]


@pytest.mark.parametrize(
    ("config", "ignored"),
    [
        ({}, None),
        ({"continuousBatching": True}, "each step of a batch follows the one before"),
        ({"sequenceBatching": True}, "each step of a batch follows the one before"),
        ({"asyncCommunication": True}, "each request of an asynchronous handler is a batch of its own"),
        ({"parallelType": "tp", "torchrun": {"nproc-per-node": 2}}, "torchrun's ranks run a batch together"),
    ],
)
def test_whose_batches_may_be_run_again(
    config: dict[str, Any], ignored: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    assert resolve({"isolateErrors": True} | config).isolate_errors is (ignored is None)
    assert caplog.messages == ([f"model-config.yaml: isolateErrors is ignored, as {ignored}"] if ignored else [])


@pytest.mark.parametrize("key", ["continuousBatching", "sequenceBatching", "isolateErrors"])
def test_switches(key: str, caplog: pytest.LogCaptureFixture) -> None:
    assert resolve({key: False}) == PLAIN
    assert caplog.messages == []
    assert resolve({key: "pp"}) == PLAIN
    assert caplog.messages == [f"model-config.yaml: {key} must be true or false, not 'pp'; false is used"]
    assert caplog.records[0].levelno == logging.WARNING


def test_a_handlers_own_keys_are_nobodys_business(caplog: pytest.LogCaptureFixture) -> None:
    assert resolve({"handler": {"profile": True}, "pt2": "inductor", "batchsize": 9}) == PLAIN
    assert caplog.messages == []


KEYS = [
    "minWorkers", "maxWorkers", "batchSize", "maxBatchDelay", "responseTimeout", "startupTimeout", "deviceType",
    "maxRetryTimeoutInSec", "clientTimeoutInMills", "jobQueueSize", "deviceIds", "useJobTicket",
]  # fmt: skip
WILD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)
ASKED = st.none() | st.integers(-(2**31), 2**31 - 1)


@pytest.mark.parametrize(("value", "taken"), [(True, True), (False, False), ("yes", False), (1, False)])
def test_job_tickets(value: object, taken: bool, caplog: pytest.LogCaptureFixture) -> None:
    assert resolve({"useJobTicket": value}).job_ticket is taken
    assert bool(caplog.messages) is (not isinstance(value, bool))


@pytest.mark.parametrize(
    ("config", "expected", "text"),
    [
        ({}, False, ""),
        ({"asyncCommunication": True}, True, ""),
        ({"asyncCommunication": "yes"}, False, "asyncCommunication must be true or false, not 'yes'"),
        ({"asyncCommunication": True, "parallelType": "custom"}, True, ""),
        ({"asyncCommunication": True, "parallelType": "tp"}, False, "asyncCommunication is ignored"),
    ],
)
def test_asynchronous_handlers(config: dict[str, Any], expected: bool, text: str, caplog) -> None:
    assert resolve(config).asynchronous is expected
    assert text in caplog.text


@given(st.dictionaries(st.sampled_from(KEYS), WILD), ASKED, ASKED, ASKED, ASKED, ASKED)
def test_whatever_is_given_the_options_are_in_range(
    config: dict[str, Any],
    size: int | None,
    delay: int | None,
    workers: int | None,
    answer: int | None,
    start: int | None,
) -> None:
    asked = {
        "batch_size": size, "max_batch_delay": delay, "initial_workers": workers, "response_timeout": answer,
        "startup_timeout": start,
    }  # fmt: skip
    try:
        options = resolve(config, **asked)
    except BadRequest as error:  # that is about the number of workers alone
        assert "(max_workers_per_model)" in error.message
        return
    assert 0 <= options.min_workers <= options.max_workers <= Settings().most_workers
    assert 1 <= options.batch_size < 2**31
    assert 0 <= options.max_batch_delay < 2**31
    assert 1 <= options.response_timeout < 2**31
    assert 0 <= options.startup_timeout < 2**31
    assert 1 <= options.max_retry_timeout < 2**31
    assert 0 <= options.client_timeout < 2**31
    assert 1 <= options.job_queue_size < 2**31
    assert options.device_type in {"", "cpu", "gpu"}


SAID = ConfiguredModel(
    min_workers=2, max_workers=3, batch_size=4, max_batch_delay=5, response_timeout=6, startup_timeout=7
)
ALL = {
    "minWorkers": 20, "maxWorkers": 30, "batchSize": 40, "maxBatchDelay": 50, "responseTimeout": 60, "startupTimeout": 70,
}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "asked", "expected"),
    [
        ({}, {}, (2, 3, 4, 5, 6, 7)),
        ({}, {"initial_workers": 9, "batch_size": 9, "response_timeout": 9}, (2, 3, 9, 5, 9, 7)),
        ({}, {"max_batch_delay": 9, "startup_timeout": 9}, (2, 3, 4, 9, 6, 9)),
        (ALL, {}, (20, 30, 40, 50, 60, 70)),
        (ALL, {"batch_size": 9, "max_batch_delay": 8, "response_timeout": 7}, (20, 30, 9, 8, 60, 70)),
        ({"minWorkers": 20}, {}, (2, 3, 4, 5, 6, 7)),
    ],
)
def test_the_key_models_has_its_place(config: dict[str, Any], asked: dict[str, int], expected: tuple[int, ...]) -> None:
    options = resolve_options(config, Requested(**asked), SETTINGS, SAID)
    assert expected == (
        options.min_workers, options.max_workers, options.batch_size, options.max_batch_delay,
        options.response_timeout, options.startup_timeout,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("said", "initial", "expected"),
    [
        (ConfiguredModel(), 2, (2, 2)),
        (ConfiguredModel(min_workers=3), 2, (3, 3)),
        (ConfiguredModel(max_workers=3), 2, (2, 3)),
        (ConfiguredModel(max_workers=1), 2, (2, 2)),
        (ConfiguredModel(min_workers=4, max_workers=2), None, (4, 4)),
    ],
)
def test_workers_that_models_half_says(said: ConfiguredModel, initial: int | None, expected: tuple[int, int]) -> None:
    options = resolve_options({}, Requested(initial_workers=initial), SETTINGS, said)
    assert (options.min_workers, options.max_workers) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (6000, 6000 << 20),
        ("6 GiB", 6 << 30),
        ("6GB", 6_000_000_000),
        (" 1.5Gi ", 3 << 29),
        ("200 MB", 200_000_000),
        ("64K", 64_000),
        ("1TiB", 1 << 40),
        *[(wrong, None) for wrong in (0, -1, True, 1.5, "6", "", "GiB", "six", "0 GiB", [6], 1 << 40)],
    ],
)
def test_gpu_memory(value: object, expected: int | None, caplog: pytest.LogCaptureFixture) -> None:
    assert resolve({"gpuMemory": value}).gpu_memory == expected
    assert ("gpuMemory must be" in caplog.text) == (expected is None)


@pytest.mark.parametrize(("value", "expected"), [("wait", "wait"), ("cpu", "cpu"), ("refuse", "refuse"), (1, "refuse")])
def test_when_no_gpu_memory(value: object, expected: str, caplog: pytest.LogCaptureFixture) -> None:
    assert resolve({"whenNoGpuMemory": value}).when_no_gpu_memory == expected
    assert ("whenNoGpuMemory must be" in caplog.text) == (value == 1)


@pytest.mark.parametrize(("value", "expected"), [(True, True), (False, False), ("no", True), (0, True), (None, True)])
def test_autoscale_is_on_unless_it_is_off(value: object, expected: bool, caplog: pytest.LogCaptureFixture) -> None:
    assert resolve({}).autoscale
    assert resolve({"autoscale": value}).autoscale is expected
    assert ("autoscale must be true or false" in caplog.text) == (not isinstance(value, bool))


def test_on_demand_is_off_unless_it_is_on(caplog: pytest.LogCaptureFixture) -> None:
    assert not resolve({}).on_demand
    assert resolve({"onDemand": True}).on_demand
    assert not resolve({"onDemand": "yes"}).on_demand
    assert resolve({"warmSpare": True}).warm_spare
    assert not resolve({"warmSpare": 1}).warm_spare
    assert "onDemand must be true or false, not 'yes'" in caplog.text


def test_workers_with_the_state_of_sequences_stay(caplog: pytest.LogCaptureFixture) -> None:
    options = resolve({"sequenceBatching": True, "onDemand": True, "autoscale": True, "warmSpare": True})
    assert (options.on_demand, options.autoscale, options.warm_spare) == (False, False, False)
    assert "onDemand is ignored with sequenceBatching" in caplog.text
