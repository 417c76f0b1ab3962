"""Comparisons, leaderboards and routing summaries as tables of text."""

from __future__ import annotations

from typing import Any

import pandas as pd

from medbench.analysis.leaderboard import Leaderboard
from medbench.analysis.units import shared_unit
from medbench.reports.formats import (
    UNITS_NOTE,
    interval_text,
    known,
    metric_text,
    p_text,
    percent_text,
    score_text,
    signed_text,
)
from medbench.reports.tables import TextTable

__all__ = [
    "SAMPLES_NOTE",
    "agreement_table",
    "comparison_table",
    "contrast_table",
    "leaderboard_table",
    "load_difference_table",
    "repetition_table",
    "routing_table",
    "similarity_table",
    "specialisation_table",
]

SAMPLES_NOTE = "Bundled samples, not a benchmark score."


def leaderboard_table(board: Leaderboard, *, with_tasks: bool = True) -> TextTable:
    """The ranking with the averages per language and family.

    Args:
        board: The ranking.
        with_tasks: Add the scores of all tasks.
    """
    parts = [name for name in board.ranking.columns if name.startswith(("language.", "family."))]
    tasks = list(board.tasks) if with_tasks else []
    values = board.scores.set_index(["model", "task"])["value"]
    unit = shared_unit(board.units.values())
    rows = []
    for row in board.ranking.to_dict("records"):
        mine = [values.get((row["model"], task)) if row["comparable"] else None for task in tasks]
        rows.append(
            [
                _rank(row),
                str(row["model"]) + ("" if row["comparable"] else " (published)"),
                score_text(row["value"], unit) if known(row["value"]) else "missing",
                interval_text(row["low"], row["high"], unit),
                *(score_text(row[part], unit) for part in parts),
                *(score_text(value, board.units[task]) for task, value in zip(tasks, mine, strict=True)),
            ]
        )
    headers = ["rank", "model", metric_text("average", unit), "95% interval"]
    headers += [metric_text(part.partition(".")[2], unit) for part in parts]
    headers += [metric_text(task, board.units[task]) for task in tasks]
    numeric = [False, False] + [True] * (len(headers) - 2)
    return TextTable(headers, rows, numeric, _leaderboard_notes(board), f"Leaderboard: {board.suite}")


def _rank(row: dict[Any, Any]) -> str:
    if pd.isna(row["rank"]):
        return "–"
    low, high = row["rank_low"], row["rank_high"]
    return str(row["rank"]) if low == high else f"{row['rank']} ({low}–{high})"


def _leaderboard_notes(board: Leaderboard) -> list[str]:
    notes = [f"{UNITS_NOTE} In brackets: the ranks that the noise of the documents allows, at 95%."]
    for row in board.ranking.to_dict("records"):
        if row["missing"] and row["comparable"]:
            notes.append(f"{row['model']} has no average: missing {', '.join(row['missing'])}.")
        if not row["comparable"]:
            notes.append(f"{row['model']}: published, {row['source']}; not comparable document by document.")
    if (board.scores["data_source"] == "samples").any():
        notes.insert(0, SAMPLES_NOTE)
    return notes


def comparison_table(frame: pd.DataFrame) -> TextTable:
    """The rows of :func:`medbench.analysis.compare`."""
    rows = []
    for row in frame.to_dict("records"):
        unit, test = row["unit"], row["p_adjusted"] if known(row["p_adjusted"]) else row["p_value"]
        rows.append(
            [
                str(row["model"]),
                str(row["task"]),
                metric_text(str(row["metric"]), unit),
                f"{row['n']:,}",
                score_text(row["baseline_score"], unit),
                score_text(row["score"], unit),
                signed_text(row["difference"], unit),
                interval_text(row["low"], row["high"], unit),
                p_text(test),
                f"+{row['wins']} −{row['losses']}" if row["n"] else "–",
                score_text(row["detectable"], unit),
                str(row["verdict"]),
            ]
        )
    baseline = str(frame["baseline"].iloc[0])
    headers = ["model", "task", "metric", "n", baseline, "score", "difference", "95% interval", "p"]
    headers += ["flips", "detectable", "verdict"]
    notes = [
        f"{UNITS_NOTE} Paired on the same documents. p: exact McNemar for right and wrong, randomisation "
        "otherwise, adjusted over the tasks of a model by Holm; groups by the errors of their tasks. "
        "detectable: the true difference that this many documents show with 80% power."
    ]
    refused = frame[frame["verdict"] == "refused"]
    notes += [f"{row.model}, {row.task} refused: {row.reason}" for row in refused.itertuples()]
    kept = frame[(frame["verdict"] != "refused") & (frame["reason"] != "")]
    notes += [f"{row.model}, {row.task}: left out {row.reason}" for row in kept.itertuples()]
    numeric = [False, False, False, *[True] * 8, False]
    return TextTable(headers, rows, numeric, notes, f"Differences from {baseline}")


def routing_table(frame: pd.DataFrame) -> TextTable:
    """The rows of :func:`medbench.analysis.routing.router_summary`."""
    facts = ("metric", "value", "low", "high", "chance", "tokens", "experts", "top_k", "routers", "documents")
    keys = [name for name in frame.columns if name not in facts]
    rows = [
        [
            *(str(row[key]) for key in keys),
            str(row["metric"]),
            _plain(row["value"]),
            f"[{_plain(row['low'])}, {_plain(row['high'])}]" if known(row["low"]) else "–",
            _plain(row["chance"]),
            f"{row['tokens']:,}",
        ]
        for row in frame.to_dict("records")
    ]
    headers = [*keys, "metric", "value", "95% interval", "chance", "tokens"]
    numeric = [False] * (len(keys) + 1) + [True] * 4
    notes = ["Intervals resample documents; runs with --routing tasks have none."]
    return TextTable(headers, rows, numeric, notes, "Routing")


def similarity_table(frame: pd.DataFrame) -> TextTable:
    """The rows of :func:`medbench.analysis.routing.task_similarity`, a task with itself left out."""
    shown = frame[frame["task"] != frame["other"]].sort_values("similarity", ascending=False, kind="stable")
    rows = [
        [
            *(str(row[key]) for key in ("model", "run", "task", "other")),
            _plain(row["similarity"]),
            f"[{_plain(row['low'])}, {_plain(row['high'])}]" if known(row["low"]) else "–",
            _plain(row["split_half"]),
        ]
        for row in shown.to_dict("records")
    ]
    headers = ["model", "run", "task", "other", "similarity", "95% interval", "split half"]
    notes = ["1 - JSD of the loads; split half: of two halves of one task, the most to expect."]
    return TextTable(headers, rows, [False] * 4 + [True] * 3, notes, "Similarity of routing between tasks")


def load_difference_table(frame: pd.DataFrame, first: str, second: str) -> TextTable:
    """The rows of :func:`medbench.analysis.routing.load_difference`, largest differences first.

    Args:
        frame: The loads of both.
        first: Name of the first checkpoint.
        second: Name of the other.
    """
    keys = list(frame.columns[: list(frame.columns).index("load")])
    order = frame["difference"].abs().sort_values(ascending=False, kind="stable").index
    rows = [
        [
            *(str(row[key]) for key in keys),
            percent_text(row["load"]),
            percent_text(row["load_other"]),
            signed_text(row["difference"], "share"),
            percent_text(row["load_chance"]),
        ]
        for row in frame.loc[order].to_dict("records")
    ]
    headers = [*keys, "load", "other", "difference", "chance"]
    notes = [
        f"Percent of the choices. load: {first}; other: {second}; difference: the first minus the other."
    ]
    return TextTable(headers, rows, [False] * len(keys) + [True] * 4, notes, "Expert loads compared")


def contrast_table(frame: pd.DataFrame) -> TextTable:
    """The rows of :func:`medbench.analysis.ablation.ablation_contrasts`."""
    rows = [
        [
            str(row["variant"]),
            str(row["kind"]),
            f"{row['n']:,}",
            signed_text(row["change"], "share"),
            signed_text(row["others"], "share"),
            signed_text(row["contrast"], "share"),
            interval_text(row["low"], row["high"], "share"),
        ]
        for row in frame.to_dict("records")
    ]
    headers = ["variant", "kind", "n", "change", "other kinds", "contrast", "95% interval"]
    notes = ["Mean change of a kind's documents beside that of all others, in points; without an effect 0."]
    return TextTable(headers, rows, [False] * 2 + [True] * 5, notes, "What experts are worth, kind by kind")


def specialisation_table(frame: pd.DataFrame) -> TextTable:
    """The rows of :func:`medbench.analysis.specialisation.specialisation`, kinds in a column ``kind``."""
    keys = list(frame.columns[: list(frame.columns).index("rate")])
    rows = [
        [
            *(str(row[key]) for key in keys),
            percent_text(row["rate"]),
            interval_text(row["low"], row["high"], "share"),
            percent_text(row["elsewhere"]),
            percent_text(row["chance"]),
        ]
        for row in frame.to_dict("records")
    ]
    headers = [*keys, "rate", "95% interval", "other kinds", "chance"]
    notes = ["Percent of the tokens that choose the expert. Intervals resample documents."]
    return TextTable(headers, rows, [False] * len(keys) + [True] * 4, notes, "Experts by kind of task")


def repetition_table(frame: pd.DataFrame) -> TextTable:
    """The rows of :func:`medbench.analysis.router_tokens.repetition`."""
    rows = [
        [
            str(row["phase"]),
            str(row["layer"]),
            str(row["projection"]),
            str(row["metric"]),
            _plain(row["value"]),
            f"[{_plain(row['low'])}, {_plain(row['high'])}]",
            _plain(row["chance"]),
        ]
        for row in frame.to_dict("records")
    ]
    headers = ["phase", "layer", "projection", "metric", "value", "95% interval", "chance"]
    notes = ["any: neighbouring tokens have an expert in common; top1: their first experts are equal."]
    return TextTable(headers, rows, [False] * 4 + [True] * 3, notes, "Repetition of experts along the text")


def agreement_table(frame: pd.DataFrame) -> TextTable:
    """The rows of :func:`medbench.analysis.router_tokens.checkpoint_agreement`."""
    rows = [
        [
            str(row["layer"]),
            str(row["projection"]),
            _plain(row["observed"]),
            _plain(row["chance"]),
            _plain(row["kappa"]),
            f"[{_plain(row['low'])}, {_plain(row['high'])}]",
            _plain(row["top1"]),
            _plain(row["top1_chance"]),
        ]
        for row in frame.to_dict("records")
    ]
    headers = ["layer", "projection", "observed", "chance", "kappa", "95% interval", "top1", "chance of top1"]
    notes = [
        "Share of the chosen experts in common, token by token; kappa is 0 at chance and 1 if all agree."
    ]
    return TextTable(headers, rows, [False] * 2 + [True] * 6, notes, "Agreement of two checkpoints")


def _plain(value: Any) -> str:
    return f"{value:.3g}" if known(value) else "–"
