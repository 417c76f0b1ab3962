"""Comparisons with a baseline as a table."""

from __future__ import annotations

from typing import Any

import pandas as pd

from medbench.reports.formats import (
    UNITS_NOTE,
    interval_text,
    known,
    metric_text,
    p_text,
    score_text,
    signed_text,
)
from medbench.reports.tables import TextTable
from medbench.reports.verdicts import verdict_summary

__all__ = ["TESTS_NOTE", "comparison_row", "comparison_table", "conditions_notes"]

#: How the figures of a comparison were found.
TESTS_NOTE = (
    "Paired on the same documents. p and the 95% interval belong to one task alone: exact McNemar for right "
    "and wrong, randomization otherwise; of a group by the errors of its tasks. The verdict follows p "
    "adjusted over the tasks of a model (Holm); that of a group, which is no further test, its own p. "
    "detectable: the true difference that this many documents show with 80% power."
)


def comparison_table(frame: pd.DataFrame) -> TextTable:
    """The rows of :func:`medbench.analysis.compare`."""
    names = list(dict.fromkeys(frame["baseline"]))
    headers = ["model", "task", "metric", "n", names[0] if len(names) == 1 else "baseline", "score"]
    headers += ["difference", "95% interval", "p", "p adjusted", "flips", "detectable", "verdict"]
    refused = frame[frame["verdict"] == "refused"]
    kept = frame[(frame["verdict"] != "refused") & (frame["reason"] != "")]
    return TextTable(
        headers,
        [comparison_row(row) for row in frame.to_dict("records")],
        [False, False, False, *[True] * 9, False],
        [
            *conditions_notes(frame),
            f"{UNITS_NOTE} {TESTS_NOTE}",
            *(f"{row.model}, {row.task} refused: {row.reason}" for row in refused.itertuples()),
            *(f"{row.model}, {row.task}: left out {row.reason}" for row in kept.itertuples()),
        ],
        f"Differences from {', '.join(names)}",
        data=frame,
        lead=[verdict_summary(rows) for _, rows in frame.groupby("model", sort=False)],
        aside=("metric", "flips", "detectable"),
        keys=2,
    )


def conditions_notes(frame: pd.DataFrame) -> list[str]:
    """The conditions of both sides of a comparison, once where they are the same, and what differs.

    Args:
        frame: Rows of :func:`medbench.analysis.compare`.
    """
    lines = dict(zip(frame["baseline"], frame["baseline_conditions"], strict=True))
    lines |= dict(zip(frame["model"], frame["conditions"], strict=True))
    if len(set(lines.values())) == 1:
        notes = [f"All under: {next(iter(lines.values()))}."]
    else:
        notes = [f"{name}: {line}." for name, line in lines.items()]
    for (model, baseline, text), rows in frame.groupby(["model", "baseline", "differing"], sort=False):
        if text:
            tasks = rows.loc[rows["kind"] == "task", "task"]
            every = ((frame["model"] == model) & (frame["kind"] == "task")).sum()
            where = f" in {', '.join(map(str, tasks))}" if 0 < len(tasks) < every else ""
            notes.append(f"{model} and {baseline} were not evaluated alike{where}: {text}.")
    return notes


def comparison_row(row: dict[Any, Any]) -> list[str]:
    """The texts of a row, from the model to the verdict."""
    unit = row["unit"]
    return [
        str(row["model"]),
        str(row["task"]),
        metric_text(str(row["metric"]), unit),
        f"{row['n']:,}",
        score_text(row["baseline_score"], unit),
        score_text(row["score"], unit),
        signed_text(row["difference"], unit),
        interval_text(row["low"], row["high"], unit),
        p_text(row["p_value"]),
        p_text(row["p_adjusted"]),
        f"+{row['wins']} −{row['losses']}" if row["n"] else "–",
        score_text(row["detectable"], unit) if known(row["detectable"]) else "–",
        str(row["verdict"]),
    ]
