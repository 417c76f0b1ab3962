"""Scores and comparisons by annotation, from the stored answers of runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.truth import plain, tables
from tests.truth.comparisons import Difference, of_task, verdict
from tests.truth.documents import Judged
from tests.truth.ledger import Key, Shown, Truth, exactly, rows_shown, text_rows
from tests.truth.runs import Made, run, said, said_json

TASKS = [
    "ple_pharmacy_single",
    "ple_pharmacy_multiple",
    "ple_tcm_single",
    "cmexam_single",
    "promptcblue_chip_ctc",
]
COLUMNS = {"question_type": "annotation.question_type", "subject": "subject"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Made]]:
    """The demo and an early step of it on examinations with and without annotations."""
    results = tmp_path_factory.mktemp("results")
    words = ["--tasks", ",".join(["ple_pharmacy", *TASKS[2:]]), "--routing", "off"]
    return results, run(results, "--model", "demo", "--model", "demo-early", *words)


def _part(task: Judged, column: str, cell: str | None) -> Judged:
    """Only the documents of a task of which the file says something."""
    places = [i for i, told in enumerate(task.said) if told.get(column) == cell]
    values = {metric: [found[i] for i in places] for metric, found in task.values.items()}
    return replace(
        task,
        documents=[task.documents[i] for i in places],
        clusters=[task.clusters[i] for i in places],
        values=values,
    )


def _cells(task: Judged, column: str) -> list[str]:
    return list(dict.fromkeys(told[column] for told in task.said if column in told))


Figures = tuple[Truth, Truth, Truth, int]


def _figures(task: Judged, metric: str, aggregation: str) -> Figures:
    values = task.values[metric]
    low, high, _ = plain.interval(values, aggregation, task.clusters, resampled=False)
    return exactly(float(plain.corpus(values, aggregation))), low, high, len(values)


def _expected(one: Made, column: str) -> dict[Key, Figures]:
    """Figures of every cell, of what is in none, and of every task that has some; group by group too."""
    found: dict[Key, Figures] = {}
    for task in TASKS:
        row, mine = one.main[task], one.tasks[task]
        how = (row["metric"], row["aggregation"])
        for cell in _cells(mine, column):
            found[task, "cell", cell] = _figures(_part(mine, column, cell), *how)
        rest = _part(mine, column, None)
        if rest.documents and len(rest.documents) < len(mine.documents):
            found[task, "rest", None] = _figures(rest, *how)
        found[task, "task", None] = _figures(mine, *how)
    parts = ["ple_pharmacy_single", "ple_pharmacy_multiple"]
    for cell in dict.fromkeys(cell for task in parts for cell in _cells(one.tasks[task], column)):
        inside = [found[task, "cell", cell] for task in parts if (task, "cell", cell) in found]
        found["ple_pharmacy", "cell", cell] = _together(inside)
    found["ple_pharmacy", "group", None] = _together([found[task, "task", None] for task in parts])
    return found


def _together(parts: list[Figures]) -> Figures:
    sizes = [part[3] for part in parts]
    shares = [size / sum(sizes) for size in sizes]
    middle, low, high = plain.mover(
        shares, [part[0].least for part in parts], [part[1] for part in parts], [part[2] for part in parts]
    )
    return exactly(middle), low, high, sum(sizes)


@pytest.mark.parametrize("by", sorted(COLUMNS))
def test_scores_by_annotation(made: tuple[Path, list[Made]], by: str) -> None:
    results, every = made
    rows = said_json("scores", results, "--by", by)
    assert {row["by"] for row in rows} == {COLUMNS[by]}
    shown = rows_shown(
        "scores --json", [_without(row, "by") for row in rows], "model", "task", "kind", "cell"
    )
    expected = {one.model: _expected(one, COLUMNS[by]) for one in every}
    for model, cells in expected.items():
        for key, (value, low, high, n) in cells.items():
            for name, truth in (("value", value), ("low", low), ("high", high), ("n", n)):
                shown.number((model, *key, name), truth)
    shown.closed("num_fewshot", "version")
    tables.check_csv(said("scores", results, "--by", by, "-f", "csv"), rows)
    lines = text_rows(said("scores", results, "--by", by, "--intervals"))
    labels = {"cell": None, "rest": "not annotated", "task": "all", "group": "all"}
    wanted = {(key[0], labels[str(key[1])] or key[2]): key for key in expected["demo"]}
    # Tasks without cells stand in the table of tasks.
    parted = {key[0] for key in wanted.values() if key[1] == "cell"}
    assert [(line["task"], line[by]) for line in lines] == list(
        dict.fromkeys(
            (row["task"], labels[row["kind"]] or row["cell"]) for row in rows if row["task"] in parted
        )
    )
    assert parted < {key[0] for key in wanted.values()}
    for line in lines:
        key = wanted[line["task"], line[by]]
        table = Shown("scores", {(name,): text for name, text in line.items()})
        table.number(("n",), expected["demo"][key][3])
        for one in every:
            value, low, high, _ = expected[one.model][key]
            known = (value, low, high) if low.known else (value,)
            if not low.known:
                table.cells[one.model,] = table.cells[one.model,].removesuffix(" –")
            table.several((one.model,), *(truth * 100 for truth in known))
        table.closed("task", "metric", by)


def _without(row: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != name}


@pytest.mark.parametrize("by", sorted(COLUMNS))
def test_differences_by_annotation(made: tuple[Path, list[Made]], by: str) -> None:
    results, (base, mine) = made
    words = ["compare", results, "--baseline", "demo", "--by", by]
    rows = said_json(*words)
    column = COLUMNS[by]
    cells: dict[Key, Difference] = {}
    wholes: dict[Key, Difference] = {}
    for task in TASKS:
        row = base.main[task]
        how = (row["metric"], row["aggregation"])
        wholes[task, "task", ""] = of_task(mine.tasks[task], base.tasks[task], *how)
        for cell in _cells(base.tasks[task], column):
            part, same = (_part(one.tasks[task], column, cell) for one in (mine, base))
            cells[task, "cell", cell] = of_task(part, same, *how)
    for family in (wholes, cells):
        adjusted = plain.holm([difference.p for difference in family.values()])
        for difference, p in zip(family.values(), adjusted, strict=True):
            difference.adjusted = p
    shown = rows_shown("compare --json", [_without(row, "by") for row in rows], "task", "kind", "cell")
    for key, true in (wholes | cells).items():
        figures: dict[str, Truth | float] = {
            "n": true.n,
            "score": true.score,
            "baseline_score": true.baseline,
            "difference": true.difference,
            "low": true.low,
            "high": true.high,
            "p_value": true.p,
            "p_adjusted": true.adjusted,
            "wins": true.wins,
            "losses": true.losses,
            "detectable": true.detectable,
        }
        for name, value in figures.items():
            shown.number((*key, name), value)
        outside = len(_part(base.tasks[str(key[0])], column, None).documents) if key[1] == "task" else 0
        shown.number((*key, "unannotated"), outside)
    shown.closed()
    for row in rows:
        true = (wholes | cells)[row["task"], row["kind"], row["cell"]]
        assert row["verdict"] in verdict(true.difference, true.adjusted)
        assert row["unadjusted"] in verdict(true.difference, true.p)
    tables.check_rest(words, rows, tables.COMPARISON, "model", "task", "metric", by)
    text = said(*words)
    for task in TASKS:
        outside, n = len(_part(base.tasks[task], column, None).documents), len(base.tasks[task].documents)
        said_so = f"demo-early, {task}: {outside} of {n} documents have no {by}: in no cell."
        assert (said_so in text) == (outside > 0)
