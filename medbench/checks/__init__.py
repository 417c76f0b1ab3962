"""Checks of task definitions: what they say, their documents, the prompts they make, how they score."""

from __future__ import annotations

from medbench.checks.behavior import Rendering
from medbench.checks.checker import CheckReport, check_tasks
from medbench.checks.findings import Finding
from medbench.checks.scaffolding import new_task

__all__ = ["CheckReport", "Finding", "Rendering", "check_tasks", "new_task"]
