"""From runs on disk to frames, comparisons, rankings and routing metrics."""

from __future__ import annotations

from medbench.analysis.load import load_runs
from medbench.analysis.runs import Problem, Run, Runs

__all__ = ["Problem", "Run", "Runs", "load_runs"]
