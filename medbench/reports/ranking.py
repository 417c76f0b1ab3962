"""Leaderboards as a table."""

from __future__ import annotations

from typing import Any

import pandas as pd

from medbench.analysis.leaderboard import Leaderboard
from medbench.analysis.units import shared_unit
from medbench.reports.formats import UNITS_NOTE, interval_text, known, metric_text, score_text
from medbench.reports.samples import samples_note
from medbench.reports.tables import TextTable

__all__ = ["leaderboard_table", "ranking_rows"]


def ranking_rows(board: Leaderboard) -> pd.DataFrame:
    """The ranking as programs read it, in JSON and CSV alike: ``score`` is the average."""
    return board.ranking.rename(columns={"value": "score"}).assign(suite=board.suite)


def leaderboard_table(board: Leaderboard) -> TextTable:
    """The ranking with the averages per language and family; then what stands apart from it."""
    parts = [name for name in board.ranking.columns if name.startswith(("language.", "family."))]
    unit = shared_unit(board.units.values())
    rows = [
        [
            _rank(row),
            str(row["model"]) + (" (published)" if row["source"] else ""),
            score_text(row["value"], unit) if known(row["value"]) else "missing",
            interval_text(row["low"], row["high"], unit),
            "–" if pd.isna(row["n"]) else f"{row['n']:,}",
            *(score_text(row[part], unit) for part in parts),
        ]
        for row in board.ranking.to_dict("records")
    ]
    headers = ["rank", "model", metric_text("average", unit), "95% interval", "n"]
    headers += [metric_text(part.partition(".")[2], unit) for part in parts]
    return TextTable(
        headers,
        rows,
        [False, False] + [True] * (len(headers) - 2),
        _notes(board),
        f"Leaderboard: {board.suite}",
        data=ranking_rows(board),
        keys=2,
    )


def _rank(row: dict[Any, Any]) -> str:
    if pd.isna(row["rank"]):
        return "–"
    low, high = row["rank_low"], row["rank_high"]
    return str(row["rank"]) if pd.isna(low) or low == high else f"{row['rank']} ({low}–{high})"


def _notes(board: Leaderboard) -> list[str]:
    rows = board.ranking.to_dict("records")
    ranked = [row for row in rows if row["comparable"]]
    apart = [row for row in rows if row["apart"]]
    scores = board.scores[board.scores["value"].notna()]
    notes = [note] if (note := samples_note(scores)) else []
    notes.append(f"Ranked under: {board.conditions}.")
    # What belongs to a model, not to the question, may differ from row to row.
    notes += [
        f"{row['model']}: {row['conditions']}." for row in ranked if row["conditions"] != board.conditions
    ]
    notes += [f"{row['model']} is not ranked with them: {row['apart']}." for row in apart]
    notes += [
        f"{row['model']} has no average: missing {', '.join(row['missing'])}."
        for row in rows
        if row["missing"] and not row["source"]
    ]
    notes += [
        f"{row['model']}: published, {row['source']}; not comparable document by document."
        for row in rows
        if row["source"]
    ]
    if any(not pd.isna(row["rank"]) and pd.isna(row["rank_low"]) for row in rows):
        notes.append("The noise of a metric is not known here: ranks go by the averages alone.")
    notes.append("Runs: " + "; ".join(f"{row['model']} {row['run']}" for row in rows if row["run"]) + ".")
    notes.append(
        f"{UNITS_NOTE} n: documents. In brackets: the ranks that the noise of the documents allows, at 95%."
    )
    return notes
