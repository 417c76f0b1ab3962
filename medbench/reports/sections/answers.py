"""Calibration, confusion matrices, and how many answers could be read."""

from __future__ import annotations

from typing import Any

import pandas as pd

from medbench.analysis import Runs
from medbench.analysis.answers import (
    answer_rates,
    calibration_of_tasks,
    choice_probabilities,
    label_pairs,
    reliability_bins,
)
from medbench.reports.charts.svg import reliability_diagram
from medbench.reports.columns import Column, Row, Style, count, percent, texts
from medbench.reports.formats import percent_text
from medbench.reports.renderers import page_table
from medbench.reports.section import Section, table_section
from medbench.reports.tables import text_table

_MAX_CLASSES = 16
_MUCH = 0.05  # share of answers cut off that stands out


def calibration_section(runs: Runs, systems: list[str]) -> Section | None:
    """Reliability diagrams over all multiple-choice tasks of a run, and the figures of each task."""
    diagrams: list[dict[str, Any]] = []
    rows: list[dict[Any, Any]] = []
    for run, system in zip(runs, systems, strict=True):
        pooled = choice_probabilities(run)
        if len(pooled):
            svg = reliability_diagram(reliability_bins(pooled)).on_page()
            diagrams.append({"system": system, "n": len(pooled), "svg": svg, "index": len(diagrams)})
            rows += calibration_of_tasks(pooled).assign(system=system).to_dict("records")
    if not diagrams:
        return None
    columns = [*texts("task", "system"), count("n"), percent("accuracy"), percent("confidence")]
    columns += [
        Column("ECE", lambda row: f"{row['ece']:.3f}"),
        Column("Brier", lambda row: f"{row['brier']:.3f}"),
    ]
    return Section(
        id="calibration",
        title="Calibration",
        lead="Can the probability that a model gives its choice be believed? Points on the diagonal say "
        "yes; below it the model is too sure. Probabilities are those of the options among themselves. "
        "ECE: mean gap between confidence and accuracy over ten bins. Brier: 0 is perfect, 2 the worst.",
        template="calibration.html.j2",
        data={"diagrams": diagrams, "table": page_table(text_table(rows, columns))},
    )


def confusion_section(runs: Runs, systems: list[str]) -> Section | None:
    """Confusion matrices of the classification tasks."""
    matrices = []
    for run, system in zip(runs, systems, strict=True):
        pairs = label_pairs(run)
        for task, part in pairs.groupby("task", sort=True):
            first = part[part["metric"] == part["metric"].iloc[0]]
            matrices.append({"system": system, "task": str(task), **_matrix(first)})
    if not matrices:
        return None
    return Section(
        id="confusion",
        title="Confusions",
        lead="Rows are the gold labels, columns what was answered, cells the number of documents, shaded by "
        "their share of the row. Answers that are no gold label of the task are put together as other.",
        template="confusion.html.j2",
        data={"matrices": sorted(matrices, key=lambda matrix: matrix["task"])},
    )


def rates_section(runs: Runs, systems: list[str]) -> Section | None:
    """Shares of answers that were cut off, and of those that could be read."""
    rates = answer_rates(runs)
    if rates.empty:
        return None
    names = {(run.model, run.run): system for run, system in zip(runs, systems, strict=True)}
    rows = [{**row, "system": names[(row["model"], row["run"])]} for row in rates.to_dict("records")]

    def much(row: Row) -> Style:
        return "bad" if row["truncated"] > _MUCH else ""

    columns = [
        *texts("task", "system"),
        count("n"),
        percent("extracted", "readable %"),
        Column("cut off %", lambda row: percent_text(row["truncated"]), style=much),
    ]
    return table_section(
        "answers",
        "Answers read",
        "A score of generated answers means little without these: the share from which an answer could be "
        "read, and the share that hit the token limit.",
        text_table(rows, columns),
    )


def _matrix(pairs: pd.DataFrame) -> dict[str, Any]:
    gold = pairs["gold"].value_counts().index.tolist()
    shown = [str(label) for label in gold[:_MAX_CLASSES]]
    columns = [*shown, "other"]
    answered = pairs["predicted"].where(pairs["predicted"].isin(shown), "other")
    table = pd.crosstab(pairs["gold"], answered).reindex(index=shown, columns=columns, fill_value=0)
    rows = []
    for label, counts in zip(shown, table.to_numpy().tolist(), strict=True):
        total = max(1, sum(counts))
        rows.append({"gold": label, "cells": [(count, round(100 * count / total)) for count in counts]})
    return {"columns": columns, "rows": rows, "left_out": max(0, len(gold) - _MAX_CLASSES), "n": len(pairs)}
