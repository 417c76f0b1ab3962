"""What the commands about routing have in common: which runs and tasks they read, and how much they show."""

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

__all__ = ["Phase", "Top", "leading", "routing_of", "runs_among", "shown_in_part"]

# Which tokens are looked at.
Phase = Literal["prompt", "generated"]

Top = Annotated[
    int | None,
    typer.Option(min=0, help="Rows shown, the clearest first; 0 for all. In a terminal 20, else all."),
]

# Rows of a long table in a terminal.
_MOST = 20


def runs_among(paths: Sequence[str], least: int, most: int) -> list[str]:
    """The paths without ablations, which lie beside the runs that a shell's pattern is meant to find.

    Args:
        paths: What was given on the command line.
        least: Runs that are needed.
        most: Runs that can be taken.

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
    """The router counts of runs, perhaps of some tasks only.

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
    """The rows with the largest values, as many as asked for.

    Args:
        frame: The rows.
        by: Column whose size counts, whatever its sign.
        top: As of :data:`Top`.
        form: What is printed; ``text`` has a default of its own.
    """
    most = _MOST if top is None and form == "text" else top
    order = frame[by].abs().sort_values(ascending=False, kind="stable").index
    return frame.loc[order[: most or None]]


def shown_in_part(table: TextTable, shown: int, every: int, which: str) -> TextTable:
    """The table with a note that says which of all rows it has, if not all."""
    if shown == every:
        return table
    note = f"The {shown:,} {which} of {every:,}; --top 0 shows all, --task fewer."
    return replace(table, notes=[*table.notes, note])
