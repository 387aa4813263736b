"""parallelType, parallelLevel and torchrun of a model-config.yaml."""

from __future__ import annotations

from typing import Any

import pytest

from torchserve.core.config.parallel import Parallel, read_parallel


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, None),
        ({"parallelLevel": 4}, None),
        ({"parallelType": ""}, None),
        ({"parallelType": "tp"}, Parallel(kind="tp", level=1)),
        ({"parallelType": "PP", "parallelLevel": 2}, Parallel(kind="pp", level=2)),
        ({"parallelType": "pptp", "torchrun": {"nproc-per-node": 4}}, Parallel(kind="pptp", level=4)),
        ({"parallelType": "tp", "parallelLevel": 8, "torchrun": {"nproc-per-node": 4}}, Parallel(kind="tp", level=4)),
        ({"parallelType": "custom", "parallelLevel": 3}, Parallel(kind="custom", level=3)),
        (
            {
                "parallelType": "tp",
                "torchrun": {
                    "nnodes": 2, "nproc-per-node": 2, "node-rank": 1, "rdzv-backend": "static",
                    "rdzv-endpoint": "host:1", "rdzv-conf": "a=1", "monitor-interval": 5, "OMP_NUMBER_THREADS": 3,
                },
            },
            Parallel(
                kind="tp", level=2, nodes=2, node_rank=1, rdzv_backend="static", rdzv_endpoint="host:1",
                rdzv_conf="a=1", monitor_interval=5, threads=3,
            ),
        ),
    ],
)  # fmt: skip
def test_what_is_said_is_read(config: dict[str, Any], expected: Parallel | None, caplog) -> None:
    assert read_parallel(config) == expected
    assert not caplog.records


@pytest.mark.parametrize(
    ("config", "expected", "text"),
    [
        ({"parallelType": "dp"}, None, "parallelType must be pp, tp, pptp or custom, not 'dp'"),
        ({"parallelType": ["tp"]}, None, "parallelType must be"),
        ({"parallelType": "tp", "parallelLevel": 0}, 1, "parallelLevel must be a whole number from 1 to 127, not 0"),
        ({"parallelType": "tp", "parallelLevel": "2"}, 1, "parallelLevel must be"),
        ({"parallelType": "tp", "torchrun": 4}, 1, "torchrun must hold options of torchrun, not 4"),
        (
            {"parallelType": "tp", "torchrun": {"nproc-per-node": True}},
            1,
            "torchrun.nproc-per-node must be a whole number from 1 to 127, not True",
        ),
        (
            {"parallelType": "tp", "torchrun": {"master-port": 1}},
            1,
            "torchrun.master-port is ignored; there are nnodes",
        ),
        ({"parallelType": "tp", "torchrun": {"rdzv-endpoint": 1}}, 1, "torchrun.rdzv-endpoint must be a text, not 1"),
    ],
)
def test_what_can_not_be_is_told(config: dict[str, Any], expected: int | None, text: str, caplog) -> None:
    found = read_parallel(config)
    assert (found.level if found else None) == expected
    assert text in caplog.text


def test_only_torchruns_kinds_have_ranks() -> None:
    assert [Parallel(kind=kind, level=3).ranks for kind in ("pp", "tp", "pptp", "custom")] == [3, 3, 3, 0]


ONE = {"--nnodes": "1", "--node-rank": "0", "--nproc-per-node": "2", "--rdzv-backend": "c10d"}
FREE = {"--rdzv-endpoint": "localhost:0"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, ONE | FREE),
        ({"level": 4}, ONE | FREE | {"--nproc-per-node": "4"}),
        ({"nodes": 2, "node_rank": 1}, ONE | {"--nnodes": "2", "--node-rank": "1"}),
        ({"rdzv_backend": "etcd"}, ONE | {"--rdzv-backend": "etcd"}),
        ({"rdzv_endpoint": "host:29400"}, ONE | {"--rdzv-endpoint": "host:29400"}),
        ({"rdzv_conf": "timeout=9"}, ONE | FREE | {"--rdzv-conf": "timeout=9"}),
        ({"monitor_interval": 3}, ONE | FREE | {"--monitor-interval": "3"}),
    ],
)
def test_torchrun_is_told_what_the_model_says(options: dict[str, Any], said: dict[str, str]) -> None:
    parallel = Parallel(**({"kind": "tp", "level": 2} | options))
    assert dict(option.split("=", 1) for option in parallel.torchrun_options()) == said
