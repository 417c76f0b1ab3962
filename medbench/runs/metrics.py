"""What a task's metrics are: how documents make each score, and which score stands for the task."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from numbers import Real
from typing import Any

import numpy as np

#: Stands for the value of a metric that a task did not give for a document.
ABSENT: Any = type("Absent", (), {"__repr__": lambda _: "absent"})()


def aggregation_name(function: Callable[..., Any] | None) -> str:
    """The name of what makes a score of documents, decided by what it is and not by what it is called.

    Args:
        function: From lm-eval's registry, from :mod:`medbench.scoring.aggregation`, or a task's own;
            ``None`` where a task names none, which lm-eval takes for the mean.

    Returns:
        The name it is registered under, or ``custom:`` and its own name, so that no foreign function passes
        for one that is known.
    """
    from lm_eval.api.metrics import mean
    from lm_eval.api.registry import AGGREGATION_REGISTRY

    from medbench.scoring import aggregation

    if function is None or function is mean or function is aggregation.mean:
        return "mean"
    for name, registered in AGGREGATION_REGISTRY.items():
        if registered is function:
            return str(name)
    own = str(getattr(function, "__name__", ""))
    if own in aggregation.__all__ and getattr(aggregation, own) is function:
        return own
    return f"custom:{own or type(function).__name__}"


def aggregation_names(task: Any, metrics: Collection[str]) -> dict[str, str]:
    """The aggregation of each metric, by name."""
    known = task.aggregation() or {}
    return {metric: aggregation_name(known.get(metric)) for metric in metrics}


def main_metric(task: Any, scored: Collection[str]) -> str:
    """The metric that stands for the task.

    Args:
        task: The lm-eval task.
        scored: Metrics that its documents were given, in order.

    Returns:
        ``metadata.main_metric``, else the first one listed that was scored, else the first one scored; where
        nothing was, what the task names all the same.
    """
    metadata = task.config.metadata
    named = str(metadata.get("main_metric") or "") if isinstance(metadata, Mapping) else ""
    wanted = [name for name in (named, *(task.aggregation() or {})) if name]
    return next((name for name in (*wanted, *scored) if name in scored), wanted[0] if wanted else "none")


def as_number(value: Any) -> float | None:
    """A metric's value as a number; ``None`` if it is something else."""
    if isinstance(value, (Real, np.number, np.bool_)):
        return float(value)
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):  # an array or tensor of one number
        inner = value.item()
        return float(inner) if isinstance(inner, Real) else None
    return None
