"""Shared parts of the routing commands: selecting runs and tasks, and limiting tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from medbench.cli.options import split_names

if TYPE_CHECKING:
    import pandas as pd

    from medbench.analysis import Runs
    from medbench.reports.tables import TextTable

# The tokens to look at.
Phase = Literal["prompt", "generated"]

Top = Annotated[
    int | None,
    typer.Option(min=0, help="Number of rows, largest first; 0 for all. By default 20 as text, else all."),
]

# Rows of a table printed as text.
_MOST = 20


def runs_among(paths: Sequence[str], least: int, most: int) -> list[str]:
    """Drop ablations from paths: a shell's pattern for runs also matches the ablations beside them.

    Args:
        paths: Paths given on the command line.
        least: Least number of runs.
        most: Largest number of runs.

    Raises:
        AnalysisError: There are fewer or more.
    """
    from medbench.errors import AnalysisError

    kept = [path for path in paths if not _is_ablation(Path(path))]
    if not least <= len(kept) <= most:
        needed = str(most) if least == most else f"{least} or {most}"
        raise AnalysisError(
            f"{len(kept)} runs were given where {needed} {'is' if needed == '1' else 'are'} needed",
            where=", ".join(kept[: most + 1]) or ", ".join(paths),
            hint="give run directories; ablations among them are left out",
        )
    return kept


def _is_ablation(folder: Path) -> bool:
    return (folder / "ablation.json").is_file() and not (folder / "run.json").exists()


def routing_of(runs: Runs, tasks: Sequence[str] | None = None) -> pd.DataFrame:
    """Read the router counts of runs, of all or some tasks.

    Raises:
        AnalysisError: There are none; the message names the runs.
    """
    from medbench.errors import AnalysisError

    names = split_names(*tasks or ())
    frame = runs.routing(tasks=names or None)
    if frame.empty:
        looked = [f"{run.model}/{run.run}" for run in runs]
        raise AnalysisError(
            "no routing was recorded" + (f" of {', '.join(names)}" if names else ""),
            where=", ".join([*looked[:3], *(["…"] if len(looked) > 3 else [])]),
            hint="only models with routers record any, unless --routing off",
        )
    return frame


def leading(frame: pd.DataFrame, by: str, top: int | None, form: str) -> pd.DataFrame:
    """The rows with the largest values.

    Args:
        frame: The rows.
        by: Column whose absolute value counts.
        top: How many, as for :data:`Top`.
        form: Output format; ``text`` has a lower default.
    """
    most = _MOST if top is None and form == "text" else top
    order = frame[by].abs().sort_values(ascending=False, kind="stable").index
    return frame.loc[order[: most or None]]


def shown_in_part(table: TextTable, shown: int, every: int, which: str) -> TextTable:
    """Add a note to a table that does not have all rows."""
    if shown == every:
        return table
    note = f"The {shown:,} {which} of {every:,}; --top 0 shows all, --task fewer."
    return replace(table, notes=[*table.notes, note])
