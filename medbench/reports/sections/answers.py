"""Calibration, confusion matrices, and how many answers could be read."""

from __future__ import annotations

from typing import Any

import pandas as pd
from markupsafe import Markup

from medbench.analysis import Runs
from medbench.analysis.answers import answer_rates, calibration_of_tasks, choice_probabilities, label_pairs
from medbench.reports.formats import percent_text
from medbench.reports.section import Section
from medbench.statistics import reliability

__all__ = ["calibration_section", "confusion_section", "rates_section"]

_MAX_CLASSES = 16
_SIDE = 220


def calibration_section(runs: Runs, systems: list[str]) -> Section | None:
    """Reliability diagrams over all multiple-choice tasks of a run, and the figures of each task."""
    diagrams: list[dict[str, Any]] = []
    rows: list[dict[Any, Any]] = []
    for run, system in zip(runs, systems, strict=True):
        pooled = choice_probabilities(run)
        if len(pooled):
            bins = reliability(pooled["confidence"].to_numpy(), pooled["correct"].to_numpy())
            diagrams.append(
                {"system": system, "n": len(pooled), "svg": _diagram(bins), "index": len(diagrams)}
            )
            rows += calibration_of_tasks(pooled).assign(system=system).to_dict("records")
    if not diagrams:
        return None
    return Section(
        id="calibration",
        title="Calibration",
        lead="Can the probability that a model gives its choice be believed? Points on the diagonal say "
        "yes; below it the model is too sure. Probabilities are those of the options among themselves. "
        "ECE: mean gap between confidence and accuracy over ten bins. Brier: 0 is perfect, 2 the worst.",
        template="calibration.html.j2",
        data={"diagrams": diagrams, "rows": rows, "score": percent_text},
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
    return Section(
        id="answers",
        title="Answers read",
        lead="A score of generated answers means little without these: the share from which an answer could "
        "be read, and the share that hit the token limit.",
        template="rates.html.j2",
        data={"rows": rows, "score": percent_text},
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


def _diagram(bins: list[Any]) -> Markup:
    def x(value: float) -> float:
        return round(32 + value * (_SIDE - 44), 1)

    def y(value: float) -> float:
        return round(_SIDE - 30 - value * (_SIDE - 42), 1)

    most = max(b.n for b in bins)
    parts = [
        f'<svg width="{_SIDE}" height="{_SIDE}" viewBox="0 0 {_SIDE} {_SIDE}" role="img" '
        'aria-label="Reliability diagram: accuracy against confidence">',
        f'<rect class="frame" x="{x(0)}" y="{y(1)}" width="{x(1) - x(0)}" height="{y(0) - y(1)}"/>',
        f'<line class="diagonal" x1="{x(0)}" y1="{y(0)}" x2="{x(1)}" y2="{y(1)}"/>',
    ]
    for tick in (0, 0.5, 1):
        parts.append(
            f'<text class="soft" x="{x(tick)}" y="{_SIDE - 16}" text-anchor="middle">{tick:g}</text>'
        )
        parts.append(f'<text class="soft" x="28" y="{y(tick) + 4}" text-anchor="end">{tick:g}</text>')
    parts.append(f'<text class="soft" x="{x(0.5)}" y="{_SIDE - 3}" text-anchor="middle">confidence</text>')
    for b in bins:
        if not b.n:
            continue
        radius = round(2.5 + 4 * (b.n / most) ** 0.5, 1)
        parts.append(
            f'<line class="limits" x1="{x(b.confidence)}" y1="{y(b.accuracy_low)}" x2="{x(b.confidence)}" '
            f'y2="{y(b.accuracy_high)}"/><circle class="dot" cx="{x(b.confidence)}" cy="{y(b.accuracy)}" '
            f'r="{radius}"><title>confidence {b.confidence:.2f}, accuracy {b.accuracy:.2f} '
            f"[{b.accuracy_low:.2f}, {b.accuracy_high:.2f}], {b.n} documents</title></circle>"
        )
    return Markup("".join(parts) + "</svg>")  # noqa: S704 - numbers only
