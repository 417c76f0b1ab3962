"""Which unfinished run is gone on with."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from medbench.errors import RunError
from medbench.runs.directory import RunDirectory, find_run, read_json, safe_name

if TYPE_CHECKING:
    from medbench.runs.plan import RunPlan

__all__ = ["find_begun"]


def find_begun(plan: RunPlan, results: Path) -> tuple[RunDirectory | None, RunPlan]:
    """Find the run of a plan, finished or not, and the plan as that run began.

    Where the chat template asks for the time, a plan is another on every day; a run that broke off goes on
    with the time of its start all the same.
    """
    directory = find_run(results, plan.model.model, plan.plan_hash)
    if directory is not None or not plan.clock:
        return directory, plan
    for file in sorted((results / safe_name(plan.model.model)).glob("*/run.json"), reverse=True):
        begun = RunDirectory(file.parent)
        try:
            manifest = read_json(file)
            then = datetime.fromisoformat(manifest["moment"])
        except (RunError, KeyError, TypeError, ValueError):
            continue  # a run without a clock, or one that cannot be read
        earlier = replace(plan, moment=then)
        if earlier.plan_hash == manifest.get("plan_hash") and begun.status() != "complete":
            return begun, earlier
    return None, plan
