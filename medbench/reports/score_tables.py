"""Tables of scores: of one run, of all tasks, beside a baseline, ranked, and beside published values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from medbench.analysis.leaderboard import Leaderboard
from medbench.analysis.units import Unit, shared_unit
from medbench.reports.columns import (
    Column,
    Row,
    Style,
    count,
    metric,
    p_value,
    percent,
    score,
    score_interval,
    text,
    texts,
)
from medbench.reports.formats import (
    UNITS_NOTE,
    interval_text,
    known,
    metric_text,
    score_text,
    signed_text,
)
from medbench.reports.sentences import (
    BEST_NOTE,
    TESTS_NOTE,
    conditions_notes,
    conditions_of_scores,
    samples_note,
    sources_notes,
    verdict_summary,
)
from medbench.reports.tables import TextTable, text_table


def run_table(frame: pd.DataFrame, *, main_only: bool = True) -> TextTable:
    """The scores of runs, groups in bold below their tasks.

    Args:
        frame: ``runs.scores()``.
        main_only: Show each task's main metric only, and the circular one where it was asked for.
    """
    asked = frame["main"].fillna(False).astype(bool) | (frame["metric"] == "acc_circular")
    shown = frame[asked] if main_only else frame
    several = frame["model"].nunique() > 1 or frame["run"].nunique() > 1

    def missing(row: Row) -> Style:
        return "" if known(row["value"]) else "bad"

    def sampled(row: Row) -> Style:
        return "warn" if row["data_source"] == "samples" else ""

    return text_table(
        shown.sort_values("kind", ascending=False, kind="stable"),
        [
            *texts(*["model"] * several, "task"),
            metric(),
            Column("score", lambda row: _score_or_missing(row["value"], row["unit"]), style=missing),
            score_interval(),
            count("n"),
            Column("source", lambda row: str(row["data_source"] or ""), numeric=False, style=sampled),
        ],
        row_style=lambda row: "bold" if row["kind"] == "group" else "",
    )


def score_table(frame: pd.DataFrame, *, intervals: bool = False) -> TextTable:
    """The rows of :func:`medbench.analysis.task_scores`: tasks by systems, the best of a row in bold.

    Args:
        frame: The scores.
        intervals: Give each score with its 95% interval.
    """
    return text_table(
        score_lines(frame, ["task"]),
        [text("task"), *system_columns(frame, intervals)],
        "Scores",
        [*conditions_of_scores(frame), f"{UNITS_NOTE} {BEST_NOTE}"],
        data=frame,
    )


def score_lines(frame: pd.DataFrame, keys: Sequence[str]) -> list[dict[Any, Any]]:
    """One row for all systems that share the keys, as :func:`system_columns` shows it.

    Args:
        frame: A row per system and line.
        keys: Columns that make a line.
    """
    lines = []
    for _, part in frame.groupby(list(keys), sort=False):
        rows = part.to_dict("records")
        line = {key: rows[0][key] for key in keys}
        line |= {"metric": str(rows[0]["metric"]), "unit": shared_unit(part["unit"])}
        line |= {"sizes": sorted({int(row["n"]) for row in rows})}
        lines.append(line | {"systems": {str(row["model"]): row for row in rows}})
    return lines


def system_columns(frame: pd.DataFrame, intervals: bool) -> list[Column]:
    """Metric and documents of a line, and a column for each system.

    Args:
        frame: A row per system and line.
        intervals: Give each score with its 95% interval.
    """

    def documents(line: Row) -> str:
        return f"{line['sizes'][0]:,}" if len(line["sizes"]) == 1 else "differs"

    def system(name: str) -> Column:
        def best(line: Row) -> Style:
            return "bold" if line["systems"].get(name, {}).get("best") else ""

        return Column(name, lambda line: _system_cell(line, name, intervals), style=best)

    return [
        metric(),
        Column("n", documents),
        *map(system, dict.fromkeys(frame["model"])),
    ]


def _system_cell(line: Row, system: str, intervals: bool) -> str:
    row, unit = line["systems"].get(system), line["unit"]
    if row is None:
        return "–"
    if not known(row["value"]):
        return "missing"
    written = score_text(row["value"], unit)
    if intervals:
        written += f" {interval_text(row['low'], row['high'], unit)}"
    return f"{written} ({row['n']:,})" if len(line["sizes"]) > 1 else written


def comparison_table(frame: pd.DataFrame) -> TextTable:
    """The rows of :func:`medbench.analysis.compare`."""
    baselines = list(dict.fromkeys(frame["baseline"]))
    refused = frame[frame["verdict"] == "refused"]
    kept = frame[(frame["verdict"] != "refused") & (frame["reason"] != "")]
    return text_table(
        frame,
        [*texts("model", "task"), *comparison_columns(baselines)],
        f"Differences from {', '.join(baselines)}",
        [
            *conditions_notes(frame),
            f"{UNITS_NOTE} {TESTS_NOTE}",
            *(f"{row.model}, {row.task} refused: {row.reason}" for row in refused.itertuples()),
            *(f"{row.model}, {row.task}: left out {row.reason}" for row in kept.itertuples()),
        ],
        lead=[verdict_summary(rows) for _, rows in frame.groupby("model", sort=False)],
        keys=2,
    )


def comparison_columns(baselines: Sequence[str]) -> list[Column]:
    """The figures of a comparison, from the metric to the verdict.

    Args:
        baselines: Names of what is compared with; a single one heads its column.
    """

    def flips(row: Row) -> str:
        return f"+{row['wins']} −{row['losses']}" if row["n"] else "–"

    return [
        metric(),
        count("n"),
        score("baseline_score", baselines[0] if len(baselines) == 1 else "baseline"),
        score("score", "score"),
        Column("difference", lambda row: signed_text(row["difference"], row["unit"])),
        score_interval(),
        p_value("p_value", "p"),
        p_value("p_adjusted", "p adjusted"),
        Column("flips", flips, aside=True),
        score("detectable", "detectable", aside=True),
        text("verdict"),
    ]


def ranking_rows(board: Leaderboard) -> pd.DataFrame:
    """The ranking as programs read it, in JSON and CSV alike: ``score`` is the average."""
    return board.ranking.rename(columns={"value": "score"}).assign(suite=board.suite)


def leaderboard_table(board: Leaderboard) -> TextTable:
    """The ranking with the averages per language and family; then what stands apart from it."""
    unit = shared_unit(board.units.values())
    parts = [name for name in board.ranking.columns if name.startswith(("language.", "family."))]

    def part(name: str) -> Column:
        header = metric_text(name.partition(".")[2], unit)
        return Column(header, lambda row: score_text(row[name], unit))

    def model(row: Row) -> str:
        return str(row["model"]) + (" (published)" if row["source"] else "")

    columns = [
        Column("rank", _rank, numeric=False),
        Column("model", model, numeric=False),
        Column(metric_text("average", unit), lambda row: _score_or_missing(row["value"], unit)),
        Column("95% interval", lambda row: interval_text(row["low"], row["high"], unit)),
        Column("n", lambda row: "–" if _missing(row["n"]) else f"{row['n']:,}"),
        *map(part, parts),
    ]
    return text_table(
        board.ranking,
        columns,
        f"Leaderboard: {board.suite}",
        _ranking_notes(board),
        data=ranking_rows(board),
        keys=2,
    )


def _score_or_missing(value: Any, unit: Unit) -> str:
    return score_text(value, unit) if known(value) else "missing"


def _missing(value: Any) -> bool:
    return bool(pd.isna(value))


def _rank(row: Row) -> str:
    if _missing(row["rank"]):
        return "–"
    low, high = row["rank_low"], row["rank_high"]
    return str(row["rank"]) if _missing(low) or low == high else f"{row['rank']} ({low}–{high})"


def _ranking_notes(board: Leaderboard) -> list[str]:
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
    if any(not _missing(row["rank"]) and _missing(row["rank_low"]) for row in rows):
        notes.append("The noise of a metric is not known here: ranks go by the averages alone.")
    notes.append("Runs: " + "; ".join(f"{row['model']} {row['run']}" for row in rows if row["run"]) + ".")
    notes.append(
        f"{UNITS_NOTE} n: documents. In brackets: the ranks that the noise of the documents allows, at 95%."
    )
    return notes


def anchor_table(frame: pd.DataFrame) -> TextTable:
    """The rows of :func:`medbench.analysis.anchors.anchors_beside`."""
    note = (
        "Scores in percent. A published value can be set beside an own one only where nothing differs; even "
        "then another prompt, or another way to read answers, may hide behind the same name."
    )
    notes = [note, *sources_notes(frame, "published")]
    return text_table(frame, anchor_columns(), "Beside published values", notes, keys=2)


def anchor_columns() -> list[Column]:
    """Own scores, published values, and what differs between them."""
    return [
        *texts("model", "task"),
        percent("value", "score"),
        count("n"),
        text("published", "published model"),
        percent("published_value", "value"),
        Column("what differs", lambda row: str(row["differs"]) or "nothing known", numeric=False),
    ]


def register_table(frame: pd.DataFrame) -> TextTable:
    """All published values of the register, a row each."""

    def documents(row: Row) -> str:
        return "not stated" if _missing(row["n"]) else f"{row['n']:,.0f}" + ("*" if row["inferred"] else "")

    columns = [
        *texts("model", "task"),
        percent("value"),
        Column("n", documents),
        Column("few-shot", lambda row: str(row["num_fewshot"])),
        *texts("protocol", "split"),
    ]
    notes = [
        "* The number of documents follows from the printed values alone.",
        *sources_notes(frame, "model"),
    ]
    return text_table(frame, columns, "Published values", notes, keys=2)
