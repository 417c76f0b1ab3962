"""Two raylets on loopback, each with one core, as two machines that share a run."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.faults.runs import TASKS, compare, write_tasks
from medbench.api import evaluate_with_outcome

__all__ = ["share", "two_machines"]


@contextmanager
def two_machines() -> Iterator[str]:
    """A cluster of two nodes with a core each; its address."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    settings: dict[str, Any] = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 2**27}
    cluster: Any = Cluster(initialize_head=True, head_node_args=settings)
    try:
        cluster.add_node(num_cpus=1, object_store_memory=2**27)
        cluster.wait_for_nodes()
        yield str(cluster.address)
    finally:
        cluster.shutdown()


def share(folder: Path, limit: int | None = None) -> Mapping[str, object]:
    """Evaluate the demo in one process and on both machines, and compare.

    Returns:
        What happened, for a table.
    """
    options: dict[str, Any] = {"limit": limit, "report": False, "quiet": True}
    options |= {"tasks": TASKS, "task_folders": [write_tasks(folder / "tasks")]}
    alone = evaluate_with_outcome(results=folder / "alone", **options).directory
    with two_machines() as address:
        both = evaluate_with_outcome(
            results=folder / "both", workers=2, ray_address=address, **options
        ).directory
    attempt = json.loads((both / "run.json").read_text(encoding="utf-8"))["attempts"][0]
    difference = compare(alone, both)
    return {
        "machines": len(attempt["workers"]["nodes"]),
        "cores of each": attempt["workers"]["nodes"],
        "workers": attempt["workers"]["workers"],
        "cores of a worker": attempt["workers"]["cpus"],
        "cells that differ": len(difference.cells),
        "largest rounding": difference.largest,
    }
