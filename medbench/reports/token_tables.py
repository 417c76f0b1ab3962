"""Figures of single tokens, and of routing beside the answers, as tables of text."""

from __future__ import annotations

from typing import Any

import pandas as pd

from medbench.analysis.routing_scores import SharedGains
from medbench.analysis.token_classes import CLASSES
from medbench.reports.formats import known, p_text, percent_text, signed_text
from medbench.reports.tables import TextTable

__all__ = ["classes_table", "gains_table", "loads_table", "parts_table", "verdicts_table", "vocabulary_table"]


def classes_table(frame: pd.DataFrame) -> TextTable:
    """The rows of :func:`medbench.analysis.token_classes.class_specialisation`, a column per class."""
    present = set(frame["class"])
    classes = [name for name in CLASSES if name in present]
    tokens = frame.drop_duplicates("class").set_index("class")["tokens"]
    rows = []
    for (layer, projection, expert), part in frame.groupby(["layer", "projection", "expert"], sort=False):
        at = part.set_index("class")
        rows.append([str(layer), str(projection), str(expert), *(_lift(at.loc[name]) for name in classes)])
    headers = ["layer", "projection", "expert", *(f"{name} ({tokens[name]:,})" for name in classes)]
    notes = [
        "How many times as often as all tokens the tokens of a class choose the expert; chance 1.",
        "+ and -: the 95% interval over documents lies above or below 1. In brackets: tokens of the class.",
    ]
    return TextTable(
        headers, rows, [False] * 3 + [True] * len(classes), notes, "Experts by class of token", data=frame
    )


def vocabulary_table(frame: pd.DataFrame) -> TextTable:
    """The rows of :func:`medbench.analysis.token_classes.vocabulary_specialisation`."""
    rows = [
        [
            str(row["layer"]),
            str(row["projection"]),
            str(row["expert"]),
            repr(row["text"]),
            str(row["class"]),
            f"{row['count']:,} of {row['tokens']:,}",
            f"{row['documents']:,}",
            f"{row['lift']:.2f}",
            f"[{row['lift_low']:.2f}, {row['lift_high']:.2f}]" if known(row["lift_low"]) else "–",
        ]
        for row in frame.to_dict("records")
    ]
    headers = [
        "layer",
        "projection",
        "expert",
        "item",
        "class",
        "chosen",
        "documents",
        "lift",
        "95% interval",
    ]
    notes = [
        "lift: how many times as often as all tokens the item chooses the expert; chance 1. The items "
        "are picked "
        "for their lift: of many, some lie high by luck."
    ]
    return TextTable(headers, rows, [False] * 5 + [True] * 4, notes, "Vocabulary of the experts", data=frame)


def parts_table(summary: pd.DataFrame, similarity: pd.DataFrame) -> TextTable:
    """Template beside content: a router summary by part, and how alike the parts are routed.

    Args:
        summary: :func:`medbench.analysis.routing.router_summary` by phase, of parts.
        similarity: :func:`medbench.analysis.routing.task_similarity` with the parts as tasks.
    """
    shown = summary[summary["value"].notna()]
    rows = [
        [
            str(row["phase"]),
            str(row["metric"]),
            _plain(row["value"]),
            _interval(row),
            _plain(row["chance"]),
            f"{row['tokens']:,}",
        ]
        for row in shown.to_dict("records")
    ]
    pairs = similarity[similarity["task"] != similarity["other"]]
    for row in pairs.to_dict("records"):
        pair = f"{row['task']} ~ {row['other']}"
        rows.append(
            [pair, "similarity", _plain(row["similarity"]), _interval(row), _plain(row["split_half"]), "–"]
        )
    headers = ["part", "metric", "value", "95% interval", "chance", "tokens"]
    notes = [
        "template: what all prompts of a task begin or end with; content: what lies between. Chance of a "
        "similarity: that of two halves of one part."
    ]
    return TextTable(
        headers,
        rows,
        [False] * 2 + [True] * 4,
        notes,
        "Template and content",
        data=pd.concat([shown, pairs], ignore_index=True),
    )


def verdicts_table(frame: pd.DataFrame) -> TextTable:
    """The rows of :func:`medbench.analysis.routing_answers.routing_by_verdict`."""
    rows = [
        [
            str(row["model"]),
            str(row["task"]),
            f"{row['right']:,}",
            f"{row['wrong']:,}",
            _plain(row["divergence"]),
            _plain(row["chance"]),
            p_text(row["p_value"]),
            p_text(row["p_adjusted"]),
        ]
        for row in frame.to_dict("records")
    ]
    headers = ["model", "task", "right", "wrong", "divergence", "chance", "p", "p (Holm)"]
    notes = [
        "Bits between the expert loads of right and wrong documents; chance: with the verdicts shuffled."
    ]
    return TextTable(
        headers, rows, [False] * 2 + [True] * 6, notes, "Routing of right and wrong answers", data=frame
    )


def loads_table(frame: pd.DataFrame, *, most: int = 20) -> TextTable:
    """The rows of :func:`medbench.analysis.routing_answers.loads_by_verdict`, the clearest first."""
    shown = frame.sort_values("p_adjusted", kind="stable").head(most)
    rows = [
        [
            str(row["model"]),
            str(row["task"]),
            f"{row['projection']} {row['layer']}.{row['expert']}",
            percent_text(row["load_right"]),
            percent_text(row["load_wrong"]),
            signed_text(row["difference"], "share"),
            p_text(row["p_adjusted"]),
        ]
        for row in shown.to_dict("records")
    ]
    headers = ["model", "task", "expert", "right", "wrong", "difference", "p (maxT)"]
    notes = [
        f"Mean load in percent, without a difference 0; the {len(rows)} clearest of {len(frame):,}. An "
        "expert "
        "is written projection layer.number; p is adjusted over all experts of the task."
    ]
    return TextTable(
        headers, rows, [False] * 3 + [True] * 4, notes, "Experts of right and wrong answers", data=shown
    )


def gains_table(gains: SharedGains, *, most: int = 20) -> TextTable:
    """What :func:`medbench.analysis.routing_scores.shared_gains` found, the most similar tasks first."""
    pairs = gains.pairs.sort_values("similarity", ascending=False, kind="stable")
    rows = [
        [
            str(row["task"]),
            str(row["other"]),
            _plain(row["similarity"]),
            signed_text(row["gain"], "share"),
            signed_text(row["gain_other"], "share"),
        ]
        for row in pairs.head(most).to_dict("records")
    ]
    notes = [
        f"Gains in points; the {len(rows)} most similar of {len(pairs):,} pairs of tasks.",
        f"Correlation of similarity with likeness of gains over all pairs of {gains.tasks} tasks: "
        f"{_plain(gains.correlation)} (chance 0), p {p_text(gains.p_value)} by Mantel's test.",
    ]
    headers = ["task", "other", "similarity", "gain", "gain of other"]
    return TextTable(
        headers, rows, [False] * 2 + [True] * 3, notes, "Shared experts and shared gains", data=pairs
    )


def _lift(row: Any) -> str:
    mark = "+" if row["lift_low"] > 1 else "-" if row["lift_high"] < 1 else " "
    return f"{row['lift']:.2f}{mark}" if known(row["lift"]) else "–"


def _interval(row: Any) -> str:
    return f"[{_plain(row['low'])}, {_plain(row['high'])}]" if known(row["low"]) else "–"


def _plain(value: Any) -> str:
    return f"{value:.3g}" if known(value) else "–"
