"""A Ray cluster on loopback, shared by the tests that need one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.faults.runs import write_tasks


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """Ray reads a token once; what a test leaves in the environment would not be the token of the next."""
    before = {name: value for name, value in os.environ.items() if name.startswith("RAY_AUTH")}
    yield
    for name in [name for name in os.environ if name.startswith("RAY_AUTH")]:
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture(scope="session")
def two_cores() -> Iterator[None]:
    """A Ray cluster of two cores that is there already: what a run finds open, it leaves open."""
    ray = pytest.importorskip("ray")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=2**27,
        log_to_driver=False,
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tasks(tmp_path_factory.mktemp("tasks"))
