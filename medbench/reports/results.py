"""Routing summaries as tables of text."""

from __future__ import annotations

from typing import Any

import pandas as pd

from medbench.reports.formats import (
    interval_text,
    known,
    percent_text,
    signed_text,
)
from medbench.reports.tables import TextTable

__all__ = [
    "agreement_table",
    "contrast_table",
    "load_difference_table",
    "repetition_table",
    "routing_table",
    "similarity_table",
    "specialisation_table",
]


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
    return TextTable(headers, rows, numeric, notes, "Routing", data=frame)


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
    return TextTable(
        headers, rows, [False] * 4 + [True] * 3, notes, "Similarity of routing between tasks", data=shown
    )


def load_difference_table(frame: pd.DataFrame, first: str, second: str) -> TextTable:
    """The rows of :func:`medbench.analysis.routing.load_difference`, largest differences first.

    Args:
        frame: The loads of both.
        first: Name of the first checkpoint.
        second: Name of the other.
    """
    keys = list(frame.columns[: list(frame.columns).index("load")])
    order = frame["difference"].abs().sort_values(ascending=False, kind="stable").index
    shown = frame.loc[order]
    rows = [
        [
            *(str(row[key]) for key in keys),
            percent_text(row["load"]),
            percent_text(row["load_other"]),
            signed_text(row["difference"], "share"),
            percent_text(row["load_chance"]),
        ]
        for row in shown.to_dict("records")
    ]
    headers = [*keys, "load", "other", "difference", "chance"]
    notes = [
        f"Percent of the choices. load: {first}; other: {second}; difference: the first minus the other."
    ]
    return TextTable(
        headers, rows, [False] * len(keys) + [True] * 4, notes, "Expert loads compared", data=shown
    )


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
    return TextTable(
        headers, rows, [False] * 2 + [True] * 5, notes, "What experts are worth, kind by kind", data=frame
    )


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
    return TextTable(
        headers, rows, [False] * len(keys) + [True] * 4, notes, "Experts by kind of task", data=frame
    )


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
    return TextTable(
        headers, rows, [False] * 4 + [True] * 3, notes, "Repetition of experts along the text", data=frame
    )


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
    return TextTable(
        headers, rows, [False] * 2 + [True] * 6, notes, "Agreement of two checkpoints", data=frame
    )


def _plain(value: Any) -> str:
    return f"{value:.3g}" if known(value) else "–"
