"""What routers did in recorded runs, beside what was answered: frames, metrics, tests and ablations.

Public names are imported on first use (PEP 562): some modules read runs, which others check.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medbench.analysis.routing.by_kind import regroup, specialization, task_groups
    from medbench.analysis.routing.gains import shared_gains
    from medbench.analysis.routing.summary import (
        BY,
        coactivation,
        expert_load,
        load_difference,
        router_summary,
        task_similarity,
    )
    from medbench.analysis.routing.verdicts import loads_by_verdict, routing_by_verdict

# Public name -> module of this package that defines it.
_HOMES = {
    "BY": "summary",
    "coactivation": "summary",
    "expert_load": "summary",
    "load_difference": "summary",
    "loads_by_verdict": "verdicts",
    "regroup": "by_kind",
    "router_summary": "summary",
    "routing_by_verdict": "verdicts",
    "shared_gains": "gains",
    "specialization": "by_kind",
    "task_groups": "by_kind",
    "task_similarity": "summary",
}

__all__ = [
    "BY",
    "coactivation",
    "expert_load",
    "load_difference",
    "loads_by_verdict",
    "regroup",
    "router_summary",
    "routing_by_verdict",
    "shared_gains",
    "specialization",
    "task_groups",
    "task_similarity",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
