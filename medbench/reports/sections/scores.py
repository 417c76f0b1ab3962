"""Scores of all tasks: the sortable table, the bars, and what others published."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd

from medbench.analysis import Runs
from medbench.analysis.anchors import anchors_beside, read_anchors
from medbench.analysis.conditions import Conditions
from medbench.reports.columns import text
from medbench.reports.formats import UNITS_NOTE, interval_text, known, metric_text, score_text
from medbench.reports.score_tables import anchor_columns
from medbench.reports.section import Section, table_section
from medbench.reports.tables import text_table


class Cell(NamedTuple):
    """A score in the table; ``note`` says what it does not share with its row."""

    text: str
    interval: str
    sort: str
    title: str
    note: str
    sampled: bool


class Bar(NamedTuple):
    """A score as a bar; lengths in percent of the track."""

    color: int
    title: str
    text: str
    width: float | None
    low: float | None
    span: float | None
    after: float


@dataclass(frozen=True)
class Row:
    """A task or group in all systems; ``n`` is empty where they answered different numbers of documents."""

    task: str
    metric: str
    language: str
    family: str
    n: str
    sort: int
    group: bool
    cells: list[Cell]
    bars: list[Bar]


def overview(scores: pd.DataFrame, systems: list[str], usual: Collection[str]) -> Section:
    """The table of all scores.

    Args:
        scores: What :func:`medbench.analysis.task_scores.task_scores` gave.
        systems: Names of the systems, in the order of the columns.
        usual: Those of which a score that is not there is missed; others were asked what they were asked.
    """
    first = scores.drop_duplicates("model").set_index("model")
    settings = [(name, first.at[name, "conditions"]) for name in systems if name in first.index]
    return Section(
        id="overview",
        title="Scores",
        lead=f"Main metric of every task with its 95% interval. {UNITS_NOTE} Averages of groups stand on "
        "top; one that lacks a task is missing rather than averaged over the rest. Every column is one model "
        "under one set of conditions. Click a heading to sort.",
        template="overview.html.j2",
        data={"systems": systems, "rows": list(_rows(scores, systems, usual)), "settings": settings},
    )


def bars(scores: pd.DataFrame, systems: list[str], usual: Collection[str]) -> Section:
    """The same scores as bars, all on one scale from 0 to 100."""
    rows = [row for row in _rows(scores, systems, usual) if any(bar.width is not None for bar in row.bars)]
    return Section(
        id="bars",
        title="By task",
        lead="Bars are scores, whiskers their 95% intervals. Overlap of two whiskers says little about a "
        "difference on the same documents; the paired comparison does.",
        template="bars.html.j2",
        data={"systems": systems, "rows": rows},
    )


def published_values(runs: Runs, systems: Sequence[str]) -> Section | None:
    """What others published on the tasks of the page, and what differs; ``None`` where nobody did.

    Args:
        runs: The runs.
        systems: Their names.
    """
    names = {(run.model, run.run): name for run, name in zip(runs, systems, strict=True)}
    scores = runs.scores()
    # What the bundled samples give has nothing to do with a benchmark.
    real = scores[scores["data_source"] != "samples"]
    templates = {(run.model, run.run): Conditions.of(run).chat_template for run in runs}
    frame = anchors_beside(real, read_anchors(), templates)
    if frame.empty:
        return None
    shown = frame.assign(model=[names[key] for key in zip(frame["model"], frame["run"], strict=True)])
    return table_section(
        "published",
        "Published values",
        "What others published on these tasks, in percent. A value can be set beside a score only where "
        "nothing differs; even then another prompt may hide behind the same name.",
        text_table(shown, [*anchor_columns(), text("source")]),
        summary=f"{len(shown)} published values",
    )


def _rows(scores: pd.DataFrame, systems: list[str], usual: Collection[str]) -> Iterator[Row]:
    mixed = scores["data_source"].nunique(dropna=False) > 1
    for (kind, task, metric), rows in scores.groupby(["kind", "task", "metric"], sort=False):
        by_system = {row["model"]: row for row in rows.to_dict("records")}
        first = next(iter(by_system.values()))
        sizes = {int(row["n"]) for row in by_system.values()}
        named = [(name, by_system.get(name)) for name in systems]
        yield Row(
            task=str(task),
            metric=metric_text(str(metric), first["unit"]),
            language=_text(first["language"]),
            family=_text(first["family"]),
            n=f"{max(sizes):,}" if len(sizes) == 1 else "",
            sort=max(sizes),
            group=kind == "group",
            # A banner says that all are samples; tags are for pages where only some are.
            cells=[
                _NOT_ASKED if row is None and name not in usual else _cell(row, len(sizes) > 1, mixed)
                for name, row in named
            ],
            bars=[
                _bar(i, name, row) for i, (name, row) in enumerate(named) if row is not None or name in usual
            ],
        )


_NOT_ASKED = Cell("–", "", "", "not evaluated under these conditions", "", sampled=False)


def _cell(row: Mapping[Hashable, Any] | None, with_n: bool, with_source: bool) -> Cell:
    if row is None or not known(row["value"]):
        return Cell("", "", "", "", "", sampled=False)
    source = row["data_source"]
    title = f"n = {row['n']:,}; interval: {row['interval']}; filter: {row['filter']}; run: {row['run']}"
    return Cell(
        score_text(row["value"], row["unit"]),
        interval_text(row["low"], row["high"], row["unit"]),
        f"{row['value']:.6f}",
        title + (f"; source: {source}" if isinstance(source, str) else ""),
        f"n = {row['n']:,}" if with_n else "",
        with_source and source == "samples",
    )


def _bar(index: int, system: str, row: Mapping[Hashable, Any] | None) -> Bar:
    if row is None or not known(row["value"]) or row["unit"] != "share":
        return Bar(index, f"{system}: no score in percent", "", None, None, None, 0)
    value = row["value"]
    text, limits = score_text(value, "share"), interval_text(row["low"], row["high"], "share")
    low = high = None
    if known(row["low"]) and known(row["high"]):
        low, high = (100 * min(1.0, max(0.0, row[name])) for name in ("low", "high"))
    after = round(max(100 * value, high or 0), 2)
    span = None if low is None or high is None else round(high - low, 2)
    return Bar(
        color=index,
        title=f"{system}: {text} {limits}",
        text=text,
        width=round(100 * value, 2),
        low=None if low is None else round(low, 2),
        span=span,
        after=after,
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
