"""From runs on disk to frames, comparisons, rankings and routing metrics."""

from __future__ import annotations

from medbench.analysis.anchors import Published, read_published
from medbench.analysis.cell_scores import cell_scores
from medbench.analysis.compare import compare
from medbench.analysis.compare_cells import compare_cells
from medbench.analysis.conditions import Conditions
from medbench.analysis.leaderboard import Leaderboard, leaderboard
from medbench.analysis.load import load_runs
from medbench.analysis.runs import Problem, Run, Runs
from medbench.analysis.sensitivity import protocol_agreement, sensitivity
from medbench.analysis.systems import System, systems

__all__ = [
    "Conditions",
    "Leaderboard",
    "Problem",
    "Published",
    "Run",
    "Runs",
    "System",
    "cell_scores",
    "compare",
    "compare_cells",
    "leaderboard",
    "load_runs",
    "protocol_agreement",
    "read_published",
    "sensitivity",
    "systems",
]
