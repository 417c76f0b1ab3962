"""What a comparison amounts to, in one sentence."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

__all__ = ["verdict_summary"]

_NAMED = 8


def verdict_summary(rows: pd.DataFrame, kind: str = "task") -> str:
    """Which tasks of one model became better or worse, by p alone and after adjustment.

    Args:
        rows: Rows of one model of :func:`medbench.analysis.compare`, or of ``compare_cells``.
        kind: ``task``, or ``cell`` for the cells of tasks.
    """
    tasks = rows[rows["kind"] == kind]
    if kind == "cell":
        tasks = tasks.assign(task=tasks["task"].astype(str) + " " + tasks["cell"].astype(str))
    judged = tasks[tasks["verdict"] != "refused"]
    refused = len(tasks) - len(judged)
    said = [
        f"{_found(judged, 'unadjusted')} by p alone",
        f"{_found(judged, 'verdict')} after adjustment for {_count(len(judged), 'test')}",
        f"{int((judged['verdict'] == 'undecided').sum())} undecided",
    ]
    if refused:
        said.append(f"{refused} not compared")
    first = rows.iloc[0]
    return f"{first['model']} beside {first['baseline']}, {_count(len(tasks), kind)}: {'; '.join(said)}."


def _found(tasks: pd.DataFrame, column: str) -> str:
    parts = []
    for verdict in ("worse", "better"):
        names = [str(name) for name in tasks.loc[tasks[column] == verdict, "task"]]
        parts.append(f"{len(names)} {verdict}{f' ({_listed(names)})' if names else ''}")
    return " and ".join(parts)


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
