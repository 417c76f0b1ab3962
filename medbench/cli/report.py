"""``medbench report``: one HTML file from any number of runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from medbench.cli.options import Baseline, RunPaths
from medbench.cli.output import say

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("report")(report)


def report(
    runs: RunPaths = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The HTML file to write.")] = Path(
        "report.html"
    ),
    baseline: Baseline = None,
    title: Annotated[str | None, typer.Option(help="Heading of the page.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Write a self-contained HTML report of all runs below RUNS (by default results/)."""
    from medbench.analysis import load_runs
    from medbench.reports import write_report

    loaded = load_runs(runs or ["results"])
    written = write_report(loaded, output, title=title, baseline=baseline)
    if as_json:
        say(
            json.dumps(
                {
                    "report": str(written),
                    "runs": [str(run.path) for run in loaded],
                    "problems": [f"{problem.path}: {problem.what}" for problem in loaded.problems],
                },
                ensure_ascii=False,
                indent=2,
            )
        )
        return
    for problem in loaded.problems:
        say(f"note: {problem.path}: {problem.what}", err=True)
    say(f"{written}  ({len(loaded)} runs)")
