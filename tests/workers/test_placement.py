from __future__ import annotations

import os
from typing import Any

import pytest

from medbench.errors import WorkersError
from medbench.workers import cluster
from medbench.workers.cluster import Node, Placement, WorkerOptions, open_cluster, place


@pytest.mark.parametrize(
    ("nodes", "workers", "gpus_per_worker", "gpu", "expected"),
    [
        ([Node(16, 0)], "auto", 1, False, (8, 2, 0)),
        ([Node(1, 0)], "auto", 1, False, (1, 1, 0)),
        ([Node(2, 0)], 2, 1, False, (2, 1, 0)),
        ([Node(16, 8)], "auto", 1, True, (8, 2, 1)),
        ([Node(16, 8), Node(16, 8)], "auto", 4, True, (4, 8, 4)),
        ([Node(64, 8)], 3, 1, True, (3, 21, 1)),
        # Three cores on one machine and one on the other: two workers of two cores would not fit.
        ([Node(3, 0), Node(1, 0)], 3, 1, False, (3, 1, 0)),
        ([Node(5, 0), Node(3, 0)], 2, 1, False, (2, 3, 0)),
    ],
)
def test_places(
    nodes: list[Node], workers: Any, gpus_per_worker: int, gpu: bool, expected: tuple[int, int, int]
) -> None:
    assert place(nodes, WorkerOptions(workers, None, gpus_per_worker), gpu=gpu) == expected


@pytest.mark.parametrize(
    ("nodes", "workers", "gpus_per_worker"),
    [([Node(16, 4)], 5, 1), ([Node(16, 4)], 1, 8), ([Node(16, 0)], "auto", 1)],
)
def test_too_many_workers_are_refused(nodes: list[Node], workers: Any, gpus_per_worker: int) -> None:
    with pytest.raises(WorkersError, match="do not fit"):
        place(nodes, WorkerOptions(workers, None, gpus_per_worker), gpu=True)


@pytest.mark.parametrize(("workers", "gpus"), [(0, 1), ("two", 1), (True, 1), (2, 0)])
def test_nonsense_is_refused(workers: Any, gpus: int) -> None:
    with pytest.raises(WorkersError):
        WorkerOptions(workers, gpus_per_worker=gpus)


def test_neighbors_share_a_machine() -> None:
    assert Placement(4, 2, 0, (Node(4, 0), Node(8, 0)), "2").per_machine == 4
    assert Placement(3, 2, 1, (Node(64, 2), Node(64, 1)), "2").per_machine == 2


def test_an_address_where_nobody_listens_is_refused_at_once() -> None:
    pytest.importorskip("ray")
    with (
        pytest.raises(WorkersError, match="the Ray cluster cannot be used"),
        open_cluster(WorkerOptions(1, "127.0.0.1:1"), gpu=False),
    ):
        pass


def test_a_cluster_of_ones_own_asks_for_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.setenv(name, "")  # or its absence now would not be restored at the end
        monkeypatch.delenv(name)
    cluster._enable_token_auth()
    assert os.environ["RAY_AUTH_MODE"] == "token"
    token = os.environ["RAY_AUTH_TOKEN"]
    assert len(token) == 64
    cluster._enable_token_auth()
    assert os.environ["RAY_AUTH_TOKEN"] == token, "one for the life of the process"
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    cluster._enable_token_auth()
    assert "RAY_AUTH_TOKEN" not in os.environ
