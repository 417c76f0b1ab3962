"""Two machines, as far as one can play two: a Ray cluster of two nodes with a core each."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.scaling.machines import share


@pytest.mark.slow
@pytest.mark.ci
def test_two_machines_share_a_run(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    found = share(tmp_path, limit=3)
    assert found["machines"] == found["workers"] == 2
    assert found["cores of a worker"] == 1, "so neither machine has room for both workers"
    assert found["cells that differ"] == 0
